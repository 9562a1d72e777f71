package controllers

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ServiceCIDRReconciler follows the networks that ClusterIPs are allocated from
// (KEP-1880). They are few: each change hands all of them over.
type ServiceCIDRReconciler struct {
	Cache client.Reader
	// Changed is told of all ServiceCIDRs as they are now.
	Changed func([]*networkingv1.ServiceCIDR)
	// Loaded is closed once Load has handed them over.
	Loaded <-chan struct{}

	source *source
}

// WaitForSync returns when all have been read.
func (r *ServiceCIDRReconciler) WaitForSync(ctx context.Context) error { return r.source.wait(ctx) }

// Reconcile hands over all ServiceCIDRs, whichever has changed.
func (r *ServiceCIDRReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Loaded:
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	return ctrl.Result{}, r.Load(ctx)
}

// Load hands over all ServiceCIDRs.
func (r *ServiceCIDRReconciler) Load(ctx context.Context) error {
	var list networkingv1.ServiceCIDRList
	if err := r.Cache.List(ctx, &list); err != nil {
		return fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	all := make([]*networkingv1.ServiceCIDR, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	r.Changed(all)
	return nil
}

// SetupWithManager watches ServiceCIDRs.
func (r *ServiceCIDRReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.source = newSource(mgr.GetCache(), &networkingv1.ServiceCIDR{}, itself)
	return ctrl.NewControllerManagedBy(mgr).Named("servicecidr").WatchesRawSource(r.source).Complete(r)
}
