package nftscript

import (
	"fmt"
	"math"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// reach are the protocols that packets in a chain can have: one, or any ("").
type reach map[string]map[string]bool

// reached follows the rules that lead to chains. A rule for one protocol leads
// there with that one, others with what their own chain has.
func reached(tab *table) reach {
	r := reach{}
	for _, c := range tab.order {
		if _, builtIn := hooks[tab.name+" "+c.Name]; builtIn {
			r.add(c.Name, "")
		}
	}
	for more := true; more; {
		more = false
		for _, c := range tab.order {
			for i := range c.Rules {
				j, ok := c.Rules[i].Target.(iptables.Jump)
				if !ok || tab.chains[j.To] == nil {
					continue
				}
				if p := protocol(&c.Rules[i]); p != "" {
					more = r.add(j.To, p) || more
					continue
				}
				for p := range r[c.Name] {
					more = r.add(j.To, p) || more
				}
			}
		}
	}
	return r
}

func (r reach) add(chain, protocol string) bool {
	if r[chain] == nil {
		r[chain] = map[string]bool{}
	}
	is := r[chain][protocol]
	r[chain][protocol] = true
	return !is
}

// protocol is that of the packets that a rule is for, empty for any.
func protocol(r *iptables.Rule) string {
	for _, p := range []string{"tcp", "udp", "sctp"} {
		if r.Protocol.Is(p) {
			return p
		}
	}
	return ""
}

// ends says that no packet of a protocol comes back from a chain.
func (tab *table) ends(chain, of string) bool {
	c := tab.chains[chain]
	if c == nil {
		return false
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if _, ok := r.Target.(iptables.DNAT); ok && plain(r, true) && (r.Protocol.Name == "" || protocol(r) == of) {
			return true
		}
		if j, ok := r.Target.(iptables.Jump); ok && (j.To == iptables.Return || j.Goto) {
			return false
		}
	}
	return false
}

// plain says that a rule is for all packets of its protocol.
func plain(r *iptables.Rule, recent bool) bool {
	for _, m := range r.Matches {
		switch m := m.(type) {
		case iptables.Comment:
		case iptables.Ports:
			if m.Source.Set || m.Destination.Set {
				return false
			}
		case iptables.Recent:
			if !recent || m.Action != "set" || m.Not {
				return false
			}
		default:
			return false
		}
	}
	return r.Source.IsZero() && r.Destination.IsZero() && r.In.Name == "" && r.Out.Name == ""
}

// cascade is the number of rules, from the first on, that share packets out by
// probabilities, with those probabilities. It is 0 where a packet could come back
// from one of the chains: then the next rule would have it.
func (tab *table) cascade(in string, rules []iptables.Rule) (n int, probabilities []iptables.Probability) {
	if len(tab.reach[in]) != 1 {
		return 0, nil
	}
	of := ""
	for of = range tab.reach[in] {
	}
	for i := range rules {
		p, ok := share(&rules[i])
		j, isJump := rules[i].Target.(iptables.Jump)
		if !ok || !isJump || isVerdict(j.To) || !tab.ends(j.To, of) || tab.refused[&rules[i]] != "" {
			break
		}
		n++
		probabilities = append(probabilities, p)
		if p == iptables.Always {
			break
		}
	}
	if n < 2 {
		return 0, nil
	}
	return n, probabilities
}

// share is the probability of a rule that has no other condition.
func share(r *iptables.Rule) (iptables.Probability, bool) {
	rest := *r
	rest.Matches = nil
	p, given := iptables.Always, false
	for _, m := range r.Matches {
		if s, ok := m.(iptables.Statistic); ok {
			if s.Not || given {
				return 0, false
			}
			p, given = s.Probability, true
			continue
		}
		rest.Matches = append(rest.Matches, m)
	}
	return p, plain(&rest, false) && r.Protocol.Name == ""
}

// digits is how far a probability may be from 1/n and still be meant as that:
// kube-proxy wrote five digits until 1.16.
const digits = 5e-6 + 1.0/(1<<31)

func even(cascade []iptables.Probability) bool {
	for i, p := range cascade {
		if math.Abs(p.Float()-1/float64(len(cascade)-i)) > digits {
			return false
		}
	}
	return true
}

// spread is a cascade as one lookup, and what is to be said about it.
func spread(chains []string, cascade []iptables.Probability) (rule, remark string) {
	var elements []string
	if even(cascade) {
		for i, chain := range chains {
			elements = append(elements, fmt.Sprintf("%d : goto %s", i, chain))
		}
		return fmt.Sprintf("numgen random mod %d vmap { %s }", len(chains), strings.Join(elements, ", ")), ""
	}
	shares, _ := iptables.Shares(cascade)
	mod, off := modulus(shares)
	sum, from := 0.0, uint64(0)
	for i, chain := range chains {
		sum += shares[i]
		to := uint64(math.Round(sum * float64(mod)))
		switch to - from {
		case 0:
			continue
		case 1:
			elements = append(elements, fmt.Sprintf("%d : goto %s", from, chain))
		default:
			elements = append(elements, fmt.Sprintf("%d-%d : goto %s", from, to-1, chain))
		}
		from = to
	}
	return fmt.Sprintf("numgen random mod %d vmap { %s }", mod, strings.Join(elements, ", ")),
		fmt.Sprintf("# shares of %d: none is off by more than %.2g of itself", mod, off)
}

// modulus is the least of a few in which no share is off by more than a thousandth
// of itself, else the greatest, and by how much they are.
func modulus(shares []float64) (mod uint64, off float64) {
	for _, mod = range []uint64{1 << 16, 1 << 24, 1 << 31} {
		if off = rounding(shares, float64(mod)); off <= 1e-3 {
			break
		}
	}
	return mod, off
}

// rounding is by how much of itself a share is off at most.
func rounding(shares []float64, mod float64) float64 {
	off, sum := 0.0, 0.0
	for _, s := range shares {
		width := math.Round((sum+s)*mod) - math.Round(sum*mod)
		sum += s
		if s > 0 {
			off = max(off, math.Abs(width/mod-s)/s)
		}
	}
	return off
}
