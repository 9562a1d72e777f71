package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tenant is somebody who may write Services, EndpointSlices and Pods in a namespace of
// his own, by the API server's RBAC, and nothing else anywhere.
type tenant struct {
	client.Client
	w         *world
	namespace string
}

func (w *world) tenant() *tenant {
	w.t.Helper()
	x := &tenant{w: w, namespace: "a-tenant-" + w.namespace}
	w.must(w.api.Namespace(w.ctx, x.namespace))
	user := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: x.namespace}
	meta := metav1.ObjectMeta{Namespace: x.namespace, Name: "tenant"}
	w.create(&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{corev1.GroupName}, Resources: []string{"services", "pods"}, Verbs: []string{rbacv1.VerbAll}},
		{APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"}, Verbs: []string{rbacv1.VerbAll}},
	}})
	w.create(&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{user},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name}})
	config := rest.CopyConfig(w.api.Config)
	config.Impersonate.UserName = user.Name
	var err error
	x.Client, err = client.New(config, client.Options{})
	w.must(err)
	// The API server's authorizer learns of a role by a watch of its own.
	w.eventually("the tenant's rights", func() error {
		return x.List(w.ctx, &discoveryv1.EndpointSliceList{}, client.InNamespace(x.namespace))
	})
	w.t.Cleanup(func() {
		for _, kind := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Pod{}} {
			w.must(w.api.Client.DeleteAllOf(w.ctx, kind, client.InNamespace(x.namespace), client.GracePeriodSeconds(0)))
		}
	})
	return x
}

// service is one of the tenant's, without a selector and not created yet.
func (x *tenant) service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}
}

// serves creates a Service and a slice with these endpoints.
func (x *tenant) serves(svc *corev1.Service, addrs ...string) *corev1.Service {
	x.w.t.Helper()
	x.w.must(x.Create(x.w.ctx, svc))
	x.w.must(x.Create(x.w.ctx, x.w.slice(svc, addrs...)))
	return svc
}

// forbidden wants that the API server refuses something to the tenant for want of rights.
func (x *tenant) forbidden(what string, err error) {
	x.w.t.Helper()
	if !apierrors.IsForbidden(err) {
		x.w.t.Errorf("a tenant may %s: %v", what, err)
	}
}

// bystander is what somebody else has in the same cluster, and must not notice a tenant.
type bystander struct {
	*world
	agent       *agent
	svc, sticky *corev1.Service
	pods        []*backend
	clients     *stickyClients
	callers     *callers
	times       int
}

// newBystander starts the agent with a Service that is asked in every way, and one with
// session affinity, whose clients are known.
func newBystander(w *world) *bystander {
	w.t.Helper()
	b := &bystander{world: w, svc: w.everyWay("bystander", 1), sticky: w.service("sticky")}
	b.sticky.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	w.create(b.sticky)
	for i, name := range []string{"a", "b", "c"} {
		b.pods = append(b.pods, w.backend(name, i+1))
	}
	w.sliced(b.svc)
	w.sliced(b.sticky)
	b.agent = w.startReady()
	w.serviceLeadsTo(b.svc, b.pods...)
	w.settled()
	b.clients = w.stickyClients(b.sticky)
	b.callers = w.call(w.everyCaller(b.svc)...)
	return b
}

// restart ends the agent and starts another.
func (b *bystander) restart() {
	b.t.Helper()
	b.agent.terminate()
	b.agent = b.startReady()
}

// unharmed wants that the bystander's connections go on and new ones are made, that
// clients keep their endpoints, that a Service comes, has its Event and goes, and that
// nothing of it is left.
func (b *bystander) unharmed(what string) {
	b.t.Helper()
	b.callers.settle(what)
	if err := b.clients.same(); err != nil {
		b.t.Errorf("%s: %v", what, err)
	}
	b.times++
	change := b.service(fmt.Sprintf("change-%d", b.times))
	change.Spec.Selector = nil
	change.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	b.create(change)
	slice := b.slice(change, "239.1.1.1", b.pods[0].at4)
	b.create(slice)
	b.leadsTo(frontends(change)[0], b.pods[0].at4)
	b.describes(change, "InvalidAddress", "239.1.1.1 is a multicast address")
	// A client forgets an endpoint that has gone.
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{b.pods[1].at4}}}
	b.must(b.api.Client.Update(b.ctx, slice))
	b.leadsTo(frontends(change)[0], b.pods[1].at4)
	b.must(b.api.Client.Delete(b.ctx, change))
	b.leaves(change)
	if b.t.Failed() {
		b.t.Fatalf("%s: see above", what)
	}
}

// gone deletes what the tenant has, and waits until the kernel has nothing of it.
func (x *tenant) gone(all ...*corev1.Service) {
	x.w.t.Helper()
	for _, svc := range all {
		x.w.must(client.IgnoreNotFound(x.Delete(x.w.ctx, svc)))
		x.w.leaves(svc)
	}
}

// done wants that the bystander has lost nothing.
func (b *bystander) done() {
	b.t.Helper()
	b.t.Log(b.callers.stop())
}

// events are those on a Service, by reason.
func (x *tenant) events(ctx context.Context, svc *corev1.Service) (map[string]int, error) {
	var list corev1.EventList
	err := x.w.api.Client.List(ctx, &list, client.InNamespace(svc.Namespace))
	found := map[string]int{}
	for _, e := range list.Items {
		if e.InvolvedObject.UID == svc.UID {
			found[e.Reason]++
		}
	}
	return found, err
}

// tells waits until a Service has an Event of a reason.
func (x *tenant) tells(svc *corev1.Service, reason string) {
	x.w.t.Helper()
	x.w.eventually(svc.Name+" to have an Event "+reason, func() error {
		found, err := x.events(x.w.ctx, svc)
		if err == nil && found[reason] == 0 {
			err = fmt.Errorf("it has %v", found)
		}
		return err
	})
}

// newTenancy is a bystander and a tenant.
func newTenancy(t *testing.T) (*bystander, *tenant) {
	t.Helper()
	w := newWorld(t)
	return newBystander(w), w.tenant()
}

// refusedByAPI wants that the API server refuses an object as invalid.
func refusedByAPI(err error) error {
	if apierrors.IsInvalid(err) {
		return nil
	}
	return errors.Join(errors.New("the API server takes it"), err)
}

// answers gives who answers the client at an address, or an error unless one of these
// does.
func (x *tenant) leads(svc *corev1.Service, want ...string) {
	x.w.t.Helper()
	slices.Sort(want)
	x.w.leadsTo(frontends(svc)[0], want...)
}
