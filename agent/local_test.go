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
		{"the internal ones first, whatever the order", object("Hostname 10.240.0.99", "ExternalIP 203.0.113.9", "ExternalIP 2001:db8::9", "InternalIP 10.240.0.11", "InternalIP fd00::11"),
			true, "10.240.0.11 fd00::11 203.0.113.9 2001:db8::9", ""},
		{"leading zeros", object("InternalIP 010.240.0.011"), true, "10.240.0.11", ""},
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

// The addresses for NodePorts are chosen from the node's and the machine's.
func TestNodePortAddresses(t *testing.T) {
	var own []netip.Addr
	for _, text := range []string{"10.240.0.11", "10.240.1.11", "203.0.113.9", "169.254.20.10", "fd00::11", "fd00::12"} {
		own = append(own, netip.MustParseAddr(text))
	}
	ns := testbed.NewTestNode(t, own...)
	node := object("ExternalIP 203.0.113.9", "InternalIP 10.240.1.11", "InternalIP fd00::12")
	const all4, all6 = "10.240.0.11 10.240.1.11 203.0.113.9", "fd00::11 fd00::12"
	warn6 := func(list string) string {
		return "--nodeport-addresses " + list + " has no IPv6 address: NodePorts are served at all IPv6 addresses of this machine"
	}
	for _, tc := range []struct {
		object         *corev1.Node
		wanted, picked string
		told           string
	}{
		{node, "primary", "10.240.1.11 fd00::12", ""},
		{node, "all", all4 + " " + all6, ""},
		{node, "localhost", "127.0.0.1", ""},
		{node, "primary,localhost", "10.240.1.11 127.0.0.1 fd00::12", ""},
		{node, "localhost, primary,203.0.113.0/24", "10.240.1.11 127.0.0.1 203.0.113.9 fd00::12", ""},
		{node, "all,localhost", "10.240.0.11 10.240.1.11 127.0.0.1 203.0.113.9 " + all6, ""},
		{node, "127.0.0.0/8", "127.0.0.1 " + all6, warn6("127.0.0.0/8")},
		{node, "127.0.0.1/32,fd00::12/128", "127.0.0.1 fd00::12", ""},
		{node, "::1/128", all4, "--nodeport-addresses ::1/128 has no IPv4 address: NodePorts are served at all IPv4 addresses of this machine"},
		{node, "10.240.0.0/16", "10.240.0.11 10.240.1.11 " + all6, warn6("10.240.0.0/16")},
		{node, "10.240.0.0/16,10.240.1.0/24, fd00::12/128", "10.240.0.11 10.240.1.11 fd00::12", ""},
		{node, "010.240.0.11/32,::ffff:10.240.1.11/128,fd00::12/128", "10.240.0.11 10.240.1.11 fd00::12", ""},
		{node, "10.240.0.77/24,fd00::/127", "10.240.0.11", ""},
		{node, "fd00::/16", all4 + " " + all6, "--nodeport-addresses fd00::/16 has no IPv4 address: NodePorts are served at all IPv4 addresses of this machine"},
		{node, "169.254.20.0/24,fd00::/16", "169.254.20.10 " + all6, ""},
		{node, "0.0.0.0/0", all4 + " " + all6, warn6("0.0.0.0/0")},
		{node, "192.0.2.0/24,2001:db8::/32", "", "--nodeport-addresses 192.0.2.0/24,2001:db8::/32 matches no address of this machine: no NodePort is served; its addresses are [" + all4 + " " + all6 + "]"},
		{node, "", "10.240.1.11 fd00::12", ""},
		{object("InternalIP 10.240.1.11"), "primary", "10.240.1.11 " + all6, warn6("primary")},
		{object("InternalIP 127.0.0.1", "InternalIP fd00::12"), "primary", all4 + " fd00::12", "--nodeport-addresses primary has no IPv4 address: NodePorts are served at all IPv4 addresses of this machine"},
		// Which of the machine's addresses is the node's, nobody has said.
		{object(), "primary", all4 + " " + all6, ""},
		{nil, "primary", all4 + " " + all6, ""},
		// A node may be reached at an address before it has it.
		{object("InternalIP 192.0.2.7", "InternalIP fd00::7"), "primary", "192.0.2.7 fd00::7", ""},
		{node, "10.240.0.11", "", `--nodeport-addresses: "10.240.0.11" is neither a CIDR such as 192.168.0.0/16 nor one of primary, all and localhost`},
		{node, "primary,everything", "", `--nodeport-addresses: "everything" is neither a CIDR such as 192.168.0.0/16 nor one of primary, all and localhost`},
	} {
		var wanted []string // as the flag's parser gives it
		if tc.wanted != "" {
			wanted = strings.Split(tc.wanted, ",")
		}
		var local Local
		var err error
		if e := ns.Do(func() error {
			local, err = FindLocal("node-a", tc.object, wanted)
			return nil
		}); e != nil {
			t.Fatal(e)
		}
		if got := join(local.NodePorts); got != tc.picked {
			t.Errorf("--nodeport-addresses=%s picks %s, want %s", tc.wanted, got, tc.picked)
		}
		told := strings.Join(local.Warnings, "; ")
		if err != nil {
			told = err.Error()
		}
		if told != tc.told {
			t.Errorf("--nodeport-addresses=%s tells %q, want %q", tc.wanted, told, tc.told)
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
