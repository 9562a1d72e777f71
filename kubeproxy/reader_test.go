package kubeproxy

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

var nodeAddrs = []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11")}

// desired is what the objects in a file mean on node-a.
func desired(t *testing.T, file string) view.View {
	t.Helper()
	objects := manifests.Read(t.Context(), []string{file}, nil)
	if len(objects.Errors) > 0 {
		t.Fatal(objects.Errors)
	}
	node := proxy.Node{Name: "node-a", Zone: "z1", Addresses: nodeAddrs, NodePorts: nodeAddrs}
	var services []proxy.Service
	for _, svc := range objects.Services {
		if proxy.Handles(svc, proxy.ScopeAll) {
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

// inside calls f with a Reader in a namespace.
func inside(t *testing.T, ns *testbed.Namespace, f func(*Reader)) {
	t.Helper()
	err := ns.Do(func() error {
		r, err := Open()
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		f(r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, ns *testbed.Namespace, of ...Mode) *Found {
	t.Helper()
	var found *Found
	inside(t, ns, func(r *Reader) {
		var err error
		if found, err = r.Find(nodeAddrs, of...); err != nil {
			t.Fatal(err)
		}
	})
	return found
}

func load(t *testing.T, ns *testbed.Namespace, program string, script string) {
	t.Helper()
	args := []string{}
	if program == "nft" {
		args = []string{"-f", "-"}
	}
	if _, err := ns.RunInput(strings.NewReader(script), program, args...); err != nil {
		t.Fatal(err)
	}
}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "nfacct") { // accounts that nobody made here
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// reference loads what the real kube-proxy had for the objects in services.yaml.
func reference(t *testing.T, ns *testbed.Namespace, mode Mode) {
	t.Helper()
	if mode == Nftables {
		load(t, ns, "nft", file(t, "testdata/kube-proxy-1.37.nft"))
		return
	}
	backend := strings.TrimPrefix(string(mode), "iptables-")
	load(t, ns, "iptables-"+backend+"-restore", file(t, "../iptables/testdata/kube-proxy-1.37-ipv4.txt"))
	load(t, ns, "ip6tables-"+backend+"-restore", file(t, "../iptables/testdata/kube-proxy-1.37-ipv6.txt"))
}

// What the real kube-proxy had for the objects in services.yaml means the same as
// they do, in each mode.
func TestReference(t *testing.T) {
	want := desired(t, "../iptables/testdata/services.yaml")
	if len(want) < 15 {
		t.Fatalf("%d frontends", len(want))
	}
	for _, mode := range []Mode{Nftables, IptablesNft, IptablesLegacy} {
		t.Run(string(mode), func(t *testing.T) {
			ns := testbed.NewTestNamespace(t)
			inside(t, ns, func(r *Reader) {
				if _, err := r.Find(nodeAddrs); !errors.Is(err, ErrNone) {
					t.Errorf("there is nothing, but %v", err)
				}
			})
			reference(t, ns, mode)
			found := find(t, ns)
			if found.Mode != mode {
				t.Errorf("found mode %s", found.Mode)
			}
			wantSame(t, want, found.View)
			for key, p := range found.View {
				if p.Service != want[key].Service {
					t.Errorf("%s: %q is %q", key, p.Service, want[key].Service)
				}
			}
		})
	}
}

// Nothing is read again while nobody commits, and everything that changes is seen.
func TestReadAgainOnlyAfterChanges(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	reference(t, ns, Nftables)
	inside(t, ns, func(r *Reader) {
		look := func(addrs []netip.Addr) *Found {
			t.Helper()
			found, err := r.Find(addrs)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		first := look(nodeAddrs)
		if look(nodeAddrs) != first {
			t.Error("it was read again for nothing")
		}
		if look(nil) == first {
			t.Error("the node's addresses have changed, and it was not read again")
		}
		load(t, ns, "nft", "delete element ip kube-proxy no-endpoint-nodeports { tcp . 30083 }\n")
		if n := len(look(nodeAddrs).View); n != len(first.View)-1 {
			t.Errorf("%d frontends, want one less than %d", n, len(first.View))
		}
	})
}

// More modes than one have rules when a change of mode has left some behind.
func TestSeveralModes(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	reference(t, ns, IptablesNft)
	reference(t, ns, IptablesLegacy)
	if _, err := ns.Run("iptables-legacy", "-t", "nat", "-D", "KUBE-SERVICES", "2"); err != nil {
		t.Fatal(err)
	}
	found := find(t, ns)
	if found.Mode != IptablesNft || !slices.ContainsFunc(found.Notes, func(n string) bool { return strings.Contains(n, "this node uses iptables-nft") }) {
		t.Errorf("the one with fewer Services: %s, %q", found.Mode, found.Notes)
	}
	// The kubelet says it.
	if _, err := ns.Run("iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"); err != nil {
		t.Fatal(err)
	}
	if found := find(t, ns); found.Mode != IptablesLegacy {
		t.Errorf("the kubelet uses iptables-legacy, but %s", found.Mode)
	}
	if found := find(t, ns, IptablesNft); found.Mode != IptablesNft {
		t.Errorf("asked for one, but %s", found.Mode)
	}
	reference(t, ns, Nftables)
	inside(t, ns, func(r *Reader) {
		_, err := r.Find(nodeAddrs)
		const want = "kube-proxy has rules in modes nftables and iptables-nft and iptables-legacy: name the one that it runs in, and remove the others with kube-proxy --cleanup"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	if found := find(t, ns, Nftables); found.Mode != Nftables {
		t.Errorf("asked for nftables, but %s", found.Mode)
	}
}

// What somebody changes by hand is found, at the Service that it is about and
// nowhere else.
func TestFaults(t *testing.T) {
	want := desired(t, "../iptables/testdata/services.yaml")
	const chain = "kube-proxy service-DNCQQHC7-kinds/nodeport/tcp/http"
	for _, fault := range []struct {
		mode   Mode
		script string
		want   string
	}{
		{Nftables, "nft flush chain ip " + chain + "; nft add rule ip " + chain + " meta l4proto tcp dnat to 10.254.0.21:8080",
			"kinds/nodeport\n  0.0.0.0:30080/tcp endpoint 10.254.1.22:8080: 50% in model, none in kernel\n  10.96.1.1:80/tcp endpoint 10.254.1.22:8080: 50% in model, none in kernel\n"},
		{Nftables, "nft delete element ip kube-proxy no-endpoint-nodeports { tcp . 30083 }",
			"kinds/no-endpoints\n  0.0.0.0:30083/tcp frontend: rejected in model, none in kernel\n"},
		{Nftables, "nft add element ip kube-proxy firewall-ips { 192.0.2.52 . tcp . 80 : goto firewall-7CTH2REQ-kinds/lb-ranges/tcp/http }",
			"kinds/etp-local\n  192.0.2.52:80/tcp sources: anywhere in model, 198.51.100.7/32, 203.0.113.0/24 in kernel\n"},
		{Nftables, "nft add element ip kube-proxy service-ips { 10.96.1.77 . tcp . 80 : goto service-DNCQQHC7-kinds/nodeport/tcp/http }",
			"kinds/nodeport\n  10.96.1.77:80/tcp frontend: none in model, balanced over 2 endpoints in kernel\n"},
		{IptablesNft, "iptables-nft -t nat -D KUBE-SERVICES -d 10.96.1.3/32 -p tcp -m comment --comment 'kinds/affinity:http cluster IP' -m tcp --dport 80 -j KUBE-SVC-35RER45L5TYCGCZW",
			"kinds/affinity\n  10.96.1.3:80/tcp frontend: balanced over 2 endpoints in model, none in kernel\n"},
		{IptablesNft, "iptables-nft -t nat -D KUBE-EXT-FQZQTPHKPT5V4G5B 1",
			"kinds/nodeport\n  0.0.0.0:30080/tcp masquerade: all in model, none in kernel\n"},
		{IptablesLegacy, "iptables-legacy -t nat -D KUBE-SVC-FQZQTPHKPT5V4G5B 2; iptables-legacy -t nat -I KUBE-SVC-FQZQTPHKPT5V4G5B 2 -m statistic --mode random --probability 0.3 -j KUBE-SEP-X54IJMHSGVZ65FWJ",
			"kinds/nodeport\n  0.0.0.0:30080/tcp endpoint 10.254.0.21:8080: 50% in model, 30% in kernel\n  0.0.0.0:30080/tcp endpoint 10.254.1.22:8080: 50% in model, 70% in kernel\n" +
				"  10.96.1.1:80/tcp endpoint 10.254.0.21:8080: 50% in model, 30% in kernel\n  10.96.1.1:80/tcp endpoint 10.254.1.22:8080: 50% in model, 70% in kernel\n"},
		{IptablesLegacy, "iptables-legacy -F KUBE-EXTERNAL-SERVICES",
			"kinds/no-endpoints\n  0.0.0.0:30083/tcp frontend: rejected in model, none in kernel\n"},
		{IptablesLegacy, "ip6tables-legacy -t nat -R KUBE-SEP-IYDQUEZAX5P6P6EK 2 -p tcp -m tcp -j DNAT --to-destination [fd00:10:254::77]:8080",
			"kinds/dual\n  [fd00:10:96::107]:80/tcp endpoint [fd00:10:254::31]:8080: 50% in model, none in kernel\n  [fd00:10:96::107]:80/tcp endpoint [fd00:10:254::77]:8080: none in model, 50% in kernel\n"},
	} {
		t.Run(string(fault.mode)+": "+fault.script, func(t *testing.T) {
			ns := testbed.NewTestNamespace(t)
			reference(t, ns, fault.mode)
			if _, err := ns.Run("sh", "-c", fault.script); err != nil {
				t.Fatal(err)
			}
			var got string
			for _, d := range view.Compare(want, find(t, ns).View) {
				got += d.Text("model", "kernel")
			}
			if got != fault.want {
				t.Errorf("got\n%swant\n%s", got, fault.want)
			}
		})
	}
}
