package explain

import (
	"fmt"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// cascade is kube-proxy's chain that spreads connections over endpoints.
func cascade(prefix, whom, fullName string, protocol proxy.Protocol, endpoints []proxy.Endpoint) Cascade {
	c := Cascade{Chain: iptables.ServiceChain(prefix, fullName, protocol), For: whom}
	n := len(endpoints)
	even := iptables.Even(n)
	shares, _ := iptables.Shares(even)
	for i, e := range endpoints {
		r := Rule{
			Endpoint: e.String(), Chain: iptables.EndpointChain(fullName, protocol, e.AddrPort),
			Reached: fraction(n-i, n), Share: fraction(1, n), Value: shares[i],
		}
		if i < n-1 {
			r.Probability = even[i].String()
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

// fraction is a/b in its lowest terms.
func fraction(a, b int) string {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	if b /= x; b == 1 {
		return fmt.Sprint(a / x)
	}
	return fmt.Sprintf("%d/%d", a/x, b)
}

// product is how a rule's share comes about: what it takes of those that get to
// it, times how many do.
func product(i, n int) string {
	return fmt.Sprintf("%s x %s = %s", fraction(1, n-i), fraction(n-i, n), fraction(1, n))
}

// truth says what the probabilities of a cascade come to.
func truth(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "One rule without a probability: it takes every connection."
	case 2:
		return "Rule 1 takes half of the connections, and rule 2 the rest: 1/2 each."
	}
	return fmt.Sprintf("Rule %d says 0.5, but only %s of the connections get that far: %s. Each endpoint gets %s.",
		n-1, fraction(2, n), product(n-2, n), fraction(1, n))
}
