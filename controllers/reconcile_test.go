package controllers_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// A change of a slice is its Service's alone.
func TestSlicesLeadToTheirService(t *testing.T) {
	w := newWorld(t)
	_, slice := w.service("a", "10.0.0.1")
	w.service("b", "10.0.0.2")
	w.has("a", "10.0.0.1:8080")
	w.has("b", "10.0.0.2:8080")

	before := w.count()
	slice.Endpoints[0].Addresses[0] = "10.0.0.3"
	w.must(w.api.Client.Update(w.ctx, slice))
	w.has("a", "10.0.0.3:8080")
	if got, want := w.since(before), []string{"update " + w.name("a").String()}; !slices.Equal(got, want) {
		t.Errorf("a change of one Service's slice: %q, want %q", got, want)
	}

	slice.Labels[discoveryv1.LabelServiceName] = "b"
	w.must(w.api.Client.Update(w.ctx, slice))
	w.has("a", "")
	w.has("b", "10.0.0.2:8080 10.0.0.3:8080")
	w.must(w.api.Client.Delete(w.ctx, slice))
	w.has("b", "10.0.0.2:8080")
}

// What is there at the start is handed over by Load, and not a second time from the
// queue.
func TestStartHandsOverOnce(t *testing.T) {
	w := newWorld(t)
	w.service("later", "10.0.0.1")
	w.has("later", "10.0.0.1:8080") // the queue is in order
	times := 0
	for _, call := range w.all() {
		if call == "update default/kubernetes" {
			times++
		}
	}
	if times != 1 {
		t.Errorf("a Service from before the start was handed over %d times", times)
	}
}

// A Service that goes, goes with its problems.
func TestServicesGo(t *testing.T) {
	w := newWorld(t)
	svc, _ := w.service("bad", "10.0.0.1", "239.0.0.1")
	w.has("bad", "10.0.0.1:8080")
	if n := w.problemsOf(w.name("bad")); n != 1 {
		t.Errorf("%d problems were told of an endpoint that can't be one", n)
	}
	w.must(w.api.Client.Delete(w.ctx, svc))
	w.has("bad", "none such")
	w.eventually("the end of its problems", func() bool { return w.problemsOf(w.name("bad")) == 0 })
}

// Load may run beside Reconcile: a Service that goes after Load has listed it
// stays gone.
func TestLoadBringsNothingBack(t *testing.T) {
	w := newWorld(t)
	svc, _ := w.service("goes", "10.0.0.1")
	w.service("stays", "10.0.0.2")
	w.has("goes", "10.0.0.1:8080")
	w.has("stays", "10.0.0.2:8080")
	key := client.ObjectKeyFromObject(svc)
	told, loaded := newSink(), make(chan struct{})
	close(loaded)
	r := &controllers.ServiceReconciler{Sink: told, Loaded: loaded, Node: theNode, Problems: func(proxy.Name, []proxy.Problem) {}}
	reconciled := make(chan error, 1)
	r.Cache = listed{w.cache, func() {
		w.must(w.api.Client.Delete(w.ctx, svc))
		w.eventually("the cache to have it no more", func() bool { return w.cache.Get(w.ctx, key, &corev1.Service{}) != nil })
		go func() {
			_, err := r.Reconcile(w.ctx, ctrl.Request{NamespacedName: key})
			reconciled <- err
		}()
	}}
	w.must(r.Load(w.ctx))
	w.must(<-reconciled)
	if got := told.endpoints(w.name("goes")); got != "none such" {
		t.Errorf("a Service that had gone was handed over, with endpoints %q", got)
	}
	if got := told.endpoints(w.name("stays")); got != "10.0.0.2:8080" {
		t.Errorf("another Service was handed over with endpoints %q", got)
	}
}

// listed is a cache where something happens once the Services have been listed.
type listed struct {
	client.Reader
	then func()
}

func (l listed) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	err := l.Reader.List(ctx, list, options...)
	if _, ok := list.(*corev1.ServiceList); ok {
		l.then()
	}
	return err
}

// This node's Node is followed, no other, and with it all Services.
func TestNodeIsFollowed(t *testing.T) {
	w := newWorld(t)
	w.service("a", "10.0.0.1")
	w.service("b")
	w.has("a", "10.0.0.1:8080")
	w.has("b", "")
	before := w.count()
	other, err := w.api.Node(w.ctx, "node-b", nil, netip.MustParseAddr("10.240.0.12"))
	w.must(err)
	object, err := w.api.Node(w.ctx, "node-a", nil, netip.MustParseAddr("10.240.0.11"))
	w.must(err)
	again := []string{"update " + w.name("a").String(), "update " + w.name("b").String(), "update default/kubernetes"}
	slices.Sort(again)
	w.eventually("all Services to be handed over again", func() bool { return slices.Equal(w.since(before), again) })
	if n := w.nodeNow(); n.Name != "node-a" || len(n.Status.Addresses) != 2 || n.Status.Conditions != nil || n.ManagedFields != nil {
		t.Errorf("the Node is %+v, want node-a with its addresses alone", n)
	}
	w.must(w.api.Client.Delete(w.ctx, object))
	w.eventually("the Node's end", func() bool { return w.nodeNow() == nil })
	w.must(w.api.Client.Delete(w.ctx, other))
}

// What is of no use is not in the cache at all, or without most of it.
func TestCacheIsSmall(t *testing.T) {
	w := newWorld(t)
	headless := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "headless"},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	w.must(w.api.Client.Create(w.ctx, headless))
	w.eventually("the headless Service's EndpointSlices", func() bool {
		all, err := w.api.Slices(w.ctx, w.namespace, "headless")
		return err == nil && len(all) > 0
	})
	svc, slice := w.service("web", "10.0.0.1")
	w.has("web", "10.0.0.1:8080")

	var services corev1.ServiceList
	w.must(w.cache.List(w.ctx, &services, client.InNamespace(w.namespace)))
	var all controllers.PackedSliceList
	w.must(w.cache.List(w.ctx, &all, client.InNamespace(w.namespace)))
	if len(services.Items) != 1 || len(all.Items) != 1 {
		t.Fatalf("the cache has %d Services and %d slices, want one of each", len(services.Items), len(all.Items))
	}
	for _, pair := range []struct{ whole, kept client.Object }{{svc, &services.Items[0]}, {slice, &all.Items[0]}} {
		if pair.whole.GetManagedFields() == nil {
			t.Fatalf("%T came without managedFields: there is nothing to see", pair.whole)
		}
		if pair.kept.GetManagedFields() != nil || pair.kept.GetAnnotations() != nil {
			t.Errorf("the cache keeps %+v", pair.kept)
		}
		if pair.kept.GetNamespace() != pair.whole.GetNamespace() || pair.kept.GetName() != pair.whole.GetName() {
			t.Errorf("the cache has %s, not %s", pair.kept.GetName(), pair.whole.GetName())
		}
	}
}

// A Service that is given to another proxy stays ours for a while, unless it comes
// back or has no address any more.
func TestServicesAreHandedOver(t *testing.T) {
	w := newWorld(t)
	svc, _ := w.service("web", "10.0.0.1")
	w.has("web", "10.0.0.1:8080")
	key := client.ObjectKeyFromObject(svc)
	told, loaded := newSink(), make(chan struct{})
	close(loaded)
	r := &controllers.ServiceReconciler{Cache: w.cache, Sink: told, Loaded: loaded, Node: theNode,
		Problems: func(proxy.Name, []proxy.Problem) {}, HandOver: time.Hour}
	become := func(change func()) time.Duration {
		t.Helper()
		change()
		w.must(w.api.Client.Update(w.ctx, svc))
		w.eventually("the cache to follow", func() bool {
			var cached corev1.Service
			return w.cache.Get(w.ctx, key, &cached) == nil && cached.ResourceVersion == svc.ResourceVersion
		})
		result, err := r.Reconcile(w.ctx, ctrl.Request{NamespacedName: key})
		w.must(err)
		return result.RequeueAfter
	}
	theirs := func() { svc.Labels = map[string]string{proxy.LabelProxyName: "another"} }
	ours := func() { svc.Labels = nil }

	become(ours)
	for range 2 {
		if wait := become(theirs); wait <= 0 || told.endpoints(w.name("web")) != "10.0.0.1:8080" {
			t.Errorf("given to another proxy, it is looked at again after %v, and its endpoints are %s", wait, told.endpoints(w.name("web")))
		}
		become(ours)
	}
	r.HandOver = 0
	if wait := become(theirs); wait != 0 || told.endpoints(w.name("web")) != "none such" {
		t.Errorf("after its time, it is looked at again after %v, and its endpoints are %s", wait, told.endpoints(w.name("web")))
	}
	r.HandOver = time.Hour
	become(ours)
	wait := become(func() {
		svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs, svc.Spec.IPFamilies, svc.Spec.IPFamilyPolicy = "", nil, nil, nil
	})
	if last := told.calls[len(told.calls)-1]; wait != 0 || last != "delete "+w.name("web").String() {
		t.Errorf("without an address, the last call is %q, and it is looked at again after %v", last, wait)
	}
}

// A Service that is given to another proxy is let go, not deleted, and comes back.
func TestServicesGoToOtherProxies(t *testing.T) {
	w := newWorld(t)
	svc, _ := w.service("web", "10.0.0.1")
	w.has("web", "10.0.0.1:8080")
	before := w.count()
	svc.Labels = map[string]string{proxy.LabelProxyName: "another"}
	w.must(w.api.Client.Update(w.ctx, svc))
	w.has("web", "none such")
	if got, want := w.since(before), []string{"release " + w.name("web").String()}; !slices.Equal(got, want) {
		t.Errorf("it was handed over with %q, want %q", got, want)
	}
	svc.Labels = nil
	w.must(w.api.Client.Update(w.ctx, svc))
	w.has("web", "10.0.0.1:8080")
	before = w.count()
	w.must(w.api.Client.Delete(w.ctx, svc))
	w.has("web", "none such")
	if got, want := w.since(before), []string{"delete " + w.name("web").String()}; !slices.Equal(got, want) {
		t.Errorf("deleted, it was handed over with %q, want %q", got, want)
	}
}
