package maps_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/golden"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// texts are elements in the words of nft, after the name of their set.
func texts(elements []nft.Placed) []string {
	var all []string
	for _, e := range elements {
		all = append(all, fmt.Sprintf("%s %s: %s", e.Table.Family, e.Set.Name, e.Set.Text(e.Table.Family, e.Element)))
	}
	return all
}

// renders checks what the Service ns/web adds to the maps for this port.
func renders(t *testing.T, port proxy.Port, want string) {
	t.Helper()
	svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "web"}, Ports: []proxy.Port{port}}
	got := texts(maps.NewLayout(layout.Config{}).Elements(nil, &svc))
	var wanted []string
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		wanted = append(wanted, strings.TrimSpace(line))
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

func frontends(kind proxy.FrontendKind, addrs ...string) []proxy.Frontend {
	var all []proxy.Frontend
	for _, a := range addrs {
		all = append(all, proxy.Frontend{Addr: netip.MustParseAddr(a), Kind: kind})
	}
	return all
}

// endpoints reads "ip:port", with "*" before those on this node.
func endpoints(list ...string) []proxy.Endpoint {
	var all []proxy.Endpoint
	for _, text := range list {
		addr, local := strings.CutPrefix(text, "*")
		all = append(all, proxy.Endpoint{AddrPort: netip.MustParseAddrPort(addr), Local: local})
	}
	return all
}

func TestElementsOfAPort(t *testing.T) {
	two := endpoints("10.254.1.1:8080", "*10.254.0.1:8080")
	for _, tc := range []struct {
		name string
		port proxy.Port
		want string
	}{
		{
			"a ClusterIP, and an endpoint that may reach itself",
			proxy.Port{Name: "http", Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Endpoints: two},
			`ip cluster-ips: 10.96.0.1
			ip services: 10.96.0.1 . tcp . 80 comment "ns/web:http" : 0:2
			ip dispatch: 0:2 : goto cluster-2
			ip endpoints: 10.96.0.1 . tcp . 80 . 0 : 10.254.1.1 . 8080
			ip endpoints: 10.96.0.1 . tcp . 80 . 1 : 10.254.0.1 . 8080
			ip hairpin: 10.254.0.1 . 10.254.0.1 . tcp . 8080`,
		},
		{
			"IPv6 and SCTP, without a name",
			proxy.Port{Protocol: proxy.SCTP, Port: 65535, Frontends: frontends(proxy.ClusterIP, "fd00:96::1"), Endpoints: endpoints("[fd00:254::1]:1")},
			`ip6 cluster-ips: fd00:96::1
			ip6 services: fd00:96::1 . sctp . 65535 comment "ns/web" : 0:1
			ip6 dispatch: 0:1 : goto cluster-1
			ip6 endpoints: fd00:96::1 . sctp . 65535 . 0 : fd00:254::1 . 1`,
		},
		{
			"no endpoints: the address is there, and what goes to the port is refused",
			proxy.Port{Name: "dns", Protocol: proxy.UDP, Port: 53, Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Affinity: time.Hour},
			`ip cluster-ips: 10.96.0.1
			ip no-endpoints: 10.96.0.1 . udp . 53 comment "ns/web:dns"`,
		},
		{
			"endpoints on other nodes only, and a policy that wants them here: dropped",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Elsewhere: true, Affinity: time.Hour},
			`ip cluster-ips: 10.96.0.1
			ip services: 10.96.0.1 . tcp . 80 comment "ns/web" : 5000:0
			ip dispatch: 5000:0 : goto no-local-endpoints`,
		},
		{
			"from outside, at two addresses: each has its slots",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ExternalIP, "192.0.2.1", "192.0.2.2"), Endpoints: endpoints("10.254.1.1:8080")},
			`ip services: 192.0.2.1 . tcp . 80 comment "ns/web" : 1000:1
			ip dispatch: 1000:1 : goto external-1
			ip endpoints: 192.0.2.1 . tcp . 80 . 0 : 10.254.1.1 . 8080
			ip services: 192.0.2.2 . tcp . 80 comment "ns/web" : 1000:1
			ip dispatch: 1000:1 : goto external-1
			ip endpoints: 192.0.2.2 . tcp . 80 . 0 : 10.254.1.1 . 8080`,
		},
		{
			"from outside, none: refused, policy or not",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ExternalIP, "192.0.2.1"), LocalOnly: true},
			`ip no-endpoints: 192.0.2.1 . tcp . 80 comment "ns/web"`,
		},
		{
			"a NodePort, none: refused where it arrives",
			proxy.Port{Protocol: proxy.TCP, Port: 30080, Frontends: frontends(proxy.NodePort, "10.240.0.11"), LocalOnly: true},
			`ip no-endpoints-nodeport: 10.240.0.11 . tcp . 30080 comment "ns/web"`,
		},
		{
			"from outside, policy Local",
			proxy.Port{Protocol: proxy.TCP, Port: 30080, Frontends: frontends(proxy.NodePort, "10.240.0.11"), Endpoints: two, LocalOnly: true, LocalEndpoints: two[1:]},
			`ip services: 10.240.0.11 . tcp . 30080 comment "ns/web" : 2000:2
			ip dispatch: 2000:2 : goto external-local-2
			ip endpoints: 10.240.0.11 . tcp . 30080 . 0 : 10.254.1.1 . 8080
			ip endpoints: 10.240.0.11 . tcp . 30080 . 1 : 10.254.0.1 . 8080
			ip hairpin: 10.254.0.1 . 10.254.0.1 . tcp . 8080
			ip local-services: 10.240.0.11 . tcp . 30080 comment "ns/web" : goto local-1
			ip local-endpoints: 10.240.0.11 . tcp . 30080 . 0 : 10.254.0.1 . 8080
			ip hairpin: 10.254.0.1 . 10.254.0.1 . tcp . 8080`,
		},
		{
			"from outside, policy Local, and none here",
			proxy.Port{Protocol: proxy.TCP, Port: 30080, Frontends: frontends(proxy.NodePort, "10.240.0.11"), Endpoints: two[:1], LocalOnly: true},
			`ip services: 10.240.0.11 . tcp . 30080 comment "ns/web" : 2000:1
			ip dispatch: 2000:1 : goto external-local-1
			ip endpoints: 10.240.0.11 . tcp . 30080 . 0 : 10.254.1.1 . 8080
			ip local-services: 10.240.0.11 . tcp . 30080 comment "ns/web" : goto no-local-endpoints`,
		},
		{
			"source ranges, of which one lies in another and one is of the other family",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.LoadBalancerIP, "192.0.2.1"), Endpoints: two[:1],
				SourceRanges: prefixes("198.19.0.0/16", "198.18.0.0/15", "fd00::/8", "192.0.2.1/32")},
			`ip guarded: 192.0.2.1 . tcp . 80 comment "ns/web"
			ip source-ranges: 192.0.2.1 . tcp . 80 . 192.0.2.1
			ip source-ranges: 192.0.2.1 . tcp . 80 . 198.18.0.0/15
			ip services: 192.0.2.1 . tcp . 80 comment "ns/web" : 1000:1
			ip dispatch: 1000:1 : goto external-1
			ip endpoints: 192.0.2.1 . tcp . 80 . 0 : 10.254.1.1 . 8080`,
		},
		{
			"session affinity",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Endpoints: two[:1], Affinity: 90 * time.Second, ID: 0x20004},
			`ip cluster-ips: 10.96.0.1
			ip services: 10.96.0.1 . tcp . 80 comment "ns/web" : 2:4
			ip dispatch: 2:4 : goto sticky-1
			ip endpoints: 10.96.0.1 . tcp . 80 . 0 : 10.254.1.1 . 8080
			ip sticky-timeouts: 2:4 : goto remember-90
			ip sticky-shares: 2:4 limit rate 31457280/day burst 32768 packets
			ip sticky-endpoints: 2:4 . 10.254.1.1 . 8080`,
		},
		{
			"session affinity of a ClusterIP with the internal policy Local",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Endpoints: two[:1], InternalLocal: true, Affinity: 90 * time.Second, ID: 0x20004},
			`ip cluster-ips: 10.96.0.1
			ip services: 10.96.0.1 . tcp . 80 comment "ns/web" : 2:5
			ip dispatch: 2:5 : goto sticky-1
			ip endpoints: 10.96.0.1 . tcp . 80 . 0 : 10.254.1.1 . 8080
			ip sticky-timeouts: 2:5 : goto remember-90
			ip sticky-shares: 2:5 limit rate 31457280/day burst 32768 packets
			ip sticky-endpoints: 2:5 . 10.254.1.1 . 8080`,
		},
		{
			"session affinity from outside",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ExternalIP, "192.0.2.1"), Endpoints: two[:1], Affinity: time.Hour, ID: 4},
			`ip services: 192.0.2.1 . tcp . 80 comment "ns/web" : 3000:0
			ip dispatch: 3000:0 : goto sticky-external
			ip endpoints: 192.0.2.1 . tcp . 80 . 0 : 10.254.1.1 . 8080
			ip sticky-timeouts: 0:4 : goto remember-3600
			ip sticky-shares: 0:4 limit rate 786432/day burst 32768 packets
			ip sticky-endpoints: 0:4 . 10.254.1.1 . 8080
			ip sticky-ids: 192.0.2.1 . tcp . 80 : 0:4
			ip sticky-services: 192.0.2.1 . tcp . 80 comment "ns/web" : goto sticky-1`,
		},
		{
			"session affinity from outside, policy Local, where clients have a number of their own",
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.LoadBalancerIP, "192.0.2.1"), Endpoints: two[:1], LocalOnly: true, Affinity: time.Hour, ID: 4},
			`ip services: 192.0.2.1 . tcp . 80 comment "ns/web" : 4000:0
			ip dispatch: 4000:0 : goto sticky-external-local
			ip endpoints: 192.0.2.1 . tcp . 80 . 0 : 10.254.1.1 . 8080
			ip local-services: 192.0.2.1 . tcp . 80 comment "ns/web" : goto no-local-endpoints
			ip sticky-timeouts: 0:4 : goto remember-3600
			ip sticky-shares: 0:4 limit rate 786432/day burst 32768 packets
			ip sticky-endpoints: 0:4 . 10.254.1.1 . 8080
			ip sticky-ids: 192.0.2.1 . tcp . 80 : 0:4
			ip sticky-services: 192.0.2.1 . tcp . 80 comment "ns/web" : goto sticky-1
			ip sticky-timeouts: 0:5 : goto remember-3600
			ip sticky-shares: 0:5 limit rate 786432/day burst 32768 packets
			ip sticky-local-ids: 192.0.2.1 . tcp . 80 : 0:5`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) { renders(t, tc.port, tc.want) })
	}
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// The longest names of a Service and its namespace fit into a comment; a port's
// name is left out where it does not.
func TestTheLongestNames(t *testing.T) {
	long := strings.Repeat("n", 63)
	for _, tc := range []struct{ namespace, name, port, want string }{
		{long, long, "", long + "/" + long},
		{long, long, "p", long + "/" + long},
		{long, long, strings.Repeat("p", 15), long + "/" + long},
		{long, long[:47], strings.Repeat("p", 15), long + "/" + long[:47] + ":" + strings.Repeat("p", 15)},
		{long, long[:48], strings.Repeat("p", 15), long + "/" + long[:48]},
		{"ns", "web", long, "ns/web:" + long},
	} {
		for _, endpoints := range [][]proxy.Endpoint{nil, endpoints("10.254.0.1:80")} {
			svc := proxy.Service{Name: proxy.Name{Namespace: tc.namespace, Name: tc.name}, Ports: []proxy.Port{{
				Name: tc.port, Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Endpoints: endpoints}}}
			got := maps.NewLayout(layout.Config{}).Elements(nil, &svc)[1].Comment
			if got != tc.want || len(got) > nft.MaxElementComment {
				t.Errorf("the comment has %d bytes: %s\nwant %s", len(got), got, tc.want)
			}
		}
	}
}

// Many endpoints have a slot each, in their order, and no key is there twice.
func TestSlots(t *testing.T) {
	for _, n := range []int{1, 2, 256, 5000} {
		port := proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: frontends(proxy.ClusterIP, "10.96.0.1")}
		for i := range n {
			port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 254, byte(i >> 8), byte(i)}), 8080), Local: i%2 == 0})
		}
		svc := proxy.Service{Ports: []proxy.Port{port}}
		layout := maps.NewLayout(layout.Config{})
		before := []nft.Placed{{}}
		elements := layout.Elements(before, &svc)[len(before):]
		keys := map[string]bool{}
		slot := 0
		for _, text := range texts(elements) {
			key, _, _ := strings.Cut(text, " : ")
			if keys[key] {
				t.Errorf("%d endpoints: %s is there twice", n, key)
			}
			keys[key] = true
			if !strings.HasPrefix(text, "ip endpoints: ") {
				continue
			}
			if want := fmt.Sprintf("ip endpoints: 10.96.0.1 . tcp . 80 . %d : 10.254.%d.%d . 8080", slot, slot>>8, slot&255); text != want {
				t.Fatalf("%d endpoints: got %s, want %s", n, text, want)
			}
			slot++
		}
		if want := n + (n+1)/2 + 3; slot != n || len(elements) != want {
			t.Errorf("%d endpoints: %d slots and %d elements, want %d", n, slot, len(elements), want)
		}
		if want := fmt.Sprintf("cluster-%d", n); elements[2].Goto != want || elements[1].Data != elements[2].Key {
			t.Errorf("%d endpoints lead to %s", n, elements[2].Goto)
		}
	}
}

// What a Service adds is the same each time: that is how it is found again.
func TestElementsAreTheSameEachTime(t *testing.T) {
	layout := maps.NewLayout(layout.Config{})
	svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "web"}, Ports: []proxy.Port{{Protocol: proxy.TCP, Port: 80,
		Frontends: frontends(proxy.ClusterIP, "10.96.0.1"), Endpoints: endpoints("*10.254.0.1:80", "10.254.0.2:80"), SourceRanges: prefixes("10.0.0.0/8")}}}
	if one, two := layout.Elements(nil, &svc), layout.Elements(nil, &svc); !slices.Equal(one, two) {
		t.Errorf("got\n%v\nand then\n%v", texts(one), texts(two))
	}
}

func TestElementsOfNetworks(t *testing.T) {
	for _, tc := range []struct {
		networks layout.Networks
		want     string
	}{
		{layout.Networks{}, ""},
		{layout.Networks{Pods: golden.PodCIDRs}, "ip pod-cidrs: 10.254.0.0/16, ip6 pod-cidrs: fd00:10:254::/48"},
		{layout.Networks{Services: prefixes("fd00:96::/112", "10.96.0.0/16")}, "ip service-cidrs: 10.96.0.0/16, ip6 service-cidrs: fd00:96::/112"},
		{layout.Networks{Pods: prefixes("10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16")}, "ip pod-cidrs: 10.1.0.0/16, ip pod-cidrs: 10.2.0.0/16, ip pod-cidrs: 10.3.0.0/16"},
		{layout.Networks{Pods: prefixes("10.1.0.0/16", "10.0.0.0/8", "10.2.0.0/16", "10.0.0.0/8", "10.0.0.0/9", "11.0.0.0/32")}, "ip pod-cidrs: 10.0.0.0/8, ip pod-cidrs: 11.0.0.0"},
		{layout.Networks{Pods: prefixes("10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0")}, "ip pod-cidrs: 0.0.0.0/0, ip6 pod-cidrs: ::/0"},
		{layout.Networks{Pods: prefixes("255.255.255.255/32", "128.0.0.0/1")}, "ip pod-cidrs: 128.0.0.0/1"},
	} {
		if got := strings.Join(texts(maps.NewLayout(layout.Config{}).Networks(nil, tc.networks)), ", "); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.networks, got, tc.want)
		}
	}
}
