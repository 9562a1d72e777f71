package explain

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// However long a cascade is, each rule's share comes out as 1/n, and is what the
// probabilities that iptables has really come to.
func TestSharesOfACascade(t *testing.T) {
	for n := 1; n <= 300; n++ {
		var endpoints []proxy.Endpoint
		for i := range n {
			endpoints = append(endpoints, proxy.Endpoint{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)})
		}
		c := cascade(iptables.PrefixService, "all", "ns/svc", proxy.TCP, endpoints)
		want := fraction(1, n)
		sum := 0.0
		for i, r := range c.Rules {
			sum += r.Value
			if r.Share != want || share(1/float64(n)) != want || product(i, n) != fmt.Sprintf("%s x %s = %s", fraction(1, n-i), r.Reached, want) {
				t.Fatalf("rule %d of %d: %+v, %s", i+1, n, r, product(i, n))
			}
			if (r.Probability == "") != (i == n-1) || r.Value < 1/float64(n)-1e-6 || r.Value > 1/float64(n)+1e-6 {
				t.Fatalf("rule %d of %d: %+v", i+1, n, r)
			}
		}
		if sum < 1-1e-9 || sum > 1+1e-9 {
			t.Errorf("the shares of %d rules are %v together", n, sum)
		}
	}
	for _, tc := range []struct {
		n    int
		want string
	}{
		{0, ""},
		{1, "One rule without a probability: it takes every connection."},
		{2, "Rule 1 takes half of the connections, and rule 2 the rest: 1/2 each."},
		{3, "Rule 2 says 0.5, but only 2/3 of the connections get that far: 1/2 x 2/3 = 1/3. Each endpoint gets 1/3."},
		{6, "Rule 5 says 0.5, but only 1/3 of the connections get that far: 1/2 x 1/3 = 1/6. Each endpoint gets 1/6."},
		{7, "Rule 6 says 0.5, but only 2/7 of the connections get that far: 1/2 x 2/7 = 1/7. Each endpoint gets 1/7."},
	} {
		if got := truth(tc.n); got != tc.want {
			t.Errorf("of %d rules: %s", tc.n, got)
		}
	}
	if got := share(0.3); got != "0.3000" {
		t.Errorf("a share that is no fraction: %s", got)
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3 * time.Hour: "3h", 90 * time.Minute: "1h30m", time.Minute: "1m", 61 * time.Second: "1m1s", 10 * time.Second: "10s", 24 * time.Hour: "24h",
	} {
		if got := duration(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

// The words know the chains and sets of the layout by their names.
func TestWordsAreOfTheLayout(t *testing.T) {
	layout := maps.NewLayout(layout.Config{})
	table := layout.Tables()[0]
	for _, set := range []string{"services", "dispatch", "local-services", "remembered", "no-endpoints", "no-endpoints-nodeport"} {
		if table.Set(set) == nil {
			t.Errorf("there is no set %s", set)
		}
	}
	has := map[string]bool{}
	for _, c := range table.Chains {
		has[c.Name] = true
	}
	for _, name := range []string{"services", "check-source", "no-local-endpoints", "nat-prerouting", "nat-output", "sticky", "sticky-external", "sticky-external-local", "sticky-local"} {
		if !has[name] {
			t.Errorf("there is no chain %s", name)
		}
	}
	for _, name := range []string{"cluster-6", "local-2", "external-3", "external-local-4", "sticky-2", "sticky-local-2"} {
		if layout.Chain(table, name) == nil {
			t.Errorf("there is no chain %s", name)
		}
	}
}

func TestParseTo(t *testing.T) {
	for text, want := range map[string]string{
		"10.96.0.10:53/udp": "10.96.0.10:53 udp", "10.96.0.10:80": "10.96.0.10:80 tcp", "[fd00::1]:80/sctp": "[fd00::1]:80 sctp", "[::ffff:10.0.0.1]:1/tcp": "10.0.0.1:1 tcp",
	} {
		at, protocol, err := ParseTo(text)
		if got := at.String() + " " + protocol.String(); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10.96.0.10", "10.96.0.10:0", "10.96.0.10:70000", "dns:53", "10.96.0.10:53/icmp", "/udp", "fd00::1:80"} {
		if at, _, err := ParseTo(text); err == nil {
			t.Errorf("%q is taken for %s", text, at)
		}
	}
}
