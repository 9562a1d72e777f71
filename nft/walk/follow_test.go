package walk_test

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
)

var here = proxy.Node{
	Name: "node-a", Zone: "a",
	Addresses: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")},
	NodePorts: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")},
}

var world = walk.World{
	Local:    func(a netip.Addr) bool { return slices.Contains(here.Addresses, a) },
	SourceTo: func(a netip.Addr) netip.Addr { return here.Addresses[map[bool]int{true: 0, false: 1}[a.Is4()]] },
}

// elsewhere is a Service that has endpoints, but none that it may lead to.
var elsewhere = proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "elsewhere"}, Ports: []proxy.Port{{
	Protocol: proxy.TCP, Port: 80, InternalLocal: true, Elsewhere: true, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr("10.96.99.99")}},
}}}

// contents are the tables for the manifests in a file.
func contents(t *testing.T, config layout.Config, file string) []nft.Contents {
	t.Helper()
	return contentsOf(t, maps.NewLayout(config), config, file)
}

func contentsOf(t *testing.T, l dataplane.Layout, config layout.Config, file string) []nft.Contents {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects := manifests.Read(t.Context(), []string{"-"}, strings.NewReader(string(text)))
	if len(objects.Errors) > 0 {
		t.Fatal(objects.Errors)
	}
	var services []proxy.Service
	cluster := proxy.NewCluster()
	for _, svc := range objects.Services {
		key := struct{ Namespace, Name string }{svc.Namespace, svc.Name}
		model, _ := proxy.Build(svc, objects.Slices[key], here)
		cluster.Set(model)
	}
	for svc := range cluster.All() {
		services = append(services, svc)
	}
	services = append(services, elsewhere)
	cidrs, _ := proxy.ServiceCIDRs(objects.ServiceCIDRs)
	all, err := dataplane.Contents(l, layout.Networks{Pods: config.PodCIDRs, Services: cidrs}, services)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var byAddress = layout.Config{
	PodCIDRs:      []netip.Prefix{netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("fd00:10:254::/48")},
	MasqueradeBit: layout.DefaultMasqueradeBit,
}

func packet(protocol uint8, from, to, in string) walk.Packet {
	return walk.Packet{Source: netip.MustParseAddrPort(from), Dest: netip.MustParseAddrPort(to), Protocol: protocol, In: in}
}

// way is an outcome in a line: its share, the rules that matched, and its end.
func way(o walk.Outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.4f", o.Share)
	for _, s := range o.Steps {
		if s.Matched {
			number := 0 // a policy
			if s.Rule != nil {
				number = s.Rule.Number
			}
			fmt.Fprintf(&b, " %s:%d", s.Chain, number)
		}
	}
	fmt.Fprintf(&b, " %s %s -> %s", o.Fate, o.Source, o.Dest)
	return b.String()
}

// The document's Service: six endpoints, a sixth of the connections each.
func TestAClusterIP(t *testing.T) {
	r := compiled(t, contents(t, byAddress, "../../examples/dns-default.yaml"))[nft.IPv4]
	outcomes, err := r.Follow(packet(17, "10.254.4.9:4000", "172.30.0.10:53", "veth1"), world)
	if err != nil || len(outcomes) != 6 {
		t.Fatalf("%d outcomes, %v", len(outcomes), err)
	}
	endpoints := []string{"10.254.0.92:5353", "10.254.1.115:5353", "10.254.2.131:5353", "10.254.3.114:5353", "10.254.4.74:5353", "10.254.6.95:5353"}
	for i, o := range outcomes {
		want := "0.1667 nat-prerouting:1 services:1 cluster-6:2 nat-postrouting:1 forwarded 10.254.4.9:4000 -> " + endpoints[i]
		if got := way(o); got != want {
			t.Errorf("slot %d: got\n%s\nwant\n%s", i, got, want)
		}
	}
	// Who does not come from a pod is masqueraded.
	outcomes, err = r.Follow(packet(17, "192.0.2.1:4000", "172.30.0.10:53", "eth0"), world)
	if err != nil || len(outcomes) != 6 || !outcomes[0].Masqueraded || outcomes[0].Source.Addr() != here.Addresses[0] || outcomes[0].Mark != 0 {
		t.Errorf("from outside: %v, %v", outcomes, err)
	}
	if !slices.ContainsFunc(outcomes[0].Steps, func(s walk.Step) bool {
		return s.Matched && s.Rule.Text() == `ip saddr != @pod-cidrs meta mark set meta mark | 0x00001000 comment "to masquerade"`
	}) {
		t.Error("from outside: no rule marked it")
	}
}

// Each statement that a layout can have is followed, and shares always are one.
func TestEveryStatementIsFollowed(t *testing.T) {
	for name, of := range map[string]func(layout.Config) dataplane.Layout{
		"maps":   func(c layout.Config) dataplane.Layout { return maps.NewLayout(c) },
		"chains": func(c layout.Config) dataplane.Layout { return chains.NewLayout(c) },
	} {
		t.Run(name, func(t *testing.T) { followed(t, of) })
	}
}

func followed(t *testing.T, of func(layout.Config) dataplane.Layout) {
	met, there := map[string]bool{}, map[string]bool{}
	for _, config := range []layout.Config{
		byAddress, {MasqueradeAll: true, MasqueradeBit: 3}, {PodInterface: "cali*", MasqueradeBit: 3}, {PodInterface: "cni0", MasqueradeBit: 3},
	} {
		all := contentsOf(t, of(config), config, "../../examples/everything.yaml")
		if config.PodInterface == "cni0" {
			empty(all, "endpoints") // the slots that verdicts lead to have gone
		}
		rules := compiled(t, all)
		for _, c := range all {
			statements := map[string][]nft.Rule{}
			for _, chain := range c.Chains {
				if chain.Name == "configuration" {
					continue // nothing leads there
				}
				statements[chain.Name] = chain.Rules
				for _, rule := range chain.Rules {
					for _, s := range rule.Statements {
						there[reflect.TypeOf(s).Name()] = true
					}
				}
			}
			pod, outside, node := "10.254.0.9", "192.0.2.1", here.Addresses[0].String()
			if c.Family == nft.IPv6 {
				pod, outside, node = "[fd00:10:254::9]", "[2001:db8::1]", "["+here.Addresses[1].String()+"]"
			}
			for frontend, protocol := range frontends(c) {
				for _, from := range []struct{ addr, in string }{{pod, "cali1"}, {pod, "cni0"}, {outside, "eth0"}, {node, ""}} {
					outcomes, err := rules[c.Family].Follow(packet(protocol, from.addr+":4000", frontend, from.in), world)
					if err != nil {
						t.Fatalf("from %s to %s: %v", from.addr, frontend, err)
					}
					sum := 0.0
					for _, o := range outcomes {
						sum += o.Share
						for _, step := range o.Steps {
							for _, s := range statements[step.Chain][step.Rule.Number-1].Statements {
								met[reflect.TypeOf(s).Name()] = true
							}
						}
					}
					if math.Abs(sum-1) > 1e-9 {
						t.Errorf("from %s to %s: the shares are %v together", from.addr, frontend, sum)
					}
				}
			}
		}
	}
	for name := range there {
		if !met[name] {
			t.Errorf("no packet met a %s", name)
		}
	}
}

// Both layouts have the same become of every packet.
func TestLayoutsAreAlike(t *testing.T) {
	flat := contents(t, byAddress, "../../examples/everything.yaml")
	tall := contentsOf(t, chains.NewLayout(byAddress), byAddress, "../../examples/everything.yaml")
	a, b := compiled(t, flat), compiled(t, tall)
	ends := func(r map[nft.Family]*walk.Ruleset, p walk.Packet) string {
		t.Helper()
		outcomes, err := r[nft.FamilyOf(p.Dest.Addr())].Follow(p, world)
		if err != nil {
			t.Fatal(err)
		}
		shares := map[string]float64{}
		for _, o := range outcomes {
			shares[fmt.Sprintf("%s %s -> %s", o.Fate, o.Source, o.Dest)] += o.Share
		}
		return fmt.Sprint(shares)
	}
	compared := 0
	for _, c := range flat {
		froms := []struct{ addr, in string }{{"10.254.0.9", "cali1"}, {"10.254.0.1", "cali1"}, {"192.0.2.1", "eth0"}, {here.Addresses[0].String(), ""}}
		if c.Family == nft.IPv6 {
			froms = []struct{ addr, in string }{{"[fd00:10:254::9]", "cali1"}, {"[fd00:10:254::1]", "cali1"}, {"[2001:db8::1]", "eth0"}, {"[" + here.Addresses[1].String() + "]", ""}}
		}
		for frontend, protocol := range frontends(c) {
			for _, from := range froms {
				p := packet(protocol, from.addr+":4000", frontend, from.in)
				if x, y := ends(a, p), ends(b, p); x != y {
					t.Errorf("from %s to %s: with maps %s, with chains %s", from.addr, frontend, x, y)
				}
				compared++
			}
		}
	}
	if compared < 50 {
		t.Errorf("only %d packets were compared", compared)
	}
}

// empty takes the elements of a set away.
func empty(all []nft.Contents, name string) {
	for _, c := range all {
		for set := range c.Elements {
			if set.Name == name {
				c.Elements[set] = nil
			}
		}
	}
}

// frontends are the addresses in a table's maps, and one that is nobody's.
func frontends(c nft.Contents) map[string]uint8 {
	all := map[string]uint8{}
	n := c.Family.AddrLen()
	for set, elements := range c.Elements {
		if !slices.Contains([]string{"services", "nodeports", "no-endpoints", "no-endpoints-nodeport"}, set.Name) {
			continue
		}
		for _, e := range elements {
			addr, _ := netip.AddrFromSlice([]byte(e.Key[:n]))
			port := uint16(e.Key[n+4])<<8 | uint16(e.Key[n+5])
			all[netip.AddrPortFrom(addr, port).String()] = e.Key[n]
			all[netip.AddrPortFrom(addr, 9).String()] = e.Key[n] // a port that it does not have
		}
	}
	return all
}

// compiled are tables ready to be followed, without a kernel.
func compiled(t *testing.T, all []nft.Contents) map[nft.Family]*walk.Ruleset {
	t.Helper()
	rules := map[nft.Family]*walk.Ruleset{}
	for i := range all {
		held, err := all[i].Held()
		if err != nil {
			t.Fatal(err)
		}
		rules[all[i].Family] = walk.Compile(held)
	}
	return rules
}

// Rules that others put among ours are followed, too, and their tables beside ours.
func TestRulesOfOthers(t *testing.T) {
	all := contents(t, byAddress, "../../examples/dns-default.yaml")
	if _, err := compiled(t, all)[nft.IPv4].Follow(packet(6, "10.254.0.1:1", "[fd00::1]:2", "eth0"), world); err == nil {
		t.Error("two families: no error")
	}
	first := func(tables ...*nft.Held) string {
		t.Helper()
		outcomes, err := walk.Compile(tables...).Follow(packet(17, "10.254.4.9:4000", "172.30.0.10:53", "veth1"), world)
		if err != nil {
			return err.Error()
		}
		return way(outcomes[0])
	}
	rule := func(statements ...nft.Statement) nft.HeldRule {
		held, err := (&nft.Rule{Statements: statements}).Held(nft.IPv4)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	other := func(base nft.Base, drops bool, rules ...nft.HeldRule) *nft.Held {
		return &nft.Held{ID: nft.ID{Family: nft.IPv4, Name: "other"}, Chains: map[string]*nft.HeldChain{"theirs": {Base: &base, Drops: drops, Rules: rules}}}
	}
	ours := func(change func(chains map[string]*nft.HeldChain)) *nft.Held {
		held, err := all[0].Held()
		if err != nil {
			t.Fatal(err)
		}
		change(held.Chains)
		return held
	}
	insert := func(chain string, r nft.HeldRule) *nft.Held {
		return ours(func(chains map[string]*nft.HeldChain) {
			chains[chain].Rules = slices.Insert(chains[chain].Rules, 0, r)
		})
	}
	as := func(c map[string]*nft.HeldChain) {}
	const end = " forwarded 10.254.4.9:4000 -> 10.254.0.92:5353"
	for _, tc := range []struct{ name, got, want string }{
		{"a counter", first(insert("nat-prerouting", rule(nft.Counter{}))), "0.1667 nat-prerouting:1 nat-prerouting:2 services:1 cluster-6:2 nat-postrouting:1" + end},
		{"a drop", first(insert("cluster-6", rule(nft.Drop{}))), "1.0000 nat-prerouting:1 services:1 cluster-6:1 dropped 10.254.4.9:4000 -> 172.30.0.10:53"},
		{"a limit", first(insert("cluster-6", rule(nft.Limit{Rate: 1}))), "chain cluster-6, rule 1: limit is unknown here"},
		{"a drop behind translation", first(ours(as), other(nft.Base{Type: "filter", Hook: nft.Forward}, false, rule(nft.Translated{}, nft.Drop{}))),
			"0.1667 nat-prerouting:1 services:1 cluster-6:2 theirs:1 dropped 10.254.4.9:4000 -> 10.254.0.92:5353"},
		{"a policy", first(ours(as), other(nft.Base{Type: "filter", Hook: nft.Forward}, true)),
			"0.1667 nat-prerouting:1 services:1 cluster-6:2 theirs:0 dropped 10.254.4.9:4000 -> 10.254.0.92:5353"},
		{"another translation comes too late", first(ours(as), other(nft.Base{Type: "nat", Hook: nft.Prerouting, Priority: -100}, false, rule(nft.Translate{Protocol: 17, To: netip.MustParseAddrPort("192.0.2.9:9")}))),
			"0.1667 nat-prerouting:1 services:1 cluster-6:2 nat-postrouting:1" + end},
		{"another translation comes first", first(ours(as), other(nft.Base{Type: "nat", Hook: nft.Prerouting, Priority: -110}, false, rule(nft.Translate{Protocol: 17, To: netip.MustParseAddrPort("192.0.2.9:9")}))),
			"1.0000 theirs:1 nat-postrouting:1 forwarded 10.254.4.9:4000 -> 192.0.2.9:9"},
		{"no rules", first(ours(func(chains map[string]*nft.HeldChain) {
			for _, c := range chains {
				if c.Base != nil {
					c.Rules = nil
				}
			}
		})), "1.0000 forwarded 10.254.4.9:4000 -> 172.30.0.10:53"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, tc.got, tc.want)
		}
	}
}
