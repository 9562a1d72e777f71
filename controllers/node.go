package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NodeReconciler follows the Node object that stands for this machine.
type NodeReconciler struct {
	Cache client.Reader
	// Changed is told of the Node as it is now, nil when there is none. It says
	// whether the model of Services depends on what has changed.
	Changed func(*corev1.Node) (matters bool)
	// Services are handed over again when it does.
	Services *ServiceReconciler

	source *source
}

// WaitForSync returns when the Node has been read, or is known not to be there.
func (r *NodeReconciler) WaitForSync(ctx context.Context) error { return r.source.wait(ctx) }

// Reconcile passes on the Node as it is now.
func (r *NodeReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Services.Loaded:
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	node := &corev1.Node{}
	if err := r.Cache.Get(ctx, req.NamespacedName, node); apierrors.IsNotFound(err) {
		node = nil
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("node %s: %w", req.Name, err)
	}
	if !r.Changed(node) {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, r.Services.Load(ctx)
}

// SetupWithManager watches the Node that CacheOptions selects.
func (r *NodeReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.source = newSource(mgr.GetCache(), &corev1.Node{}, itself)
	return ctrl.NewControllerManagedBy(mgr).Named("node").WatchesRawSource(r.source).Complete(r)
}
