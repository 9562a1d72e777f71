package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Node object that is deleted takes no NodePort anywhere else, nor does one that is
// not there yet when the agent starts, or that has no addresses yet.
func TestTheNodeObjectIsGone(t *testing.T) {
	w := newWorld(t)
	address := func(a string) {
		t.Helper()
		_, err := w.node.Run("ip", "address", "add", a, "dev", "lo")
		w.must(err)
	}
	address("192.0.2.99/32") // lo comes before all other interfaces
	svc := w.service("web")
	svc.Spec.Type = corev1.ServiceTypeNodePort
	// Its slices are written by hand: the controller takes Pods of a Node that is not
	// there out of those that it writes.
	svc.Spec.Selector = nil
	w.create(svc)
	pod := w.backend("a", 1)
	w.create(w.slice(svc, pod.at4))
	six := w.slice(svc, pod.at6)
	six.Name, six.AddressType = svc.Name+"-by-hand-6", discoveryv1.AddressTypeIPv6
	w.create(six)
	at := func(a string) netip.AddrPort { return netip.AddrPortFrom(addr(a), uint16(svc.Spec.Ports[0].NodePort)) }
	running := w.startReady()
	stays := func(when string) {
		t.Helper()
		w.leadsTo(at("10.240.0.11"), pod.at4)
		w.leadsTo(at("fd00:10:240::11"), pod.at6)
		list, err := w.node.Run("nft", "list", "map", "ip", "kube-verdict", "services")
		w.must(err)
		if strings.Contains(list, "192.0.2.") {
			t.Fatalf("%s: a NodePort is at an address that is not the Node's:\n%s", when, list)
		}
	}
	said := func(a *agent, text string) {
		t.Helper()
		w.eventually("the agent to say "+text, func() error {
			if !strings.Contains(a.Output(), text) {
				return fmt.Errorf("it said\n%s", a.Output())
			}
			return nil
		})
	}
	node := func(addresses ...string) {
		t.Helper()
		w.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name}})
		if len(addresses) > 0 {
			w.changeNode(true, func(n *corev1.Node) { n.Status.Addresses = internal(addresses...) })
		}
	}
	gone := func() {
		t.Helper()
		w.must(w.api.Client.Delete(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name}}))
	}
	// settled is when what came before has been programmed.
	other := 0
	settled := func() {
		t.Helper()
		other++
		next := w.service(fmt.Sprintf("next-%d", other))
		next.Spec.Selector = nil
		w.create(next)
		w.serviceLeadsTo(next)
	}
	stays("at first")

	gone()
	said(running, "The Node object is gone")
	address("192.0.2.98/32")
	settled()
	stays("the Node object is gone, and the machine has another address")

	node()
	settled()
	stays("the Node was made again and has no addresses yet")
	gone()

	running.terminate()
	running = w.start()
	said(running, "Waiting for the Node and its addresses")
	node("10.240.0.11", "fd00:10:240::11") // it waits for it, but not for ever
	running.waitReady()
	settled()
	stays("the Node has addresses")
	if strings.Contains(running.Output(), `"fromNodeObject":false`) {
		t.Error("the agent took the machine's addresses for the Node's")
	}
}
