package walk_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

var nodeAddrs = []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")}

// services are those of a file, as node-a has them.
func services(t *testing.T, file string) []proxy.Service {
	t.Helper()
	objects := manifests.Read(t.Context(), []string{file}, nil)
	if len(objects.Errors) > 0 {
		t.Fatal(objects.Errors)
	}
	cluster := proxy.NewCluster()
	node := proxy.Node{Name: "node-a", Zone: "z1", Addresses: nodeAddrs, NodePorts: nodeAddrs}
	for _, svc := range objects.Services {
		if proxy.Handles(svc, proxy.ScopeAll) {
			model, _ := proxy.Build(svc, objects.Slices[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}], node)
			cluster.Set(model)
		}
	}
	return slices.Collect(cluster.All())
}

func open(t *testing.T, ns *testbed.Namespace) *kernel.Conn {
	t.Helper()
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// program brings Services into a namespace's tables.
func program(t *testing.T, ns *testbed.Namespace, l dataplane.Layout, services []proxy.Service) {
	t.Helper()
	w := dataplane.NewWriter(open(t, ns), l)
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	var changes []dataplane.Change
	for _, svc := range services {
		changes = append(changes, dataplane.Change{Name: svc.Name, Service: svc})
	}
	if failures, err := w.Program(changes); err != nil || len(failures) > 0 {
		t.Fatal(err, failures)
	}
}

func read(t *testing.T, from *kernel.Onlooker, name string, o walk.Options) view.View {
	t.Helper()
	v, there, err := walk.Read(from, name, o)
	if err != nil || !there {
		t.Fatal(there, err)
	}
	return v
}

// texts are differences as text.
func texts(want, have view.View) string {
	var b strings.Builder
	for _, d := range view.Compare(want, have) {
		b.WriteString(d.Text("model", "kernel"))
	}
	return b.String()
}

var podCIDRs = []netip.Prefix{netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("fd00:10:254::/48")}

// configs are configurations of each kind.
var configs = []layout.Config{
	{PodCIDRs: podCIDRs, MasqueradeBit: 12}, // pods by their addresses
	{PodInterface: "cali*", MasqueradeBit: 12},
	{PodInterface: "cni0", MasqueradeBit: 3},
	{MasqueradeBit: 12},                         // nothing tells pods
	{PodCIDRs: podCIDRs[:1], MasqueradeBit: 12}, // of IPv4 only
	{PodCIDRs: podCIDRs, MasqueradeAll: true, MasqueradeBit: 31},
}

func layouts(c layout.Config) map[string]dataplane.Layout {
	return map[string]dataplane.Layout{"maps": maps.NewLayout(c), "chains": chains.NewLayout(c)}
}

// desired is what tables with these Services do, without a kernel.
func desired(t *testing.T, l dataplane.Layout, config layout.Config, services []proxy.Service) []*walk.Ruleset {
	t.Helper()
	contents, err := dataplane.Contents(l, layout.Networks{Pods: config.PodCIDRs}, services)
	if err != nil {
		t.Fatal(err)
	}
	var all []*walk.Ruleset
	for i := range contents {
		held, err := contents[i].Held()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, walk.Compile(held))
	}
	return all
}

var files = []string{"../../iptables/testdata/services.yaml", "../../examples/everything.yaml", "../../examples/dual-stack.yaml"}

// Our tables do what the Services that are in them mean, in every layout and
// configuration.
func TestOurTablesDoWhatServicesMean(t *testing.T) {
	compared := 0
	for _, config := range configs {
		for name, l := range layouts(config) {
			for _, file := range files {
				list := services(t, file)
				have, want := view.View{}, config.View().Of(list)
				for _, r := range desired(t, l, config, list) {
					r.AddTo(have, walk.Options{NodeAddrs: nodeAddrs})
				}
				same(t, fmt.Sprintf("%s, %s, %+v", name, file, config), want, have)
				compared += len(have)
			}
		}
	}
	if compared < 300 {
		t.Errorf("only %d frontends were compared", compared)
	}
}

// The kernel gives back what was written.
func TestOurTablesAreReadBack(t *testing.T) {
	for name, l := range layouts(configs[0]) {
		for _, file := range files {
			ns := testbed.NewTestNamespace(t)
			list := services(t, file)
			program(t, ns, l, list)
			have := read(t, kernel.NewOnlooker(open(t, ns)), layout.TableName, walk.Options{NodeAddrs: nodeAddrs})
			same(t, name+", "+file, configs[0].View().Of(list), have)
		}
	}
}

func same(t *testing.T, what string, want, have view.View) {
	t.Helper()
	if got := texts(want, have); got != "" {
		t.Errorf("%s:\n%s", what, got)
	}
	for key, p := range have {
		if p.Service != want[key].Service {
			t.Errorf("%s, %s: %q, want %q", what, key, p.Service, want[key].Service)
		}
	}
}

// Without endpoints on this node, clients from outside are dropped, whether they are
// in the source ranges or not.
func TestNobodyGetsInWhereSomeMay(t *testing.T) {
	config := layout.Config{PodCIDRs: podCIDRs, MasqueradeBit: 12}
	for name, l := range map[string]dataplane.Layout{"maps": maps.NewLayout(config), "chains": chains.NewLayout(config)} {
		ns := testbed.NewTestNamespace(t)
		list := services(t, "../../iptables/testdata/services.yaml")
		guarded := 0
		for i := range list {
			for j := range list[i].Ports {
				p := &list[i].Ports[j]
				if p.External() && len(p.Endpoints) > 0 {
					p.LocalOnly, p.LocalEndpoints = true, nil
				}
				if len(p.SourceRanges) > 0 {
					// As when the node is in the ranges.
					p.SourceRanges = append(slices.Clone(p.SourceRanges), netip.PrefixFrom(p.Frontends[0].Addr, p.Frontends[0].Addr.BitLen()))
					guarded++
				}
			}
		}
		if guarded == 0 {
			t.Fatal("no Service has source ranges")
		}
		program(t, ns, l, list)
		have := read(t, kernel.NewOnlooker(open(t, ns)), layout.TableName, walk.Options{NodeAddrs: nodeAddrs})
		if got := texts(config.View().Of(list), have); got != "" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// What somebody changes by hand is found, at the Service that it is about and
// nowhere else.
func TestFaultsInOurTables(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	list := services(t, "../../iptables/testdata/services.yaml")
	program(t, ns, maps.NewLayout(layout.Config{PodCIDRs: podCIDRs, MasqueradeBit: 12}), list)
	listing, err := ns.Run("nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	from := kernel.NewOnlooker(open(t, ns))
	want := read(t, from, layout.TableName, walk.Options{NodeAddrs: nodeAddrs})
	for _, fault := range []struct{ script, want string }{
		{"delete element ip kube-verdict services { 10.96.1.1 . tcp . 80 }",
			"kinds/nodeport\n  10.96.1.1:80/tcp frontend: balanced over 2 endpoints in model, none in kernel\n"},
		{"delete element ip kube-verdict endpoints { 10.96.1.1 . tcp . 80 . 0 }\nadd element ip kube-verdict endpoints { 10.96.1.1 . tcp . 80 . 0 : 10.254.0.77 . 8080 }",
			"kinds/nodeport\n  10.96.1.1:80/tcp endpoint 10.254.0.21:8080: 50% in model, none in kernel\n  10.96.1.1:80/tcp endpoint 10.254.0.77:8080: none in model, 50% in kernel\n"},
		{"delete element ip kube-verdict endpoints { 10.96.1.1 . tcp . 80 . 1 }",
			"kinds/nodeport\n  10.96.1.1:80/tcp endpoint 10.254.1.22:8080: 50% in model, none in kernel\n"},
		{"delete element ip kube-verdict endpoints { 10.96.1.1 . tcp . 80 . 0 }",
			"kinds/nodeport\n  10.96.1.1:80/tcp rules: balanced over 2 endpoints in model, unclear (some connections are lost: 50% are dropped, 50% go to endpoints) in kernel\n"},
		{"delete element ip kube-verdict no-endpoints { 10.96.1.6 . tcp . 80 }",
			"kinds/no-endpoints\n  10.96.1.6:80/tcp frontend: rejected in model, none in kernel\n"},
		{"delete element ip kube-verdict source-ranges { 192.0.2.51 . tcp . 80 . 203.0.113.0/24 }",
			"kinds/lb-ranges\n  192.0.2.51:80/tcp sources: 198.51.100.7/32, 203.0.113.0/24 in model, 198.51.100.7/32 in kernel\n"},
		{"delete element ip kube-verdict guarded { 192.0.2.51 . tcp . 80 }",
			"kinds/lb-ranges\n  192.0.2.51:80/tcp sources: 198.51.100.7/32, 203.0.113.0/24 in model, anywhere in kernel\n"},
		{"delete element ip kube-verdict local-endpoints { 192.0.2.52 . tcp . 80 . 0 }\nadd element ip kube-verdict local-endpoints { 192.0.2.52 . tcp . 80 . 0 : 10.254.1.22 . 8080 }",
			"kinds/etp-local\n  192.0.2.52:80/tcp local endpoint 10.254.0.21:8080: 100% in model, none in kernel\n  192.0.2.52:80/tcp local endpoint 10.254.1.22:8080: none in model, 100% in kernel\n"},
		{"flush chain ip kube-verdict learn",
			"kinds/affinity\n  10.96.1.3:80/tcp affinity: 3h0m0s in model, none in kernel\n"},
		{"add element ip kube-verdict services { 10.96.1.99 . tcp . 80 : 0:2 }",
			"unknown Service\n  10.96.1.99:80/tcp frontend: none in model, dropped in kernel\n"},
		{"flush chain ip kube-verdict external-2\nadd rule ip kube-verdict external-2 goto cluster-2",
			"kinds/lb-ranges\n  0.0.0.0:30081/tcp masquerade: all in model, off-cluster in kernel\n  192.0.2.51:80/tcp masquerade: all in model, off-cluster in kernel\nkinds/nodeport\n  0.0.0.0:30080/tcp masquerade: all in model, off-cluster in kernel\n"},
		{"insert rule ip kube-verdict cluster-1 ip saddr 1.2.3.4 drop", // for itp-local and kubernetes
			"default/kubernetes\n  10.96.0.1:443/tcp rules: balanced over 1 endpoint in model, unclear (what happens depends on the source ([1.2.3.4/32])) in kernel\nkinds/itp-local\n  10.96.1.5:80/tcp rules: balanced over 1 endpoint in model, unclear (what happens depends on the source ([1.2.3.4/32])) in kernel\n"},
		{"insert rule ip kube-verdict local-1 meta length 100 drop",
			"kinds/etp-local\n" +
				"  0.0.0.0:30082/tcp rules: balanced over 2 endpoints in model, unclear (chain local-1, rule 1: depends on what is not known) in kernel\n" +
				"  192.0.2.52:80/tcp rules: balanced over 2 endpoints in model, unclear (chain local-1, rule 1: depends on what is not known) in kernel\n" +
				"  192.0.2.55:80/tcp rules: balanced over 2 endpoints in model, unclear (chain local-1, rule 1: depends on what is not known) in kernel\n"},
	} {
		t.Run(strings.ReplaceAll(fault.script, "\n", "; "), func(t *testing.T) {
			if _, err := ns.RunInput(strings.NewReader(fault.script), "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			if got := texts(want, read(t, from, layout.TableName, walk.Options{NodeAddrs: nodeAddrs})); got != fault.want {
				t.Errorf("got\n%swant\n%s", got, fault.want)
			}
			if _, err := ns.RunInput(strings.NewReader("flush ruleset\n"+listing), "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
		})
	}
	if got := texts(want, read(t, from, layout.TableName, walk.Options{NodeAddrs: nodeAddrs})); got != "" {
		t.Errorf("all is mended, but\n%s", got)
	}
}

// Whatever the shape, what it does is made out.
func TestShapes(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"kube-proxy up to 1.35: a chain and a set for each endpoint, and masquerade in the Service's chain", `
	set affinity-a { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	set affinity-b { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	map service-ips { type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 80 comment "ns/web:http" : goto service-web } }
	chain mark-for-masquerade { meta mark set meta mark | 0x4000; }
	chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
	chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark ^ 0x4000; masquerade fully-random; }
	chain endpoint-a { ip saddr 10.254.0.1 jump mark-for-masquerade; update @affinity-a { ip saddr }; meta l4proto tcp dnat to 10.254.0.1:80; }
	chain endpoint-b { ip saddr 10.254.0.2 jump mark-for-masquerade; update @affinity-b { ip saddr }; meta l4proto tcp dnat to 10.254.0.2:80; }
	chain service-web {
		ip daddr 10.96.0.1 tcp dport 80 ip saddr != 10.254.0.0/16 jump mark-for-masquerade
		ip saddr @affinity-a goto endpoint-a
		ip saddr @affinity-b goto endpoint-b
		numgen random mod 2 vmap { 0 : goto endpoint-a, 1 : goto endpoint-b }; }
	chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
	chain nat { type nat hook prerouting priority -100; jump services; }
	chain out { type nat hook output priority -100; jump services; }`,
			"10.96.0.1:80/tcp ns/web:http balanced 10.254.0.1:80 50% 10.254.0.2:80 50% off-cluster 3h0m0s"},
		{"weights: a map of ranges", `
	map m { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.1 . udp . 53 : goto svc } }
	chain svc { numgen random mod 100 vmap { 0-24 : goto a, 25-99 : jump b }; }
	chain a { meta l4proto udp dnat to 10.0.0.1:53; }
	chain b { meta l4proto udp dnat to 10.0.0.2:53; }
	chain nat { type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @m; }
	chain out { type nat hook output priority -100; ip daddr . meta l4proto . th dport vmap @m; }`,
			"10.96.0.1:53/udp  balanced 10.0.0.1:53 25% 10.0.0.2:53 75% none 0s"},
		{"verdicts of all kinds", `
	map m { type ipv4_addr . inet_proto . inet_service : verdict; elements = {
		10.96.0.1 . tcp . 1 : drop, 10.96.0.1 . tcp . 2 : accept, 10.96.0.1 . tcp . 3 : jump back, 10.96.0.1 . tcp . 4 : return, 10.96.0.1 . tcp . 5 : continue, 10.96.0.1 . tcp . 6 : goto refuse } }
	chain back { ip daddr 10.96.0.1 return; drop; }
	chain refuse { reject; }
	chain services { ip daddr . meta l4proto . th dport vmap @m; tcp dport != 4 drop; }
	chain in { type filter hook forward priority 0; jump services; }
	chain out { type filter hook output priority 0; jump services; }`,
			`10.96.0.1:1/tcp  dropped none 0s
10.96.0.1:3/tcp  dropped none 0s
10.96.0.1:5/tcp  dropped none 0s
10.96.0.1:6/tcp  rejected none 0s`},
		{"NodePorts at any address of the node", `
	map m { type inet_proto . inet_service : verdict; elements = { tcp . 30080 : goto svc } }
	map refused { type inet_proto . inet_service : verdict; elements = { tcp . 30081 : goto refuse } }
	chain svc { meta l4proto tcp dnat to 10.0.0.1:80; }
	chain refuse { reject; }
	chain services { fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @m; }
	chain nat { type nat hook prerouting priority -100; jump services; }
	chain out { type nat hook output priority -100; jump services; }
	chain in { type filter hook input priority 0; fib daddr type local meta l4proto . th dport vmap @refused; }`,
			"0.0.0.0:30080/tcp  balanced 10.0.0.1:80 100% none 0s\n0.0.0.0:30081/tcp  rejected none 0s"},
		{"sources by a range, and by one address", `
	map m { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 192.0.2.1 . tcp . 80 : goto one, 192.0.2.2 . tcp . 80 : goto two, 192.0.2.3 . tcp . 80 : goto three } }
	chain one { ip saddr != 10.0.0.5 drop; }
	chain two { ip saddr 10.0.0.0/24 return; drop; }
	chain three { ip saddr != { 10.0.0.0/25, 10.0.0.128-10.0.0.255 } drop; }
	chain guard { type filter hook prerouting priority -110; ip daddr . meta l4proto . th dport vmap @m; }
	chain guardout { type filter hook output priority -110; ip daddr . meta l4proto . th dport vmap @m; }
	chain nat { type nat hook prerouting priority -100; meta l4proto tcp dnat to 10.0.0.1:80; }
	chain out { type nat hook output priority -100; meta l4proto tcp dnat to 10.0.0.1:80; }`,
			`192.0.2.1:80/tcp  balanced 10.0.0.1:80 100% none 0s [10.0.0.5/32]
192.0.2.2:80/tcp  balanced 10.0.0.1:80 100% none 0s [10.0.0.0/24]
192.0.2.3:80/tcp  balanced 10.0.0.1:80 100% none 0s [10.0.0.0/24]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := testbed.NewTestNamespace(t)
			if _, err := ns.RunInput(strings.NewReader("table ip shape {\n"+strings.ReplaceAll(tc.body, ";", "\n")+"\n}\n"), "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			v := read(t, kernel.NewOnlooker(open(t, ns)), "shape", walk.Options{NodeAddrs: nodeAddrs})
			if got := lines(v); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// lines is a View as text, in order.
func lines(v view.View) string {
	var all []string
	for key, p := range v {
		text := fmt.Sprintf("%s %s %s", key, p.Service, p.Fate)
		for _, e := range p.Endpoints {
			text += fmt.Sprintf(" %s %.4g%%", e, 100*e.Share)
		}
		text += fmt.Sprintf(" %s %s", p.Masquerade, p.Affinity)
		if p.Sources != nil {
			text += fmt.Sprint(" ", p.Sources)
		}
		if p.Unclear != "" {
			text += " unclear: " + p.Unclear
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
