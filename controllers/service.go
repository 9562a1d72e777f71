package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Sink takes the model. Its methods return at once.
type Sink interface {
	// Update says what a Service is now.
	Update(proxy.Service)
	// Delete says that a Service is gone. Deleting what was never there is fine.
	Delete(proxy.Name)
	// Release says that a Service is another proxy's: its connections go on there.
	// Releasing what was never there is fine.
	Release(proxy.Name)
}

// ServiceReconciler turns a Service and its EndpointSlices into the model.
type ServiceReconciler struct {
	// Cache reads what this package's CacheOptions keep.
	Cache client.Reader
	Sink  Sink
	// Scope says which Services are ours.
	Scope proxy.Scope
	// Node is this node as it is known now.
	Node func() proxy.Node
	// Problems is told what is wrong with a Service, nothing when all is well or
	// the Service is no longer ours.
	Problems func(proxy.Name, []proxy.Problem)
	// HandOver is how long a Service that becomes another proxy's stays ours besides:
	// that proxy may need a moment, in which nobody would serve.
	HandOver time.Duration
	// Loaded is closed once Load has handed all Services over; until then no
	// single one is.
	Loaded <-chan struct{}

	// handing makes one step of reading a Service and handing it over, so that
	// what is handed over last was read last: Load may run beside Reconcile.
	handing sync.Mutex
	// held are the Services that have been handed over, with the time until which
	// those that are another proxy's now stay ours.
	held map[proxy.Name]time.Time
}

// Reconcile hands over one Service as it is now.
func (r *ServiceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Loaded:
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	wait, err := r.hand(ctx, req.NamespacedName)
	return ctrl.Result{RequeueAfter: wait}, err
}

// Load hands over all Services. The caches have to be synced.
func (r *ServiceReconciler) Load(ctx context.Context) error {
	var services corev1.ServiceList
	if err := r.Cache.List(ctx, &services); err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	for i := range services.Items {
		if _, err := r.hand(ctx, client.ObjectKeyFromObject(&services.Items[i])); err != nil {
			return err
		}
	}
	return nil
}

// hand hands over one Service, and says when it is to be looked at again.
func (r *ServiceReconciler) hand(ctx context.Context, key types.NamespacedName) (again time.Duration, err error) {
	r.handing.Lock()
	defer r.handing.Unlock()
	name := proxy.Name{Namespace: key.Namespace, Name: key.Name}
	var svc corev1.Service
	err = r.Cache.Get(ctx, key, &svc)
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("service %s: %w", key, err)
	}
	if err != nil || !proxy.HasAddress(&svc) {
		delete(r.held, name)
		r.Problems(name, nil)
		r.Sink.Delete(name)
		return 0, nil
	}
	if !proxy.Handles(&svc, r.Scope) {
		return r.release(name), nil
	}
	var list discoveryv1.EndpointSliceList
	err = r.Cache.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingFields{serviceIndex: key.Name})
	if err != nil {
		return 0, fmt.Errorf("service %s: list its EndpointSlices: %w", key, err)
	}
	slices := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		if slices[i], err = Unpack(&list.Items[i]); err != nil {
			return 0, err
		}
	}
	model, problems := proxy.Build(&svc, slices, r.Node())
	r.Problems(name, problems)
	if r.held == nil {
		r.held = map[proxy.Name]time.Time{}
	}
	r.held[name] = time.Time{}
	r.Sink.Update(model)
	return 0, nil
}

// release lets a Service go that is another proxy's, when it has been so for a while,
// and says how much is left of that.
func (r *ServiceReconciler) release(name proxy.Name) (left time.Duration) {
	until, held := r.held[name]
	if held && until.IsZero() {
		until = time.Now().Add(r.HandOver)
		r.held[name] = until
	}
	if left := time.Until(until); held && left > 0 {
		return left
	}
	delete(r.held, name)
	r.Problems(name, nil)
	r.Sink.Release(name)
	return 0
}

// SetupWithManager watches Services and EndpointSlices.
func (r *ServiceReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("service").
		WatchesRawSource(watch(mgr, &corev1.Service{}, &handler.EnqueueRequestForObject{})).
		WatchesRawSource(watch(mgr, &discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(serviceOf))).
		Complete(r)
}

// serviceOf is the Service that an EndpointSlice belongs to.
func serviceOf(_ context.Context, object client.Object) []reconcile.Request {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok || serviceNameOf(slice) == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: slice.Namespace, Name: serviceNameOf(slice)}}}
}
