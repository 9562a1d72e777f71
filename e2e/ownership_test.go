package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/nft"
)

const labelProxyName = "service.kubernetes.io/service-proxy-name"

// Services that have no virtual address, or that another proxy serves, leave
// nothing in the kernel.
func TestOthersServicesLeaveNothing(t *testing.T) {
	w := newWorld(t)
	w.backend("a", 1)
	w.start()

	headless := w.service("headless")
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	external := w.service("external")
	external.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
	foreign := w.service("foreign")
	foreign.Labels = map[string]string{labelProxyName: "another"}
	named := w.service("named")
	named.Labels = map[string]string{labelProxyName: "kube-verdict"}
	for _, svc := range []*corev1.Service{headless, external, foreign, named} {
		w.create(svc)
	}
	w.sliced(headless)
	w.sliced(foreign)
	w.settled()

	for _, svc := range []*corev1.Service{headless, external, foreign} {
		if there := w.holds(svc); there != "" {
			t.Errorf("%s is in the kernel: %s", svc.Name, there)
		}
	}
	if w.holds(named) == "" {
		t.Error("a Service that names this proxy is not in the kernel")
	}
}

// A Service that is handed to another proxy goes from the kernel, and comes
// back with it.
func TestProxyNameComesAndGoes(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	w.start()
	for range 2 {
		w.serviceLeadsTo(svc, a)
		w.label(svc, "another")
		w.leaves(svc)
		w.label(svc, "")
	}
	w.serviceLeadsTo(svc, a)
}

// A Service keeps up with its type, which takes its addresses away and gives it
// others.
func TestTypeComesAndGoes(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	w.start()
	w.serviceLeadsTo(svc, a)

	was := svc.DeepCopy()
	w.change(svc, func() {
		svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "", nil
		svc.Spec.IPFamilies, svc.Spec.IPFamilyPolicy = nil, nil
	})
	w.leaves(was)

	w.change(svc, func() {
		fresh := w.service("web")
		fresh.ObjectMeta = svc.ObjectMeta
		*svc = *fresh
	})
	w.serviceLeadsTo(svc, a)
}

// change updates an object.
func (w *world) change(svc *corev1.Service, f func()) {
	w.t.Helper()
	f()
	w.must(w.api.Client.Update(w.ctx, svc))
}

// label hands a Service to the proxy of that name, or to the default one.
func (w *world) label(svc *corev1.Service, proxy string) {
	w.t.Helper()
	before := svc.DeepCopy()
	svc.Labels = map[string]string{}
	if proxy != "" {
		svc.Labels[labelProxyName] = proxy
	}
	w.must(w.api.Client.Patch(w.ctx, svc, client.MergeFrom(before)))
}

// sliced waits until a Service has an endpoint of each of its families, which the
// controller writes one after the other.
func (w *world) sliced(svc *corev1.Service) {
	w.t.Helper()
	w.eventually("the EndpointSlices of "+svc.Name, func() error {
		slices, err := w.api.Slices(w.ctx, svc.Namespace, svc.Name)
		endpoints := map[corev1.IPFamily]int{}
		for _, s := range slices {
			endpoints[corev1.IPFamily(s.AddressType)] += len(s.Endpoints)
		}
		for _, family := range svc.Spec.IPFamilies {
			if err == nil && endpoints[family] == 0 {
				err = fmt.Errorf("there are %d, and none has an endpoint of %s", len(slices), family)
			}
		}
		return err
	})
}

// settled waits until all that has happened so far is in the kernel: the API
// server tells of objects of one kind in the order of their changes, so a Service
// and a slice that come last are programmed last.
func (w *world) settled() {
	w.t.Helper()
	w.marks++
	svc := w.service(fmt.Sprintf("last-of-all-%d", w.marks))
	svc.Spec.Selector = nil
	w.create(svc)
	w.create(w.slice(svc, "10.244.0.250"))
	w.eventually("the last Service to be programmed", func() error {
		if there := w.holds(svc); !strings.Contains(there, "endpoints") {
			return fmt.Errorf("the kernel has %q of it", there)
		}
		return nil
	})
	w.must(w.api.Client.Delete(w.ctx, svc))
	w.leaves(svc)
}

// slice is an EndpointSlice for a Service, as written by hand.
func (w *world) slice(svc *corev1.Service, addrs ...string) *discoveryv1.EndpointSlice {
	port, name := int32(8080), "http"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name + "-by-hand",
			Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for _, a := range addrs {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return slice
}

// leaves waits until the kernel has nothing of a Service.
func (w *world) leaves(svc *corev1.Service) {
	w.t.Helper()
	w.eventually("the kernel to have nothing of "+svc.Name, func() error {
		there, err := w.find(svc)
		if there != "" {
			err = fmt.Errorf("it has %s", there)
		}
		return err
	})
}

// holds is find, of a kernel that is not changed without a pause.
func (w *world) holds(svc *corev1.Service) string {
	w.t.Helper()
	there, err := w.find(svc)
	w.must(err)
	return there
}

// find gives the names of the sets that have an element of a Service: one with its
// name, or with one of its addresses. It fails when others' changes leave no time to
// read the tables between two of them.
func (w *world) find(svc *corev1.Service) (string, error) {
	sets, err := w.elements()
	var in []string
	for set, elements := range sets {
		for i := range elements {
			if mentions(&elements[i], svc) {
				in = append(in, set)
				break
			}
		}
	}
	return strings.Join(in, " "), err
}

func mentions(e *nft.Element, svc *corev1.Service) bool {
	name := svc.Namespace + "/" + svc.Name
	if e.Comment == name || strings.HasPrefix(e.Comment, name+":") {
		return true
	}
	for _, ip := range svc.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && strings.HasPrefix(e.Key, string(addr(ip).AsSlice())) {
			return true
		}
	}
	return false
}
