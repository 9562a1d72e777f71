package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// While the API server is down the rules stay, and no connection is lost, also not
// by a restart of the agent. When it is back, with another notion of what is new,
// the agent takes over what has changed, and writes nothing else.
func TestAPIServerIsDown(t *testing.T) {
	testbed.Need(t)
	api, stop, err := startControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w := newWorldAt(t, api)
	svc := w.everyWay("web", 1)
	pods := []*backend{w.backend("a", 1), w.backend("b", 2), w.backend("c", 3)}
	agent := w.startReady()
	w.serviceLeadsTo(svc, pods...)
	f := newFleet(w)
	f.grow(50)
	callers := w.call(w.everyCaller(svc)[:4]...)
	w.tidy()
	before, reads := agent.cost(), w.reads()

	w.must(w.api.SetReady(w.ctx, pods[0].Pod, false))
	w.serviceLeadsTo(svc, pods[1:]...)
	w.tidy()
	one := agent.cost().since(before)

	api.StopAPIServer()
	w.eventually("the agent to say that it can't reach the API server", func() error {
		return agent.said("The API server can't be reached")
	})
	w.eventually("the agent not to be ready for want of the API server", func() error {
		status, body, err := w.get(agent.health, "/readyz")
		if err == nil && (status != http.StatusInternalServerError || !strings.Contains(body, "[-]api-server failed")) {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
	if status, body, err := w.get(agent.health, "/livez"); err != nil || status != http.StatusOK {
		t.Errorf("without the API server, /livez says %d %s, %v: a restart would help nobody", status, body, err)
	}
	before = agent.cost()
	w.serviceLeadsTo(svc, pods[1:]...)
	w.must(api.StartAPIServer())
	agent.waitReady()
	w.must(w.api.SetReady(w.ctx, pods[0].Pod, true))
	w.serviceLeadsTo(svc, pods...)
	w.tidy()
	after := agent.cost().since(before)
	t.Logf("to lose an endpoint took %+v; to get it back after the API server was down took %+v", one, after)
	if after.Services > 2*one.Services || after.Transactions > 2*one.Transactions+2 || after.Messages > 2*one.Messages+4 {
		t.Error("when the API server was back, more was programmed than had changed")
	}
	// Each kind may be read once more, whole.
	t.Logf("the API server has been asked for whole lists %v times, and %v times since it is back", reads, w.reads())
	for kind, n := range w.reads() {
		if n > 3 {
			t.Errorf("since the API server is back it was asked %v times for all %s", n, kind)
		}
	}
	t.Log(callers.stop())
}

// reads is how often whole lists have been asked for since the API server started,
// by kind: as lists, or as watches that begin with one.
func (w *world) reads() map[string]float64 {
	w.t.Helper()
	text := w.apiMetrics()
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, "apiserver_request_total{") || !strings.Contains(name, `verb="LIST"`) {
			continue
		}
		for _, kind := range []string{"services", "endpointslices"} {
			if strings.Contains(name, fmt.Sprintf("resource=%q", kind)) {
				n, err := strconv.ParseFloat(value, 64)
				w.must(err)
				all[kind] += n
			}
		}
	}
	return all
}

func (w *world) apiMetrics() string {
	w.t.Helper()
	transport, err := rest.TransportFor(w.api.Config)
	w.must(err)
	answer, err := (&http.Client{Transport: transport}).Get(w.api.Config.Host + "/metrics")
	w.must(err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	w.must(err)
	return string(text)
}

// since is the difference to an earlier cost.
func (c cost) since(before cost) cost {
	return cost{c.Services - before.Services, c.Transactions - before.Transactions,
		c.Messages - before.Messages, c.Added - before.Added, c.Deleted - before.Deleted}
}

// A node that gets other addresses, and one whose pods do, is followed by an agent
// that goes on running. Other frontends lose nothing, and connections through a
// NodePort at an address that was the node's go on.
func TestTheNodeChanges(t *testing.T) {
	w := newWorld(t)
	svc := w.everyWay("web", 1)
	pods := []*backend{w.backend("a", 1), w.backend("b", 2)}
	agent := w.startReady("--pod-cidrs=node")
	w.serviceLeadsTo(svc, pods...)
	all := w.everyCaller(svc)
	isNodePort := func(c *caller) bool { return strings.HasPrefix(c.what, "NodePort") }
	callers := w.call(slices.DeleteFunc(slices.Clone(all), isNodePort)...)
	var flows []*testbed.Flow
	for _, c := range all {
		if isNodePort(c) && c.protocol == "tcp" {
			flow, err := w.outside.Open("tcp", c.to, patience)
			w.must(err)
			defer flow.Close()
			flows = append(flows, flow)
		}
	}
	still := func(what string) {
		t.Helper()
		w.equalsFresh("--pod-cidrs=node")
		for _, flow := range flows {
			if _, err := flow.Ask(patience); err != nil {
				t.Errorf("%s: a connection to a NodePort: %v", what, err)
			}
		}
	}
	nodePort := func(address string) netip.AddrPort {
		return netip.AddrPortFrom(addr(address), uint16(svc.Spec.Ports[0].NodePort))
	}

	// Without pod CIDRs all are pods, and nobody's address is hidden.
	w.isSeenAs(w.outside, svc, w.outside.Addrs...)
	w.changeNode(false, func(node *corev1.Node) {
		node.Spec.PodCIDR, node.Spec.PodCIDRs = "10.244.0.0/16", []string{"10.244.0.0/16", "fd00:10:244::/64"}
	})
	w.isSeenAs(w.outside, svc, w.node.Addrs...)
	still("the node has pod CIDRs")

	for _, a := range []string{"10.240.0.12/32", "fd00:10:240::12/128"} {
		_, err := w.node.Run("ip", "address", "add", a, "dev", "eth0")
		w.must(err)
	}
	w.changeNode(true, func(node *corev1.Node) { node.Status.Addresses = internal("10.240.0.12", "fd00:10:240::12") })
	w.leadsTo(nodePort("10.240.0.12"), pods[0].at4, pods[1].at4)
	w.leadsTo(nodePort("fd00:10:240::12"), pods[0].at6, pods[1].at6)
	w.leadsTo(nodePort("10.240.0.11"), refused)
	still("the node has other addresses")

	// Made anew, a Node may have other pod CIDRs.
	w.must(w.api.Client.Delete(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name}}))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	node.Spec.PodCIDR, node.Spec.PodCIDRs = "198.18.7.0/24", []string{"198.18.7.0/24", "fd00:198::7:0/112"}
	w.create(node)
	w.changeNode(true, func(node *corev1.Node) { node.Status.Addresses = internal("10.240.0.11", "fd00:10:240::11") })
	w.isSeenAs(w.outside, svc, w.outside.Addrs...)
	w.leadsTo(nodePort("10.240.0.11"), pods[0].at4, pods[1].at4)
	still("the Node was made anew")

	select {
	case <-agent.Done():
		t.Error("the agent has ended")
	default:
	}
	t.Log(callers.stop())
}

func internal(addrs ...string) (list []corev1.NodeAddress) {
	for _, a := range addrs {
		list = append(list, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return list
}

// isSeenAs waits until a Service's endpoints see a client that asks at its
// ClusterIPs as these addresses.
func (w *world) isSeenAs(from *testbed.Host, svc *corev1.Service, as ...netip.Addr) {
	w.t.Helper()
	for i, to := range frontends(svc) {
		w.eventually(fmt.Sprintf("%s to be seen as %v", from.Name, as), func() error {
			answer, err := from.Ask("tcp", to, patience)
			if err == nil && answer.Client.Addr() != as[i] {
				err = fmt.Errorf("at %s it is seen as %s", to, answer.Client.Addr())
			}
			return err
		})
	}
}

// changeNode changes the Node object, its status or the rest.
func (w *world) changeNode(status bool, change func(*corev1.Node)) {
	w.t.Helper()
	node := &corev1.Node{}
	w.must(w.api.Client.Get(w.ctx, client.ObjectKey{Name: w.name}, node))
	before := node.DeepCopy()
	change(node)
	if status {
		w.must(w.api.Client.Status().Patch(w.ctx, node, client.MergeFrom(before)))
	} else {
		w.must(w.api.Client.Patch(w.ctx, node, client.MergeFrom(before)))
	}
}
