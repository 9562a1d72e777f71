package translate

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

var nodeA = proxy.Node{
	Name: "node-a", Zone: "z1",
	Addresses: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")},
	NodePorts: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")},
}

// model is what manifests stand for on node-a.
func model(t *testing.T, text string) []proxy.Service {
	t.Helper()
	objects := manifests.Read(t.Context(), []string{"-"}, strings.NewReader(text))
	if len(objects.Errors) > 0 || len(objects.Warnings) > 0 {
		t.Fatal(objects.Errors, objects.Warnings)
	}
	cluster := proxy.NewCluster()
	for _, svc := range objects.Services {
		built, problems := proxy.Build(svc, objects.Slices[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}], nodeA)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		cluster.Set(built)
	}
	return slices.Collect(cluster.All())
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../iptables/testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ofFamily are the frontends of one family.
func ofFamily(v view.View, ipv6 bool) view.View {
	out := view.View{}
	for key, port := range v {
		if key.Addr.Is6() == ipv6 {
			out[key] = port
		}
	}
	return out
}

// Objects become rules, and rules objects that behave as the first did.
func TestThereAndBack(t *testing.T) {
	services := model(t, read(t, "services.yaml"))
	for _, ipv6 := range []bool{false, true} {
		config := iptables.Config{PodCIDR: netip.MustParsePrefix("10.254.0.0/16"), Mark: iptables.DefaultMark, AllNodePortAddresses: true}
		if ipv6 {
			config.IPv6, config.PodCIDR = true, netip.MustParsePrefix("fd00:10:254::/48")
		}
		dump, err := iptables.Parse(strings.NewReader(iptables.Render(services, config).String()))
		if err != nil {
			t.Fatal(err)
		}
		reading := iptables.Interpret(dump)
		var text bytes.Buffer
		if err := Manifests(&text, reading, "node-a"); err != nil {
			t.Fatal(err)
		}
		if len(reading.Warnings) > 0 {
			t.Error(reading.Warnings)
		}
		want := ofFamily(view.Of(services), ipv6)
		again := model(t, text.String())
		for _, d := range view.Compare(want, view.Of(again)) {
			t.Error(d.Text("objects", "rules"))
		}
		if t.Failed() {
			t.Log(text.String())
			continue
		}
		// And these objects have the same rules.
		if want, got := lines(iptables.Render(services, config)), lines(iptables.Render(again, config)); !slices.Equal(want, got) {
			for i := range want {
				if i >= len(got) || want[i] != got[i] {
					t.Fatalf("line %d: want %s, got %s", i, want[i], got[min(i, len(got)-1)])
				}
			}
		}
	}
}

// lines are a dump's, sorted.
func lines(d *iptables.Dump) []string {
	all := strings.Split(d.String(), "\n")
	slices.Sort(all)
	return all
}

// The first line says how a node is told the same as the one that the rules are of.
func TestFlags(t *testing.T) {
	for _, c := range []struct{ rules, want string }{
		{
			`-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.96.0.2/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS`,
			" --pod-cidrs 10.244.0.0/16 --nodeport-addresses all",
		},
		{
			`-A KUBE-SERVICES ! -i cali+ -d 10.96.0.2/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 10.240.0.11/32 -j KUBE-NODEPORTS
-A KUBE-SERVICES -d 10.240.0.12/32 -j KUBE-NODEPORTS`,
			" --pod-interface 'cali*' --nodeport-addresses 10.240.0.11/32,10.240.0.12/32",
		},
		{`-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ`, " --masquerade-all"},
	} {
		dump, err := iptables.Parse(strings.NewReader(c.rules + `
-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X -p tcp -j DNAT --to-destination 10.0.0.1:80
`))
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := Manifests(&text, iptables.Interpret(dump), "node-a"); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(text.String(), "\n")
		if want := "# kube-verdict apply -f - --node-name node-a" + c.want; first != want {
			t.Errorf("want %s\ngot  %s", want, first)
		}
	}
}

// What objects can't say is said.
func TestWhatIsLost(t *testing.T) {
	for _, c := range []struct{ name, rules, want string }{
		{
			"weights",
			`-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X -m statistic --mode random --probability 0.25 -j KUBE-SEP-A
-A KUBE-SVC-X -j KUBE-SEP-B
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.0.0.2:80`,
			"line 1: the endpoints of a/b:p at 10.96.0.1:80/tcp have different shares, which EndpointSlices can't say: each will have the same",
		},
		{
			"no ClusterIP",
			`-A KUBE-NODEPORTS -p tcp -m comment --comment "a/b:p" -m tcp --dport 30080 -j KUBE-SVC-X
-A KUBE-SVC-X -j KUBE-SEP-B
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.0.0.2:80`,
			"service a/b: its ClusterIP is not among the rules; write one",
		},
		{
			"no comment",
			`-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j REJECT
-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment "a/b:p has no endpoints" -m tcp --dport 80 -j REJECT`,
			"line 1: no comment says which Service 10.96.0.1:80/tcp is of; it is left out",
		},
		{
			"endpoints on other nodes",
			`-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment "a/b:p has no local endpoints" -m tcp --dport 80 -j DROP`,
			"service a/b: port p has endpoints, but none on this node; which, rules do not tell: connections will be refused, and not dropped",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dump, err := iptables.Parse(strings.NewReader(c.rules + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			reading := iptables.Interpret(dump)
			if err := Manifests(&bytes.Buffer{}, reading, "node-a"); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(reading.Warnings, func(w iptables.Warning) bool { return w.String() == c.want }) {
				t.Errorf("want %q among %v", c.want, reading.Warnings)
			}
		})
	}
}
