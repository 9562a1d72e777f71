package controllers_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// BenchmarkEvent is the time from when a Service's turn comes, because one of its
// EndpointSlices has changed, until the kernel has the change: reading the cache, the
// model, what differs, and the commit. What comes before, the watch and the queue, is
// the libraries'.
func BenchmarkEvent(b *testing.B) {
	testbed.Need(b)
	for _, services := range []int{100, 10_000} {
		ns, err := testbed.NewNamespace()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(ns.Close)
		conn, err := kernel.Open(ns.Fd())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		p := dataplane.NewProgrammer(dataplane.NewWriter(conn, maps.NewLayout(layout.Config{})), logr.Discard(), unobserved{})
		loaded := make(chan struct{})
		close(loaded)
		s := make(shelf, services)
		r := &controllers.ServiceReconciler{
			Cache: s, Sink: p, Scope: proxy.ScopeAll, Loaded: loaded, Node: theNode,
			Problems: func(_ proxy.Name, problems []proxy.Problem) {
				if len(problems) > 0 {
					b.Fatal(problems)
				}
			},
		}
		change := func(i, endpoints, round int) {
			key := s.put(i, endpoints, round)
			if _, err := r.Reconcile(b.Context(), ctrl.Request{NamespacedName: key}); err != nil {
				b.Fatal(err)
			}
		}
		for i := range services {
			change(i, 10, 0)
		}
		program := func() {
			if err := p.Round(); err != nil {
				b.Fatal(err)
			}
		}
		program()
		for _, kind := range []struct {
			what      string
			endpoints [2]int
			rounds    [2]int
		}{{"replace", [2]int{10, 10}, [2]int{0, 1}}, {"resize", [2]int{10, 9}, [2]int{0, 0}}} {
			b.Run(fmt.Sprintf("%s/%dx10", kind.what, services), func(b *testing.B) {
				b.ReportAllocs()
				state := 0
				for b.Loop() {
					state = 1 - state
					change(7, kind.endpoints[state], kind.rounds[state])
					program()
				}
				change(7, 10, 0)
				program()
			})
		}
	}
}

// unobserved is nobody who wants to know.
type unobserved struct{}

func (unobserved) Conflicts(proxy.Name, []proxy.Conflict)        {}
func (unobserved) Refused(proxy.Name, error)                     {}
func (unobserved) Programmed([]dataplane.Applied, time.Duration) {}
func (unobserved) Failed(error)                                  {}
func (unobserved) Repaired(dataplane.Repair)                     {}
func (unobserved) Contested(kernel.Change, bool)                 {}

// shelf is a cache that holds one object of each kind for each Service.
type shelf map[types.NamespacedName]shelved

type shelved struct {
	service corev1.Service
	slice   controllers.PackedSlice
}

func (s shelf) put(i, endpoints, round int) types.NamespacedName {
	key := types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("svc-%d", i)}
	ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String()
	name, port, yes := "http", int32(8080), true
	slice := discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name + "-a", Labels: map[string]string{discoveryv1.LabelServiceName: key.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for e := range endpoints {
		second := 128 + e
		if e == 5 {
			second += 50 * round
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{netip.AddrFrom4([4]byte{10, byte(second), byte(i >> 8), byte(i)}).String()},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		})
	}
	packed, err := controllers.Pack(&slice)
	if err != nil {
		panic(err)
	}
	s[key] = shelved{
		service: corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
			Spec: corev1.ServiceSpec{
				ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
				Ports: []corev1.ServicePort{{Name: name, Port: 80, Protocol: corev1.ProtocolTCP}},
			},
		},
		slice: *packed,
	}
	return key
}

func (s shelf) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	*object.(*corev1.Service) = s[key].service
	return nil
}

// List is only asked for the slices of a Service.
func (s shelf) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	name, ok := o.FieldSelector.RequiresExactMatch("service")
	if !ok {
		return fmt.Errorf("slices of no single Service are asked for: %s", o.FieldSelector)
	}
	list.(*controllers.PackedSliceList).Items = []controllers.PackedSlice{s[types.NamespacedName{Namespace: o.Namespace, Name: name}].slice}
	return nil
}
