package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// object is a Node with addresses such as "InternalIP 10.240.0.11".
func object(addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a", Labels: map[string]string{"a": "b", corev1.LabelTopologyZone: "a"}}}
	for _, text := range addresses {
		kind, address, _ := strings.Cut(text, " ")
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(kind), Address: address})
	}
	return n
}

// A node's addresses are those of its object, and those on its interfaces where
// the object gives none.
func TestFindLocal(t *testing.T) {
	// A node's links have link-local addresses besides.
	ns := testbed.NewTestNode(t, netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("198.51.100.5"), netip.MustParseAddr("2001:db8::5"))
	const own = "192.0.2.5 198.51.100.5 2001:db8::5"
	for _, tc := range []struct {
		what       string
		object     *corev1.Node
		fromObject bool
		addresses  string
		complaint  string
	}{
		{"no object", nil, false, own, ""},
		{"an object without addresses", object(), false, own, ""},
		{"names only", object("Hostname node-a", "InternalDNS node-a.example"), false, own, ""},
		{"addresses of all kinds", object("Hostname node-a", "InternalIP 10.240.0.11", "InternalIP fd00::11", "ExternalIP 203.0.113.9", "ExternalDNS a.example"),
			true, "10.240.0.11 fd00::11 203.0.113.9", ""},
		{"IPv4 in IPv6 form", object("InternalIP ::ffff:10.240.0.11"), true, "10.240.0.11", ""},
		{"one that is none", object("InternalIP 10.240.0.11", "InternalIP 10.240.0", "InternalIP fd00::11"), true, "10.240.0.11 fd00::11", `node node-a: status.addresses: InternalIP "10.240.0" is not an IP address`},
		{"none that is one", object("InternalIP nowhere"), false, own, `"nowhere" is not an IP address`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			var local Local
			var err error
			if e := ns.Do(func() error {
				local, err = FindLocal("node-a", tc.object, []string{NodePortAll})
				return nil
			}); e != nil {
				t.Fatal(e)
			}
			if local.Name != "node-a" || local.FromObject != tc.fromObject || join(local.Addresses) != tc.addresses {
				t.Errorf("found %+v, want the addresses %s, from the object: %t", local, tc.addresses, tc.fromObject)
			}
			if (err == nil) != (tc.complaint == "") || err != nil && !strings.Contains(err.Error(), tc.complaint) {
				t.Errorf("the error is %v, want %q", err, tc.complaint)
			}
		})
	}
}

// What the cache keeps of a Node tells as much as the whole.
func TestSlimNodeIsAsGood(t *testing.T) {
	options, err := controllers.CacheOptions("node-a", proxy.ScopeAll, func(proxy.Name, time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	whole := object("Hostname node-a", "InternalIP 10.240.0.11", "InternalIP fd00::11", "ExternalIP 203.0.113.9")
	whole.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
	var kept *corev1.Node
	for kind, o := range options.ByObject {
		if _, ok := kind.(*corev1.Node); ok {
			slim, err := o.Transform(whole.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			kept, _ = slim.(*corev1.Node)
		}
	}
	want, err := FindLocal("node-a", whole, []string{NodePortPrimary})
	if err != nil {
		t.Fatal(err)
	}
	got, err := FindLocal("node-a", kept, []string{NodePortPrimary})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the slim Node gives %+v, %v, the whole one %+v", got, err, want)
	}
	if healthcheck.NodeEligible(kept) || !healthcheck.NodeEligible(object()) {
		t.Error("the slim Node does not say that it is about to be deleted")
	}
	if got.Zone != "a" {
		t.Errorf("the zone is %q, want a", got.Zone)
	}
	if labels := client.Object(kept).GetLabels(); len(labels) != 1 {
		t.Errorf("the labels %v are kept, and only the zone is read", labels)
	}
}

// The addresses for NodePorts are chosen from the node's, or from all that the
// machine has.
func TestNodePortAddresses(t *testing.T) {
	var own []netip.Addr
	for _, text := range []string{"10.240.0.11", "10.240.1.11", "203.0.113.9", "fd00::11", "fd00::12"} {
		own = append(own, netip.MustParseAddr(text))
	}
	ns := testbed.NewTestNode(t, own...)
	node := object("InternalIP 10.240.1.11", "ExternalIP 203.0.113.9", "InternalIP fd00::12")
	for _, tc := range []struct{ wanted, picked, complaint string }{
		{"primary", "10.240.1.11 fd00::12", ""},
		{"all", "10.240.0.11 10.240.1.11 203.0.113.9 fd00::11 fd00::12", ""},
		{"localhost", "127.0.0.1", ""},
		{"10.240.0.0/16", "10.240.0.11 10.240.1.11", ""},
		{"10.240.0.0/16,10.240.1.0/24, fd00::12/128", "10.240.0.11 10.240.1.11 fd00::12", ""},
		{"192.0.2.0/24", "", ""},
		{"0.0.0.0/0", "10.240.0.11 10.240.1.11 203.0.113.9", ""},
		{"", "", `"" is neither a CIDR`},
		{"10.240.0.11", "", `"10.240.0.11" is neither a CIDR`},
		{"primary,all", "", `"primary" is neither a CIDR such as 192.168.0.0/16 nor, alone, one of primary, all and localhost`},
	} {
		var local Local
		var err error
		if e := ns.Do(func() error {
			local, err = FindLocal("node-a", node, strings.Split(tc.wanted, ","))
			return nil
		}); e != nil {
			t.Fatal(e)
		}
		if got := join(local.NodePorts); got != tc.picked {
			t.Errorf("--nodeport-addresses=%s picks %s, want %s", tc.wanted, got, tc.picked)
		}
		if (err == nil) != (tc.complaint == "") || err != nil && !strings.Contains(err.Error(), tc.complaint) {
			t.Errorf("--nodeport-addresses=%s: %v, want %q", tc.wanted, err, tc.complaint)
		}
	}
}

func join(addresses []netip.Addr) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}
