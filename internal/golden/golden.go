// Package golden compares what layouts make of the examples with text files, and
// with what stock nft makes of them.
package golden

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// PodCIDRs are those of the examples.
var PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("fd00:10:254::/48")}

// services are the Services of an example, on a node of that name.
func services(t *testing.T, example string, node proxy.Node) ([]proxy.Service, layout.Networks) {
	t.Helper()
	objects := manifests.Read(t.Context(), []string{filepath.Join("../../examples", example)}, nil)
	if len(objects.Errors)+len(objects.Warnings) > 0 {
		t.Fatal(objects.Errors, objects.Warnings)
	}
	cluster := proxy.NewCluster()
	for _, svc := range objects.Services {
		model, problems := proxy.Build(svc, objects.Slices[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}], node)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		cluster.Set(model)
	}
	var all []proxy.Service
	for svc := range cluster.All() {
		all = append(all, svc)
	}
	cidrs, _ := proxy.ServiceCIDRs(objects.ServiceCIDRs)
	return all, layout.Networks{Pods: PodCIDRs, Services: cidrs}
}

// Script is the tables as a script for nft.
func Script(t *testing.T, contents []nft.Contents) string {
	t.Helper()
	var b strings.Builder
	if err := nft.WriteScript(&b, contents...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Loads has stock nft load a script, and compares what it then lists.
func Loads(t *testing.T, text string) {
	t.Helper()
	ns := testbed.NewTestNamespace(t)
	if _, err := ns.RunInput(strings.NewReader(text), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	listing, err := ns.Run("nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(text, "\n\n") // behind the commands that make room
	if got, want := alike(listing), alike(tables); got != want {
		t.Errorf("nft lists\n%s\nwhich is not the text that it was given:\n%s", got, want)
	}
	if _, err := ns.RunInput(strings.NewReader("flush ruleset\n"+listing), "nft", "-f", "-"); err != nil {
		t.Errorf("nft does not load its own listing: %v", err)
	}
}

// alike takes away what differs between our text and nft's listing of the same:
// the order of elements and their lines, names of priorities, and what counters
// count.
func alike(listing string) string {
	elements := regexp.MustCompile(`elements = \{ ([^}]*) \}`)
	listing = elements.ReplaceAllStringFunc(listing, func(text string) string {
		var all []string
		for e := range strings.SplitSeq(elements.FindStringSubmatch(text)[1], ",") {
			all = append(all, strings.TrimSpace(e))
		}
		slices.Sort(all)
		return strings.Join(all, "\n")
	})
	return strings.NewReplacer("\n\n", "\n", " packets 0 bytes 0", "",
		"priority dstnat - 5;", "priority -105;", "priority dstnat + 5;", "priority -95;", "priority srcnat - 5;", "priority 95;", "priority filter - 10;", "priority -10;").Replace(listing)
}

// Examples says that the examples stand for just the tables in testdata, and that
// stock nft loads these. With update it writes them.
func Examples(t *testing.T, layoutOf func(layout.Config) dataplane.Layout, update bool) {
	a := netip.MustParseAddr
	for _, tc := range []struct {
		example string
		node    proxy.Node
	}{
		{example: "dns-default", node: proxy.Node{Name: "worker1.ocp4.labs.semperti.local"}},
		{example: "dual-stack", node: proxy.Node{Name: "telecom-1"}},
		{example: "everything", node: proxy.Node{Name: "node-a", Zone: "a", NodePorts: []netip.Addr{a("10.240.0.11"), a("fd00:10:240::11")}}},
	} {
		t.Run(tc.example, func(t *testing.T) {
			services, networks := services(t, tc.example+".yaml", tc.node)
			l := layoutOf(layout.Config{PodCIDRs: PodCIDRs, MasqueradeBit: layout.DefaultMasqueradeBit})
			contents, err := dataplane.Contents(l, networks, services)
			if err != nil {
				t.Fatal(err)
			}
			got := Script(t, contents)
			golden := filepath.Join("testdata", tc.example+".nft")
			if update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the tables are not those in %s (if that is meant: go test . -update there):\n%s", golden, got)
			}
			Loads(t, got)
		})
	}
}
