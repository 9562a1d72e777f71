package maps_test

import (
	"flag"
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
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

var update = flag.Bool("update", false, "write the golden files anew")

var podCIDRs = []netip.Prefix{netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("fd00:10:254::/48")}

// rendered is the script that an example stands for, on a node of that name.
func rendered(t *testing.T, example string, node proxy.Node) string {
	t.Helper()
	objects := manifests.Read([]string{filepath.Join("../../examples", example)}, nil)
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
	var services []proxy.Service
	for svc := range cluster.All() {
		services = append(services, svc)
	}
	cidrs, _ := proxy.ServiceCIDRs(objects.ServiceCIDRs)
	layout := maps.NewLayout(maps.Config{PodCIDRs: podCIDRs, MasqueradeBit: maps.DefaultMasqueradeBit})
	contents, err := dataplane.Contents(layout, maps.Networks{Pods: podCIDRs, Services: cidrs}, services)
	if err != nil {
		t.Fatal(err)
	}
	return script(t, contents)
}

func script(t *testing.T, contents []nft.Contents) string {
	t.Helper()
	var b strings.Builder
	if err := nft.WriteScript(&b, contents...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// loads has stock nft load a script, and compares what it then lists.
func loads(t *testing.T, text string) {
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
		"priority dstnat - 5;", "priority -105;", "priority srcnat - 5;", "priority 95;", "priority filter - 10;", "priority -10;").Replace(listing)
}

// The examples stand for just these tables, which stock nft loads.
func TestExamples(t *testing.T) {
	a := netip.MustParseAddr
	for _, tc := range []struct {
		example string
		node    proxy.Node
	}{
		{example: "dns-default", node: proxy.Node{Name: "worker1.ocp4.labs.semperti.local"}},
		{example: "dual-stack", node: proxy.Node{Name: "node-a"}},
		{example: "everything", node: proxy.Node{Name: "node-a", Zone: "a", NodePorts: []netip.Addr{a("10.240.0.11"), a("fd00:10:240::11")}}},
	} {
		t.Run(tc.example, func(t *testing.T) {
			got := rendered(t, tc.example+".yaml", tc.node)
			golden := filepath.Join("testdata", tc.example+".nft")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the tables are not those in %s (if that is meant: go test ./nft/maps -update):\n%s", golden, got)
			}
			loads(t, got)
		})
	}
}
