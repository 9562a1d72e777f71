package controllers

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

	sources []*source

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
	wait, err := r.read(ctx, req.NamespacedName)
	return ctrl.Result{RequeueAfter: wait}, err
}

// Load hands over all Services, once all have been read. Reconcile follows what changes.
func (r *ServiceReconciler) Load(ctx context.Context) error {
	for _, s := range r.sources {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	r.handing.Lock()
	defer r.handing.Unlock()
	var services corev1.ServiceList
	if err := r.Cache.List(ctx, &services); err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	var list PackedSliceList
	if err := r.Cache.List(ctx, &list); err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	endpointSlices := make(map[types.NamespacedName][]*PackedSlice, len(services.Items))
	for i := range list.Items {
		if of, ok := serviceOf(&list.Items[i]); ok {
			endpointSlices[of.NamespacedName] = append(endpointSlices[of.NamespacedName], &list.Items[i])
		}
	}
	models := make([]model, len(services.Items))
	workers := runtime.GOMAXPROCS(0)
	const portions = 16 // for each, as some take longer
	workqueue.ParallelizeUntil(ctx, workers, len(models), func(i int) {
		svc := &services.Items[i]
		models[i] = r.build(svc, endpointSlices[client.ObjectKeyFromObject(svc)])
	}, workqueue.WithChunkSize(1+len(models)/workers/portions))
	for i := range models {
		if err := cmp.Or(ctx.Err(), models[i].err); err != nil {
			return err
		}
		svc := &services.Items[i]
		r.hand(proxy.Name{Namespace: svc.Namespace, Name: svc.Name}, models[i])
	}
	return nil
}

// read reads one Service and hands it over, and says when it is to be looked at again.
func (r *ServiceReconciler) read(ctx context.Context, key types.NamespacedName) (again time.Duration, err error) {
	r.handing.Lock()
	defer r.handing.Unlock()
	name := proxy.Name{Namespace: key.Namespace, Name: key.Name}
	svc := &corev1.Service{}
	if err := r.Cache.Get(ctx, key, svc); apierrors.IsNotFound(err) {
		return r.hand(name, model{}), nil
	} else if err != nil {
		return 0, fmt.Errorf("service %s: %w", key, err)
	}
	// The key may be part of a slice's text, which is not to stay for it.
	name = proxy.Name{Namespace: svc.Namespace, Name: svc.Name}
	var endpointSlices []*PackedSlice
	if proxy.Handles(svc, r.Scope) { // else nobody looks at them
		var list PackedSliceList
		err := r.Cache.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingFields{serviceIndex: key.Name})
		if err != nil {
			return 0, fmt.Errorf("service %s: list its EndpointSlices: %w", key, err)
		}
		for i := range list.Items {
			endpointSlices = append(endpointSlices, &list.Items[i])
		}
	}
	m := r.build(svc, endpointSlices)
	if m.err != nil {
		return 0, m.err
	}
	return r.hand(name, m), nil
}

// model is what is made of a Service.
type model struct {
	// ours and others say who serves it, if anybody does.
	ours, others bool
	service      proxy.Service
	problems     []proxy.Problem
	err          error
}

// build makes the model of a Service.
func (r *ServiceReconciler) build(svc *corev1.Service, packed []*PackedSlice) (m model) {
	switch {
	case !proxy.HasAddress(svc):
		return model{}
	case !proxy.Handles(svc, r.Scope):
		return model{others: true}
	}
	endpointSlices := make([]*discoveryv1.EndpointSlice, len(packed))
	for i := range packed {
		if endpointSlices[i], m.err = packed[i].Unpack(); m.err != nil {
			return m
		}
	}
	m.ours = true
	m.service, m.problems = proxy.Build(svc, endpointSlices, r.Node())
	return m
}

// hand hands a Service over, and says when it is to be looked at again.
func (r *ServiceReconciler) hand(name proxy.Name, m model) (again time.Duration) {
	switch {
	case m.others:
		return r.release(name)
	case !m.ours:
		delete(r.held, name)
		r.Problems(name, nil)
		r.Sink.Delete(name)
		return 0
	}
	if r.held == nil {
		r.held = map[proxy.Name]time.Time{}
	}
	r.held[name] = time.Time{}
	r.Problems(name, m.problems)
	r.Sink.Update(m.service)
	return 0
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
	const name = "service"
	b := ctrl.NewControllerManagedBy(mgr).Named(name).WithLogConstructor(logs(mgr.GetLogger(), name))
	r.sources = []*source{
		newSource(mgr.GetCache(), &corev1.Service{}, itself),
		newSource(mgr.GetCache(), &PackedSlice{}, serviceOf),
	}
	for _, s := range r.sources {
		s.onlyChanges = true // the rest is for Load
		b.WatchesRawSource(s)
	}
	return b.Complete(r)
}

// serviceOf is the Service that an EndpointSlice belongs to.
func serviceOf(object client.Object) (reconcile.Request, bool) {
	slice, ok := object.(*PackedSlice)
	if !ok || slice.service == "" {
		return reconcile.Request{}, false
	}
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: slice.Namespace, Name: slice.service}}, true
}
