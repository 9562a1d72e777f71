package differential

import (
	"strings"
	"testing"
)

// The suite can fail: each of these faults in our tables is noticed.
func TestFaultsAreNoticed(t *testing.T) {
	suite := newTestSuite(t, options{})
	services := []Service{
		{Number: 1, Type: "LoadBalancer", Balancer: "VIP", Ranges: []string{"198.18.7.0/24"}, Ports: []Port{{"TCP", 80, 8080}, {"UDP", 80, 8080}}, Endpoints: []Endpoint{{Place: "a"}, {Place: "c"}, {Place: "d"}}},
		{Number: 2, Type: "NodePort", ETPLocal: true, Ports: []Port{{"TCP", 80, 8080}}, Endpoints: []Endpoint{{Place: "a"}, {Place: "c"}}},
		{Number: 3, External: true, Ports: []Port{{"TCP", 80, 8080}}},
		{Number: 4, Type: "NodePort", ETPLocal: true, Ports: []Port{{"TCP", 80, 8080}}, Endpoints: []Endpoint{{Place: "c"}}},
		{Number: 5, Affinity: 100, Ports: []Port{{"TCP", 80, 8080}}, Endpoints: []Endpoint{{Place: "a"}, {Place: "c"}}},
		{Number: 6, Ports: []Port{{"TCP", 80, 8080}}, Endpoints: []Endpoint{{Place: "a"}, {Place: "b"}, {Place: "c"}, {Place: "d"}}},
	}
	differences, err := suite.Step(t.Context(), services)
	if err != nil || len(differences) > 0 {
		t.Fatalf("without a fault: %v, %v", differences, err)
	}
	// Its rules stay, and nobody repairs them.
	if err := suite.ours.proxy.Stop(); err != nil {
		t.Fatal(err)
	}
	const twice = "an endpoint is drawn twice as often"
	for _, fault := range []struct{ name, script string }{
		{"a slot is never drawn", "delete element ip kube-verdict services { 10.96.50.1 . tcp . 80 }; add element ip kube-verdict services { 10.96.50.1 . tcp . 80 : 0:2 }"},
		{"no masquerade for clients from outside", "flush chain ip kube-verdict external-3; add rule ip kube-verdict external-3 goto cluster-3"},
		{"no hairpin", "flush set ip kube-verdict hairpin"},
		{"no reject without endpoints", "flush set ip kube-verdict no-endpoints"},
		{"undefined ports go through", "flush chain ip kube-verdict nat-prerouting; add rule ip kube-verdict nat-prerouting jump services"},
		{"everyone may use the load balancer", "flush set ip kube-verdict guarded"},
		{"pods are taken to be outside", "flush set ip kube-verdict pod-cidrs"},
		{"an endpoint is another one", "delete element ip kube-verdict endpoints { 10.96.50.1 . tcp . 80 . 0 }; add element ip kube-verdict endpoints { 10.96.50.1 . tcp . 80 . 0 : 10.244.0.2 . 8080 }"},
		{twice, "delete element ip kube-verdict services { 10.96.50.1 . tcp . 80 }; add element ip kube-verdict services { 10.96.50.1 . tcp . 80 : 0:4 }; add element ip kube-verdict endpoints { 10.96.50.1 . tcp . 80 . 3 : 10.244.1.1 . 8080 }"},
		{"traffic from outside leaves the node", "flush map ip kube-verdict local-services; add element ip kube-verdict local-services { 10.240.0.11 . tcp . 30200 : goto cluster-2, 10.240.0.11 . tcp . 30400 : goto cluster-1 }"},
		{"clients are not remembered", "flush chain ip kube-verdict learn; flush map ip kube-verdict remembered"},
		{"IPv6 is forgotten", "flush map ip6 kube-verdict services"},
		{"marks are not heeded", "flush chain ip kube-verdict masquerading"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			before, err := suite.ours.node.Run("nft", "list", "ruleset")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := suite.ours.node.RunInput(strings.NewReader(strings.ReplaceAll(fault.script, "; ", "\n")), "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			effort := quick
			if fault.name == twice {
				effort.tries = thorough.tries
			}
			differences, err := suite.differences(probes(services), effort)
			if err != nil {
				t.Fatal(err)
			}
			if len(differences) == 0 {
				t.Error("nothing was noticed")
			} else {
				t.Logf("%d differences, the first: %s", len(differences), differences[0])
			}
			mend := "flush ruleset\n" + withoutIPv6Learning(before)
			if _, err := suite.ours.node.RunInput(strings.NewReader(mend), "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			if differences, err := suite.differences(probes(services), quick); err != nil || len(differences) > 0 {
				t.Fatalf("the fault is gone, but not its differences: %v, %v", differences, err)
			}
		})
	}
}

// withoutIPv6Learning leaves out the rule that nft 1.0.6 can't load; its chain
// stays.
func withoutIPv6Learning(ruleset string) string {
	var kept []string
	for line := range strings.Lines(ruleset) {
		if !strings.Contains(line, "update @remembered { ip6") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
