package kubeproxy

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

var nodeAddrs = []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")}

// desired is what the objects in a file mean on node-a.
func desired(t *testing.T, file string) view.View {
	t.Helper()
	objects := manifests.Read([]string{file}, nil)
	if len(objects.Errors) > 0 {
		t.Fatal(objects.Errors)
	}
	node := proxy.Node{Name: "node-a", Zone: "z1", Addresses: nodeAddrs, NodePorts: nodeAddrs}
	var services []proxy.Service
	for _, svc := range objects.Services {
		if proxy.Handles(svc) {
			model, problems := proxy.Build(svc, objects.Slices[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}], node)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			services = append(services, model)
		}
	}
	return view.Of(services)
}

func wantSame(t *testing.T, want, have view.View) {
	t.Helper()
	for _, d := range view.Compare(want, have) {
		t.Errorf("%s", d.Text("model", "kernel"))
	}
}

// What the real kube-proxy had for the objects in services.yaml means the same as
// they do.
func TestNftablesOfReference(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	if _, err := ns.Run("nft", "-f", "testdata/kube-proxy-1.37.nft"); err != nil {
		t.Fatal(err)
	}
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	o := kernel.NewOnlooker(conn)
	have := view.View{}
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		held, err := o.Look(nft.ID{Family: f, Name: tableName})
		if err != nil {
			t.Fatal(err)
		}
		addNftables(have, held, nodeAddrs)
	}
	want := desired(t, "../iptables/testdata/services.yaml")
	if len(want) < 15 {
		t.Fatalf("%d frontends", len(want))
	}
	wantSame(t, want, have)
	for key, p := range have {
		if p.Service != want[key].Service {
			t.Errorf("%s: %q is %q", key, p.Service, want[key].Service)
		}
	}
}
