package view_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func ports(texts ...string) []netip.AddrPort {
	var list []netip.AddrPort
	for _, t := range texts {
		list = append(list, netip.MustParseAddrPort(t))
	}
	return list
}

func prefixes(text string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range strings.Fields(text) {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func backends(texts ...string) []proxy.Endpoint {
	var list []proxy.Endpoint
	for _, a := range ports(texts...) {
		list = append(list, proxy.Endpoint{AddrPort: a})
	}
	return list
}

// lines is a View as text, in order.
func lines(v view.View) string {
	var all []string
	for key, p := range v {
		text := fmt.Sprintf("%s %s %s", key, p.Service, p.Fate)
		for _, e := range p.Endpoints {
			text += fmt.Sprintf(" %s %.3f", e, e.Share)
		}
		if p.LocalOnly {
			text += " | local"
			for _, e := range p.Local {
				text += fmt.Sprintf(" %s %.3f", e, e.Share)
			}
		}
		text += " masquerade " + p.Masquerade.String()
		if p.Affinity > 0 {
			text += " sticky " + p.Affinity.String()
		}
		if p.Sources != nil {
			text += fmt.Sprint(" from ", p.Sources)
		}
		all = append(all, text+"\n")
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

func frontend(kind proxy.FrontendKind, addrs ...string) []proxy.Frontend {
	var list []proxy.Frontend
	for _, a := range addrs {
		list = append(list, proxy.Frontend{Addr: addr(a), Kind: kind})
	}
	return list
}

func TestOf(t *testing.T) {
	two := backends("10.0.0.10:8080", "10.0.0.9:8080")
	svc := func(p proxy.Port) []proxy.Service {
		if p.Port == 0 {
			p.Port = 80
		}
		if p.Protocol == 0 {
			p.Protocol = proxy.TCP
		}
		return []proxy.Service{{Name: proxy.Name{Namespace: "ns", Name: "web"}, Ports: []proxy.Port{p}}}
	}
	const both = "10.0.0.10:8080 0.500 10.0.0.9:8080 0.500"
	for _, tc := range []struct {
		name   string
		config view.Config
		port   proxy.Port
		want   string
	}{
		{"a ClusterIP", view.Config{}, proxy.Port{Name: "http", Frontends: frontend(proxy.ClusterIP, "10.96.0.1"), Endpoints: two},
			"10.96.0.1:80/tcp ns/web:http balanced " + both + " masquerade off-cluster\n"},
		{"masquerade all", view.Config{MasqueradeAll: true}, proxy.Port{Frontends: frontend(proxy.ClusterIP, "10.96.0.1"), Endpoints: two},
			"10.96.0.1:80/tcp ns/web balanced " + both + " masquerade all\n"},
		{"pods that can't be told, in this family", view.Config{NoPods4: true}, proxy.Port{Frontends: frontend(proxy.ClusterIP, "10.96.0.1"), Endpoints: two},
			"10.96.0.1:80/tcp ns/web balanced " + both + " masquerade none\n"},
		{"pods that can't be told, in the other", view.Config{NoPods4: true}, proxy.Port{Frontends: frontend(proxy.ClusterIP, "fd00::1"), Endpoints: backends("[fd00::2]:80")},
			"[fd00::1]:80/tcp ns/web balanced [fd00::2]:80 1.000 masquerade off-cluster\n"},
		{"external addresses, each a frontend", view.Config{}, proxy.Port{Protocol: proxy.UDP, Frontends: frontend(proxy.ExternalIP, "192.0.2.1", "192.0.2.2"), Endpoints: two},
			"192.0.2.1:80/udp ns/web balanced " + both + " masquerade all\n192.0.2.2:80/udp ns/web balanced " + both + " masquerade all\n"},
		{"a NodePort, at however many addresses", view.Config{}, proxy.Port{Port: 30080, Frontends: frontend(proxy.NodePort, "10.1.0.1", "10.2.0.1"), Endpoints: two},
			"0.0.0.0:30080/tcp ns/web balanced " + both + " masquerade all\n"},
		{"a NodePort over IPv6", view.Config{}, proxy.Port{Port: 30080, Frontends: frontend(proxy.NodePort, "fd00::1"), Endpoints: backends("[fd00::2]:80")},
			"[::]:30080/tcp ns/web balanced [fd00::2]:80 1.000 masquerade all\n"},
		{"no endpoints", view.Config{}, proxy.Port{Frontends: frontend(proxy.ExternalIP, "192.0.2.1"), LocalOnly: true, Affinity: time.Hour},
			"192.0.2.1:80/tcp ns/web rejected masquerade none\n"},
		{"none that the policy allows", view.Config{}, proxy.Port{Frontends: frontend(proxy.ClusterIP, "10.96.0.1"), Elsewhere: true},
			"10.96.0.1:80/tcp ns/web dropped masquerade none\n"},
		{"policy Local", view.Config{}, proxy.Port{Frontends: frontend(proxy.LoadBalancerIP, "192.0.2.1"), Endpoints: two, LocalOnly: true, LocalEndpoints: two[:1]},
			"192.0.2.1:80/tcp ns/web balanced " + both + " | local 10.0.0.10:8080 1.000 masquerade off-cluster\n"},
		{"policy Local where pods can't be told", view.Config{NoPods4: true}, proxy.Port{Frontends: frontend(proxy.LoadBalancerIP, "192.0.2.1"), Endpoints: two, LocalOnly: true},
			"192.0.2.1:80/tcp ns/web balanced " + both + " | local masquerade all\n"},
		{"affinity and sources", view.Config{}, proxy.Port{Frontends: frontend(proxy.LoadBalancerIP, "192.0.2.1"), Endpoints: two, Affinity: time.Hour, SourceRanges: prefixes("10.2.0.0/16 10.3.0.0/16 10.2.7.0/24")},
			"192.0.2.1:80/tcp ns/web balanced " + both + " masquerade all sticky 1h0m0s from [10.2.0.0/15]\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := lines(tc.config.Of(svc(tc.port))); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

// base is a View with a bit of everything.
func base() view.View {
	return view.View{
		{addr("10.96.0.1"), proxy.TCP, 80}: {
			Service: "ns/web:http", Endpoints: view.Even(ports("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")), Masquerade: view.OffCluster,
		},
		{addr("192.0.2.1"), proxy.TCP, 80}: {
			Service: "ns/web:http", Endpoints: view.Even(ports("10.0.0.1:80", "10.0.0.2:80")), LocalOnly: true, Local: view.Even(ports("10.0.0.1:80")),
			Masquerade: view.OffCluster, Affinity: time.Hour, Sources: prefixes("10.0.0.0/8"),
		},
		view.NodePort(true, proxy.UDP, 30053): {Service: "ns/dns", Fate: view.Rejected},
	}
}

func TestCompare(t *testing.T) {
	web, lb, dns := view.Key{addr("10.96.0.1"), proxy.TCP, 80}, view.Key{addr("192.0.2.1"), proxy.TCP, 80}, view.NodePort(true, proxy.UDP, 30053)
	change := func(key view.Key, f func(*view.Port)) func(view.View) {
		return func(v view.View) {
			p := v[key]
			f(&p)
			v[key] = p
		}
	}
	shares := func(s ...float64) func(*view.Port) {
		return func(p *view.Port) {
			p.Endpoints = slices.Clone(p.Endpoints)
			for i := range p.Endpoints {
				p.Endpoints[i].Share = s[i]
			}
		}
	}
	for _, tc := range []struct {
		name   string
		change func(view.View)
		want   string
	}{
		{"nothing", func(view.View) {}, ""},
		{"rounding", change(web, shares(0.33333333349, 0.33333333333, 0.33333333318)), ""},
		{"another order", change(web, func(p *view.Port) { p.Endpoints = slices.Clone(p.Endpoints); slices.Reverse(p.Endpoints) }), ""},
		{"ranges written in another way", change(lb, func(p *view.Port) { p.Sources = prefixes("10.128.0.0/9 10.0.0.0/9") }), ""},
		{"whose it is", change(web, func(p *view.Port) { p.Service = "" }), ""},
		{"an endpoint less", change(web, func(p *view.Port) { p.Endpoints = view.Even(ports("10.0.0.1:80", "10.0.0.3:80")) }),
			"ns/web\n  10.96.0.1:80/tcp endpoint 10.0.0.2:80: 33.33% in A, none in B\n"},
		{"an endpoint more", change(web, func(p *view.Port) {
			p.Endpoints = view.Even(ports("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"))
		}),
			"ns/web\n  10.96.0.1:80/tcp endpoint 10.0.0.4:80: none in A, 25% in B\n"},
		{"another port of an endpoint", change(web, func(p *view.Port) { p.Endpoints = view.Even(ports("10.0.0.1:80", "10.0.0.2:81", "10.0.0.3:80")) }),
			"ns/web\n  10.96.0.1:80/tcp endpoint 10.0.0.2:80: 33.33% in A, none in B\n  10.96.0.1:80/tcp endpoint 10.0.0.2:81: none in A, 33.33% in B\n"},
		{"weights", change(web, shares(0.5, 0.25, 0.25)),
			"ns/web\n  10.96.0.1:80/tcp endpoint 10.0.0.1:80: 33.33% in A, 50% in B\n  10.96.0.1:80/tcp endpoint 10.0.0.2:80: 33.33% in A, 25% in B\n  10.96.0.1:80/tcp endpoint 10.0.0.3:80: 33.33% in A, 25% in B\n"},
		{"weights that are lost, with an endpoint", change(web, func(p *view.Port) {
			p.Endpoints = []view.Endpoint{{ports("10.0.0.1:80")[0], 0.75}, {ports("10.0.0.3:80")[0], 0.25}}
		}),
			"ns/web\n  10.96.0.1:80/tcp endpoint 10.0.0.1:80: 33.33% in A, 75% in B\n  10.96.0.1:80/tcp endpoint 10.0.0.2:80: 33.33% in A, none in B\n  10.96.0.1:80/tcp endpoint 10.0.0.3:80: 33.33% in A, 25% in B\n"},
		{"fate", change(dns, func(p *view.Port) { p.Fate = view.Dropped }),
			"ns/dns\n  0.0.0.0:30053/udp fate: rejected in A, dropped in B\n"},
		{"sources where nothing listens", change(dns, func(p *view.Port) { p.Sources = prefixes("10.0.0.0/8") }), ""},
		{"fate, with endpoints", change(dns, func(p *view.Port) { p.Fate, p.Endpoints = view.Balanced, view.Even(ports("10.0.0.1:53")) }),
			"ns/dns\n  0.0.0.0:30053/udp fate: rejected in A, balanced over 1 endpoint in B\n"},
		{"policy", change(lb, func(p *view.Port) { p.LocalOnly, p.Local = false, nil }),
			"ns/web\n  192.0.2.1:80/tcp policy: Local in A, Cluster in B\n"},
		{"local endpoints", change(lb, func(p *view.Port) { p.Local = nil }),
			"ns/web\n  192.0.2.1:80/tcp local endpoint 10.0.0.1:80: 100% in A, none in B\n"},
		{"masquerade", change(web, func(p *view.Port) { p.Masquerade = view.None }),
			"ns/web\n  10.96.0.1:80/tcp masquerade: off-cluster in A, none in B\n"},
		{"affinity", change(lb, func(p *view.Port) { p.Affinity = 0 }),
			"ns/web\n  192.0.2.1:80/tcp affinity: 1h0m0s in A, none in B\n"},
		{"sources", change(lb, func(p *view.Port) { p.Sources = nil }),
			"ns/web\n  192.0.2.1:80/tcp sources: 10.0.0.0/8 in A, anywhere in B\n"},
		{"a frontend less", func(v view.View) { delete(v, dns) },
			"ns/dns\n  0.0.0.0:30053/udp frontend: rejected in A, none in B\n"},
		{"a frontend more, of nobody", func(v view.View) {
			v[view.Key{addr("fd00::1"), proxy.SCTP, 9}] = view.Port{Endpoints: view.Even(ports("[fd00::2]:9", "[fd00::3]:9"))}
		},
			"unknown Service\n  [fd00::1]:9/sctp frontend: none in A, balanced over 2 endpoints in B\n"},
		{"several, by Service and frontend", func(v view.View) { clear(v) },
			"ns/dns\n  0.0.0.0:30053/udp frontend: rejected in A, none in B\nns/web\n  10.96.0.1:80/tcp frontend: balanced over 3 endpoints in A, none in B\n  192.0.2.1:80/tcp frontend: balanced over 2 endpoints in A, none in B\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			have := maps.Clone(base())
			tc.change(have)
			var got string
			for _, d := range view.Compare(base(), have) {
				got += d.Text("A", "B")
			}
			if got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

func TestDifferenceAsJSON(t *testing.T) {
	have := base()
	delete(have, view.NodePort(true, proxy.UDP, 30053))
	got, err := json.Marshal(view.Compare(base(), have))
	const want = `[{"service":"ns/dns","findings":[{"frontend":"0.0.0.0:30053/udp","what":"frontend","want":"rejected"}]}]`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestGather(t *testing.T) {
	a, b, c := ports("10.0.0.10:80")[0], ports("10.0.0.9:80")[0], ports("10.0.0.10:8")[0]
	got := view.Gather([]view.Endpoint{{b, 0.25}, {a, 0.25}, {c, 0.25}, {b, 0.25}})
	if want := []view.Endpoint{{c, 0.25}, {a, 0.25}, {b, 0.5}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := view.Even([]netip.AddrPort{a, a}); len(got) != 1 || got[0].Share != 1 {
		t.Errorf("one that is there twice: %v", got)
	}
	if view.Even(nil) == nil || len(view.Even(nil)) != 0 {
		t.Error("none of none")
	}
}

func TestUnion(t *testing.T) {
	for _, tc := range []struct{ list, want string }{
		{"", ""},
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.7/8", "10.0.0.0/8"},
		{"10.1.0.0/16 10.0.0.0/8 10.255.0.0/16", "10.0.0.0/8"},
		{"10.0.0.0/9 10.128.0.0/9", "10.0.0.0/8"},
		{"10.128.0.0/9 11.0.0.0/9", "10.128.0.0/9 11.0.0.0/9"},
		{"10.3.0.0/16 10.0.0.0/16 10.1.0.0/16 10.2.0.0/16", "10.0.0.0/14"},
		{"0.0.0.0/1 128.0.0.0/1", ""},
		{"0.0.0.0/0 10.0.0.0/8", ""},
		{"fd00::/64 10.0.0.0/8 fd00:0:0:1::/64", "10.0.0.0/8 fd00::/63"},
	} {
		if got := view.Union(prefixes(tc.list)); !slices.Equal(got, prefixes(tc.want)) {
			t.Errorf("%q: got %v, want %s", tc.list, got, tc.want)
		}
	}
}

func TestRange(t *testing.T) {
	for _, tc := range []struct{ first, last, want string }{
		{"10.0.0.0", "10.0.0.255", "10.0.0.0/24"},
		{"10.0.0.1", "10.0.0.6", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32"},
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"10.0.0.5", "10.0.0.5", "10.0.0.5/32"},
		{"fd00::", "fd00::ffff", "fd00::/112"},
		{"10.0.0.2", "10.0.0.1", ""},
		{"10.0.0.2", "fd00::", ""},
	} {
		if got := view.Range(addr(tc.first), addr(tc.last)); !slices.Equal(got, prefixes(tc.want)) {
			t.Errorf("%s-%s: got %v, want %s", tc.first, tc.last, got, tc.want)
		}
	}
}

// Networks keep their addresses, whichever way they are written.
func TestUnionAndRangeKeepAddresses(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var list []netip.Prefix
		in := map[netip.Addr]bool{}
		for range r.IntN(6) {
			first := netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))})
			last := netip.AddrFrom4([4]byte{10, 0, 0, byte(int(first.As4()[3]) + r.IntN(256-int(first.As4()[3])))})
			list = append(list, view.Range(first, last)...)
			for a := first; a.Compare(last) <= 0; a = a.Next() {
				in[a] = true
			}
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		union := view.Union(list)
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			n := 0
			for _, p := range union {
				if p.Contains(a) {
					n++
				}
			}
			if n > 1 || (n == 1) != in[a] {
				t.Fatalf("seed %d: %s is in %d of %v", seed, a, n, union)
			}
		}
	}
}
