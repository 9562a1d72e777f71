package iptables

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// nodeA is the node that kube-proxy ran on.
var nodeA = proxy.Node{
	Name: "node-a", Zone: "z1",
	Addresses: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")},
	NodePorts: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")},
}

// model is what manifests stand for on node-a.
func model(t testing.TB, file string) []proxy.Service {
	t.Helper()
	objects := manifests.Read(t.Context(), []string{file}, nil)
	if len(objects.Errors) > 0 {
		t.Fatal(objects.Errors)
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

// kubeProxy are the settings of the kube-proxy that the reference dumps are of.
func kubeProxy(ipv6 bool) Config {
	c := Config{PodCIDR: netip.MustParsePrefix("10.254.0.0/16"), Mark: DefaultMark, AllNodePortAddresses: true, Accounting: true}
	if ipv6 {
		c.IPv6, c.PodCIDR = true, netip.MustParsePrefix("fd00:10:254::/48")
	}
	return c
}

// compareDumps fails when two dumps differ in more than the order of Services.
func compareDumps(t testing.TB, want, got *Dump) {
	t.Helper()
	w, g := want.Lines(), got.Lines()
	if !slices.Equal(w, g) {
		t.Error(firstDifference(strings.Join(w, "\n"), strings.Join(g, "\n")))
	}
}

// The rules are those that the real kube-proxy had for the same objects.
func TestRenderAsKubeProxy(t *testing.T) {
	for _, c := range []struct {
		name, file string
		ipv6       bool
	}{{"IPv4", "testdata/kube-proxy-1.37-ipv4.txt", false}, {"IPv6", "testdata/kube-proxy-1.37-ipv6.txt", true}} {
		t.Run(c.name, func(t *testing.T) {
			want, _ := parseFile(t, c.file)
			got := Render(model(t, "testdata/services.yaml"), kubeProxy(c.ipv6))
			compareDumps(t, want, got)
			// And what is printed is read as what was rendered.
			compareDumps(t, got, parseText(t, got.String()))
		})
	}
}

// The document's listing, without what it doubled, in the style of its time.
func TestRenderAsTheDocument(t *testing.T) {
	c := kubeProxy(false)
	c.Style = Classic
	got := map[string]bool{}
	d := Render(model(t, "../examples/dns-default.yaml"), c)
	for line := range strings.Lines(d.String()) {
		got[strings.TrimSpace(line)] = true
	}
	listing, _ := parseFile(t, "testdata/dns-default-listing.txt")
	seen := map[string]int{}
	for _, c := range listing.Tables[0].Chains {
		if c.Line > 0 && !got[":"+c.Name+" - [0:0]"] {
			t.Errorf("chain %s is missing", c.Name)
		}
		for _, r := range c.Rules {
			seen[r.Text(c.Name)]++
			if !got[r.Text(c.Name)] {
				t.Errorf("missing: %s", r.Text(c.Name))
			}
		}
		// In its order, too.
		var want, have []string
		for _, r := range c.Rules {
			if text := r.Text(c.Name); !slices.Contains(want, text) {
				want = append(want, text)
			}
		}
		for _, r := range d.Table("nat").Chain(c.Name).Rules {
			if text := r.Text(c.Name); slices.Contains(want, text) {
				have = append(have, text)
			}
		}
		if !slices.Equal(want, have) {
			t.Errorf("%s is in another order: %q, not %q", c.Name, have, want)
		}
	}
	if len(seen) != 24 {
		t.Errorf("the listing has %d different rules, not 24", len(seen))
	}
}

// iptables-restore accepts what is rendered, with either backend.
func TestRestoreAccepts(t *testing.T) {
	for _, style := range []Style{Current, Classic} {
		for _, ipv6 := range []bool{false, true} {
			c := kubeProxy(ipv6)
			c.Style = style
			text := Render(model(t, "testdata/services.yaml"), c).String()
			program := "iptables-"
			if ipv6 {
				program = "ip6tables-"
			}
			for _, backend := range []string{"legacy", "nft"} {
				ns := testbed.NewTestNamespace(t)
				if _, err := ns.RunInput(strings.NewReader(text), program+backend+"-restore", "--test"); err != nil {
					t.Errorf("style %d: %s%s: %v", style, program, backend, err)
				}
			}
		}
	}
}

// With more than a thousand endpoints kube-proxy leaves comments out of the chains of
// Services and endpoints.
func TestRenderManyEndpoints(t *testing.T) {
	for _, c := range []struct {
		services int
		comments bool
	}{{100, true}, {101, false}} {
		nat := Render(many(c.services), kubeProxy(false)).Table("nat")
		for _, chain := range nat.Chains {
			if !strings.HasPrefix(chain.Name, PrefixService) && !strings.HasPrefix(chain.Name, PrefixEndpoint) {
				continue
			}
			for _, r := range chain.Rules {
				if got := r.Comment() != ""; got != c.comments && !strings.HasSuffix(r.Comment(), " cluster IP") {
					t.Fatalf("%d endpoints: %s", 10*c.services, r.Text(chain.Name))
				}
			}
		}
	}
}
