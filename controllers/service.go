package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// Delete says that a Service is gone or no longer ours. Deleting what was
	// never there is fine.
	Delete(proxy.Name)
}

// ServiceReconciler turns a Service and its EndpointSlices into the model.
type ServiceReconciler struct {
	// Cache reads what this package's CacheOptions keep.
	Cache client.Reader
	Sink  Sink
	// Node is this node as it is known now.
	Node func() proxy.Node
	// Problems is told what is wrong with a Service, nothing when all is well.
	Problems func(*corev1.Service, []proxy.Problem)
	// Loaded is closed once Load has handed all Services over; until then no
	// single one is.
	Loaded <-chan struct{}
}

// Reconcile hands over one Service as it is now.
func (r *ServiceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Loaded:
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	var svc corev1.Service
	err := r.Cache.Get(ctx, req.NamespacedName, &svc)
	if apierrors.IsNotFound(err) {
		r.Sink.Delete(proxy.Name{Namespace: req.Namespace, Name: req.Name})
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("service %s: %w", req, err)
	}
	return ctrl.Result{}, r.hand(ctx, &svc)
}

// Load hands over all Services. The caches have to be synced.
func (r *ServiceReconciler) Load(ctx context.Context) error {
	var services corev1.ServiceList
	if err := r.Cache.List(ctx, &services); err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	for i := range services.Items {
		if err := r.hand(ctx, &services.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *ServiceReconciler) hand(ctx context.Context, svc *corev1.Service) error {
	if !proxy.Handles(svc) {
		r.Problems(svc, nil)
		r.Sink.Delete(proxy.Name{Namespace: svc.Namespace, Name: svc.Name})
		return nil
	}
	var list discoveryv1.EndpointSliceList
	err := r.Cache.List(ctx, &list, client.InNamespace(svc.Namespace), client.MatchingFields{serviceIndex: svc.Name})
	if err != nil {
		return fmt.Errorf("service %s/%s: list its EndpointSlices: %w", svc.Namespace, svc.Name, err)
	}
	slices := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		slices[i] = &list.Items[i]
	}
	model, problems := proxy.Build(svc, slices, r.Node())
	r.Problems(svc, problems)
	r.Sink.Update(model)
	return nil
}

// SetupWithManager watches Services and EndpointSlices.
func (r *ServiceReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&corev1.Service{}).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(serviceOf)).
		Complete(r)
}

// serviceOf is the Service that an EndpointSlice belongs to.
func serviceOf(_ context.Context, slice client.Object) []reconcile.Request {
	name := slice.GetLabels()[discoveryv1.LabelServiceName]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: slice.GetNamespace(), Name: name}}}
}
