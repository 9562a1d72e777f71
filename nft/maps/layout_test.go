package maps_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/golden"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func rules(f nft.Family, chain *nft.Chain) string {
	var all []string
	for _, r := range chain.Rules {
		all = append(all, r.Text(f))
	}
	return strings.Join(all, "\n")
}

// fixed are the rules of a chain that is always there.
func fixed(t *testing.T, table *nft.Table, name string) string {
	t.Helper()
	for _, c := range table.Chains {
		if c.Name == name {
			return rules(table.Family, c)
		}
	}
	t.Fatalf("there is no chain %s", name)
	return ""
}

// Chains that exist once for each number are made by their names.
func TestChainsByNumber(t *testing.T) {
	layout := maps.NewLayout(layout.Config{PodCIDRs: golden.PodCIDRs[:1], MasqueradeBit: 12})
	const slot = "ip daddr . meta l4proto . th dport . numgen random mod "
	const outside = `ip saddr != @pod-cidrs meta mark set meta mark | 0x00001000 comment "to masquerade"` + "\n"
	const remembered = "meta l4proto tcp dnat ip to ip saddr . meta priority map @remembered\n" +
		"meta l4proto udp dnat ip to ip saddr . meta priority map @remembered\n" +
		"meta l4proto sctp dnat ip to ip saddr . meta priority map @remembered\n"
	for _, tc := range []struct{ name, want string }{
		{"cluster-1", outside + "meta priority set none dnat ip to " + slot + "1 map @endpoints\ncounter drop"},
		{"cluster-2", outside + "meta priority set none dnat ip to " + slot + "2 map @endpoints\ndnat ip to " + slot + "1 map @endpoints\ncounter drop"},
		{"cluster-5000", outside + "meta priority set none dnat ip to " + slot + "5000 map @endpoints\ndnat ip to " + slot + "4999 map @endpoints\ncounter drop"},
		{"local-3", "meta priority set none dnat ip to " + slot + "3 map @local-endpoints\ndnat ip to " + slot + "2 map @local-endpoints\ncounter drop"},
		{"sticky-2", outside + remembered + "meta priority @sticky-shares dnat ip to " + slot + "2 map @endpoints\nmeta priority set none dnat ip to " + slot + "2 map @endpoints\ndnat ip to " + slot + "1 map @endpoints\ncounter drop"},
		{"sticky-local-1", remembered + "meta priority @sticky-shares dnat ip to " + slot + "1 map @local-endpoints\nmeta priority set none dnat ip to " + slot + "1 map @local-endpoints\ncounter drop"},
		{"external-7", "meta mark set meta mark | 0x00001000\ngoto cluster-7"},
		{"external-local-7", `ip saddr @pod-cidrs goto cluster-7 comment "from a pod"
fib saddr type local meta mark set meta mark | 0x00001000 goto cluster-7 comment "from this node"
ip daddr . meta l4proto . th dport vmap @local-services
counter drop`},
		{"remember-10800", "update @remembered { ip saddr . meta priority timeout 3h : ip daddr . th dport }\nmeta priority set none"},
		{"cluster-0", ""}, {"cluster-", ""}, {"cluster-01", ""}, {"cluster-+1", ""}, {"cluster--1", ""}, {"cluster-4294967296", ""}, {"cluster-x", ""},
		{"-1", ""}, {"1", ""}, {"", ""}, {"services", ""}, {"service-1", ""}, {"clusters-1", ""}, {"no-local-endpoints", ""},
	} {
		table := layout.Tables()[0]
		chain := layout.Chain(table, tc.name)
		if chain == nil {
			if tc.want != "" {
				t.Errorf("there is no chain %s", tc.name)
			}
			continue
		}
		if got := rules(nft.IPv4, chain); got != tc.want || chain.Name != tc.name || chain.Base != nil {
			t.Errorf("chain %s is\n%s\nwant\n%s", chain.Name, got, tc.want)
		}
	}
	if got, want := rules(nft.IPv6, layout.Chain(layout.Tables()[1], "cluster-1")), "meta priority set none dnat ip6 to ip6 daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints\ncounter drop"; got != want {
		t.Errorf("in IPv6, cluster-1 is\n%s\nwant\n%s", got, want)
	}
}

// A large load makes chains ahead, for the numbers of endpoints that there are and
// for one more and one less.
func TestChainsOfALoad(t *testing.T) {
	layout := maps.NewLayout(layout.Config{})
	var services []*proxy.Service
	for _, endpoints := range [][]proxy.Endpoint{
		nil, endpoints("10.0.0.1:1"), endpoints("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1", "10.0.0.5:1"), endpoints("[fd00::1]:1", "[fd00::2]:1"),
	} {
		vip := "10.96.0.1"
		if len(endpoints) > 0 && endpoints[0].Addr().Is6() {
			vip = "fd00:96::1"
		}
		services = append(services, &proxy.Service{Ports: []proxy.Port{{Frontends: frontends(proxy.ClusterIP, vip), Endpoints: endpoints}}})
	}
	services = append(services, &proxy.Service{Ports: []proxy.Port{{Endpoints: endpoints("10.0.0.1:1")}}},
		&proxy.Service{Ports: []proxy.Port{{Frontends: frontends(proxy.ClusterIP, "10.96.0.9"), Endpoints: endpoints("10.0.0.1:1"), Affinity: time.Hour}}})
	got := layout.Chains(slices.Values(services))
	if text, want := fmt.Sprint(got[layout.Tables()[0]]), "[cluster-1 cluster-2 cluster-4 cluster-5 cluster-6 sticky-1 sticky-2]"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if text, want := fmt.Sprint(got[layout.Tables()[1]]), "[cluster-1 cluster-2 cluster-3]"; text != want {
		t.Errorf("in IPv6, got %s, want %s", text, want)
	}
}

func TestHowPodsAreTold(t *testing.T) {
	const (
		services  = "meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @dispatch"
		translate = "meta priority set none dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints\ncounter drop"
		mark      = "meta mark set meta mark | 0x00001000"
		outside   = " " + mark + ` comment "to masquerade"` + "\n" + translate
		node      = "\nfib saddr type local " + mark + ` goto sticky comment "from this node"` + "\ngoto sticky-local"
	)
	for _, tc := range []struct {
		name                     string
		config                   layout.Config
		services, cluster, local string
	}{
		{"not at all: nothing is masqueraded for its source", layout.Config{}, services, translate, node[1:]},
		{"by addresses", layout.Config{PodCIDRs: golden.PodCIDRs},
			services, "ip saddr != @pod-cidrs" + outside, `ip saddr @pod-cidrs goto sticky comment "from a pod"` + node},
		{"by addresses of the other family", layout.Config{PodCIDRs: golden.PodCIDRs[1:]}, services, translate, node[1:]},
		{"by an interface", layout.Config{PodInterface: "cni0"},
			services, `iifname != "cni0"` + outside, `iifname "cni0" goto sticky comment "from a pod"` + node},
		{"by interfaces of similar names, rather than by addresses", layout.Config{PodInterface: "cali*", PodCIDRs: golden.PodCIDRs},
			services, `iifname != "cali*"` + outside, `iifname "cali*" goto sticky comment "from a pod"` + node},
		{"that is of no matter where all is masqueraded", layout.Config{MasqueradeAll: true, PodCIDRs: golden.PodCIDRs},
			"ip daddr @cluster-ips " + mark + ` comment "masquerade all traffic to ClusterIPs"` + "\n" + services, translate, `ip saddr @pod-cidrs goto sticky comment "from a pod"` + node},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.config.MasqueradeBit = 12
			if err := tc.config.Validate(); err != nil {
				t.Fatal(err)
			}
			layout := maps.NewLayout(tc.config)
			if got := fixed(t, layout.Tables()[0], "services"); got != tc.services {
				t.Errorf("chain services is\n%s\nwant\n%s", got, tc.services)
			}
			if got := rules(nft.IPv4, layout.Chain(layout.Tables()[0], "cluster-1")); got != tc.cluster {
				t.Errorf("chain cluster-1 is\n%s\nwant\n%s", got, tc.cluster)
			}
			if got := fixed(t, layout.Tables()[0], "sticky-external-local"); got != tc.local {
				t.Errorf("chain sticky-external-local is\n%s\nwant\n%s", got, tc.local)
			}
			contents, err := dataplane.Contents(layout, layout.Known(), nil)
			if err != nil {
				t.Fatal(err)
			}
			golden.Loads(t, golden.Script(t, contents))
		})
	}
}

func TestTheBitIsTheOneThatIsAskedFor(t *testing.T) {
	for bit, want := range map[int]string{0: "0x00000001", 14: "0x00004000", 31: "0x80000000"} {
		table := maps.NewLayout(layout.Config{MasqueradeBit: bit}).Tables()[0]
		if got := fixed(t, table, "sticky-external"); got != "meta mark set meta mark | "+want+"\ngoto sticky" {
			t.Errorf("bit %d: %s", bit, got)
		}
		if got := fixed(t, table, "masquerading"); !strings.HasPrefix(got, "meta mark & "+want+" != 0x00000000 meta mark set meta mark ^ "+want+" masquerade fully-random\n") {
			t.Errorf("bit %d: %s", bit, got)
		}
	}
}

// An endpoint that is forgotten is found again in what clients remember.
func TestWhatClientsRemember(t *testing.T) {
	layout := maps.NewLayout(layout.Config{})
	svc := proxy.Service{Ports: []proxy.Port{{Protocol: proxy.TCP, Port: 80, Affinity: 1e9, ID: 4, Frontends: frontends(proxy.ClusterIP, "10.96.0.1", "fd00:96::1"), Endpoints: endpoints("10.254.0.1:80")}}}
	for i, client := range []netip.Addr{netip.MustParseAddr("10.254.0.9"), netip.MustParseAddr("fd00:254::9")} {
		table := layout.Tables()[i]
		if i == 1 {
			svc.Ports[0].Endpoints = endpoints("[fd00:254::1]:80")
			svc.Ports[0].Frontends = svc.Ports[0].Frontends[1:]
		}
		memory := layout.Memory(table)
		for _, e := range layout.Elements(nil, &svc) {
			if e.Table != table || e.Set != memory.Endpoints {
				continue
			}
			number, data := e.Key[:4], e.Key[4:]
			remembered := nft.Element{Key: string(client.AsSlice()) + number, Data: data}
			if got := memory.Endpoint(table.Family, &remembered); got != e.Key {
				t.Errorf("%s: remembered is %x, for the endpoint %x", table.Family, got, e.Key)
			}
			if len(remembered.Key) != memory.Remembered.KeyLen(table.Family) || len(remembered.Data) != memory.Remembered.DataLen(table.Family) {
				t.Errorf("%s: an element of %s has %d and %d bytes", table.Family, memory.Remembered.Name, len(remembered.Key), len(remembered.Data))
			}
		}
	}
}
