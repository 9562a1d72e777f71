package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

const (
	// scaleVariable is the number of Services in TestScale. 10000 take about three
	// minutes, most of them the API server's, which allocates addresses the more
	// slowly the more there are:
	//
	//	KUBE_VERDICT_SCALE=10000 go test -run TestScale -v ./e2e
	scaleVariable = "KUBE_VERDICT_SCALE"
	scaleDefault  = 2000
	scaleFew      = 100
	perService    = 10
)

// A change costs what it changes, however many Services there are, and a restart
// costs no write at all.
func TestScale(t *testing.T) {
	testbed.Need(t)
	many := rounds(t, scaleVariable, scaleDefault)
	api, stop, err := startControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w := newWorldAt(t, api)
	agent := w.startReady()
	f := newFleet(w)

	f.grow(scaleFew)
	replaced, added := f.costs(agent)
	f.grow(many)
	replacedLate, addedLate := f.costs(agent)
	t.Logf("to replace one of %d endpoints took %+v with %d Services, %+v with %d", perService, replaced, scaleFew, replacedLate, many)
	t.Logf("to add one took %+v with %d Services, %+v with %d", added, scaleFew, addedLate, many)
	if replaced.Messages < 1 || replaced.Added < 1 || added.Added < 1 {
		t.Error("a change was not counted")
	}
	if replaced != replacedLate {
		t.Error("to replace an endpoint depends on the number of Services")
	}
	if addedLate.Messages > added.Messages || addedLate.Added > added.Added {
		t.Error("to add an endpoint depends on the number of Services")
	}
	t.Logf("grown to %d Services of %d endpoints: %s", many, perService, memory(agent.Process))

	before := w.generation()
	agent.terminate()
	agent = w.startReady()
	if now := w.generation(); now != before {
		t.Errorf("a restart moved the generation from %d to %d", before, now)
	}
	f.inKernel()
	t.Logf("started with them: %s", memory(agent.Process))
	agent.terminate()
	t.Logf("kube-proxy started with them: %s", memory(f.kubeProxy().Process))
}

// fleet is many Services, each with a slice, and no Pods.
type fleet struct {
	w       *world
	clients *kubernetes.Clientset
	n       int
	others  sizes // what the kernel has besides
}

// sizes are the numbers of elements in sets.
type sizes struct{ services, endpoints, clusterIPs int }

func newFleet(w *world) *fleet {
	config := rest.CopyConfig(w.api.Config)
	config.ContentType = runtime.ContentTypeProtobuf
	clients, err := kubernetes.NewForConfig(config)
	w.must(err)
	f := &fleet{w: w, clients: clients}
	f.others = f.sizes()
	return f
}

// grow makes Services until there are n, and waits until all are programmed.
func (f *fleet) grow(n int) {
	f.w.t.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for ; f.n < n; f.n++ {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("svc-%d", f.n)},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
		slice := f.slice(f.n, perService)
		group.Go(func() error {
			if _, err := f.clients.CoreV1().Services(f.w.namespace).Create(f.w.ctx, svc, metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := f.clients.DiscoveryV1().EndpointSlices(f.w.namespace).Create(f.w.ctx, slice, metav1.CreateOptions{})
			return err
		})
	}
	f.w.must(group.Wait())
	f.inKernel()
}

// slice has a Service's endpoints, with what a controller writes of each.
func (f *fleet) slice(service, endpoints int) *discoveryv1.EndpointSlice {
	name, port, yes, no := "http", int32(8080), true, false
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("svc-%d-abcde", service),
			Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("svc-%d", service)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for e := range endpoints {
		number := service*perService + e
		node := fmt.Sprintf("worker-%d", number%500)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{netip.AddrFrom4([4]byte{10, 128 + byte(number>>16), byte(number >> 8), byte(number)}).String()},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			NodeName:   &node,
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: f.w.namespace, Name: fmt.Sprintf("pod-%d", number)},
		})
	}
	return slice
}

func (f *fleet) update(slice *discoveryv1.EndpointSlice) {
	f.w.t.Helper()
	f.w.must(f.write(slice))
}

func (f *fleet) write(slice *discoveryv1.EndpointSlice) error {
	_, err := f.clients.DiscoveryV1().EndpointSlices(f.w.namespace).Update(f.w.ctx, slice, metav1.UpdateOptions{})
	return err
}

// sizes counts what the kernel has.
func (f *fleet) sizes() sizes {
	f.w.t.Helper()
	sets, err := f.w.elements()
	f.w.must(err)
	return sizes{len(sets["services"]), len(sets["endpoints"]), len(sets["cluster-ips"])}
}

// inKernel waits until the kernel has all Services with all of their endpoints,
// and nothing else.
func (f *fleet) inKernel() {
	f.w.t.Helper()
	want := sizes{f.others.services + f.n, f.others.endpoints + f.n*perService, f.others.clusterIPs + f.n}
	f.w.eventually("all Services to be programmed", func() error {
		if got := f.sizes(); got != want {
			return fmt.Errorf("the kernel has %+v, want %+v", got, want)
		}
		return nil
	})
}

// cost is what was sent to the kernel.
type cost struct{ Services, Transactions, Messages, Added, Deleted float64 }

// cost is what it took so far, read when nothing is under way: metrics are not
// all of one moment.
func (a *agent) cost() cost {
	a.w.t.Helper()
	for before := (cost{}); ; {
		all := a.series()
		now := cost{
			Services:     all["kube_verdict_services_programmed_total"],
			Transactions: all["kube_verdict_transactions_total"],
			Messages:     all["kube_verdict_netlink_messages_total"],
			Added:        all[`kube_verdict_elements_total{operation="add"}`],
			Deleted:      all[`kube_verdict_elements_total{operation="delete"}`],
		}
		if now == before {
			return now
		}
		before = now
	}
}

// costs are those of an endpoint that is replaced and of one that is added, at the
// same Service and in the same place each time.
func (f *fleet) costs(a *agent) (replaced, added cost) {
	f.w.t.Helper()
	const service = 7
	other := f.slice(service, perService)
	other.Endpoints[perService/2].Addresses[0] = "10.127.0.1"
	// until waits for so many rounds more than before, and gives what they took. To ask
	// for the number of elements would not do: to replace one leaves it as it was.
	until := func(before cost, services float64) (took cost) {
		f.w.eventually("the change to be programmed", func() error {
			if took = a.cost().since(before); took.Services != services {
				return fmt.Errorf("%v Services were", took.Services)
			}
			return nil
		})
		return took
	}
	for _, change := range []struct {
		slice *discoveryv1.EndpointSlice
		cost  *cost
	}{{other, &replaced}, {f.slice(service, perService+1), &added}} {
		before := a.cost()
		f.update(change.slice)
		*change.cost = until(before, 1)
		f.update(f.slice(service, perService))
		until(before, 2)
		f.inKernel()
	}
	return replaced, added
}

// kubeProxy starts kube-proxy in its nftables mode on a node of its own, and waits
// until it has programmed all Services.
func (f *fleet) kubeProxy() *peer {
	f.w.t.Helper()
	node := testbed.NewTestNode(f.w.t, f.w.node.Addrs...)
	way, err := testbed.NewWay(f.w.api, node)
	f.w.must(err)
	f.w.t.Cleanup(way.Cut)
	p := f.w.kubeProxy(node, "nftables")
	conn, err := kernel.Open(node.Fd())
	f.w.must(err)
	defer func() { _ = conn.Close() }()
	f.w.eventually("kube-proxy to have programmed all Services", func() error {
		elements, err := conn.Elements(nft.ID{Family: nft.IPv4, Name: "kube-proxy"}, "service-ips")
		if err == nil && len(elements) < f.n {
			err = fmt.Errorf("it has %d", len(elements))
		}
		return err
	})
	return p
}

// memory is a process's resident memory, now and at most, and the part of it now
// that is not its program's file.
func memory(p *testbed.Process) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS", "VmHWM", "RssAnon":
			found = append(found, name+" "+strings.TrimSpace(value))
		}
	}
	return strings.Join(found, ", ")
}
