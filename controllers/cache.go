package controllers

import (
	"context"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// serviceIndex finds EndpointSlices by the name of their Service.
const serviceIndex = "service"

// CacheOptions keep only what the model is made of: this node's Node, and
// Services and EndpointSlices, without what no packet depends on, and of those that
// are not in the scope no more than says so. When a Service's endpoints changed, as
// the EndpointSlice controller notes it, is not kept: triggered is told at once, as
// objects come. The cache's scheme is to be that of AddToScheme.
func CacheOptions(node string, scope proxy.Scope, triggered func(proxy.Name, time.Time)) (cache.Options, error) {
	notHeadless, err := labels.NewRequirement(corev1.IsHeadlessService, selection.DoesNotExist, nil)
	if err != nil {
		return cache.Options{}, err
	}
	// Reconcilers only read, so they may have the cache's own objects.
	shared := ptr.To(true)
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {
				Field:                 fields.OneTermNotEqualSelector("spec.clusterIP", corev1.ClusterIPNone),
				Transform:             slim(func(svc *corev1.Service) { slimService(svc, scope) }),
				UnsafeDisableDeepCopy: shared,
			},
			&PackedSlice{}: {
				Label:                 labels.NewSelector().Add(*notHeadless),
				Transform:             slim(func(s *PackedSlice) { s.tellTriggered(triggered) }),
				UnsafeDisableDeepCopy: shared,
			},
			&corev1.Node{}: {
				Field:                 fields.OneTermEqualSelector("metadata.name", node),
				Transform:             slim(slimNode),
				UnsafeDisableDeepCopy: shared,
			},
			&networkingv1.ServiceCIDR{}: {
				Transform:             slim(func(c *networkingv1.ServiceCIDR) { slimMeta(&c.ObjectMeta) }),
				UnsafeDisableDeepCopy: shared,
			},
		},
	}, nil
}

// Kinds is the REST mapping of what the caches read. If it were asked of the API
// server, as it is by default, there would be no start while that is away.
func Kinds(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	kinds := meta.NewDefaultRESTMapper(nil)
	kinds.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	kinds.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	kinds.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	kinds.Add(networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"), meta.RESTScopeRoot)
	return kinds, nil
}

// IndexFields prepares the look-up of a Service's EndpointSlices, as the cache's own
// IndexField would, and under the name that it would have there. But that has each
// entry twice, once for look-ups in all namespaces, which nobody makes: 4 MB with
// 10 000 Services.
func IndexFields(ctx context.Context, informers cache.Informers) error {
	informer, err := informers.GetInformer(ctx, &PackedSlice{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	return informer.AddIndexers(toolscache.Indexers{"field:" + serviceIndex: func(o any) ([]string, error) {
		slice, ok := o.(*PackedSlice)
		if !ok || slice.service == "" {
			return nil, nil
		}
		return []string{slice.Namespace + "/" + slice.service}, nil
	}})
}

// slim makes a function on one kind a cache transformation.
func slim[T any](f func(T)) func(any) (any, error) {
	return func(object any) (any, error) {
		if o, ok := object.(T); ok {
			f(o)
		}
		return object, nil
	}
}

// slimMeta keeps an object's identity and those labels.
func slimMeta(m *metav1.ObjectMeta, keep ...string) {
	var kept map[string]string
	for _, key := range keep {
		if value, ok := m.Labels[key]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	*m = metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, Labels: kept,
	}
}

// slimService drops what no packet depends on, and all of a Service that is
// another proxy's.
func slimService(svc *corev1.Service, scope proxy.Scope) {
	slimMeta(&svc.ObjectMeta, proxy.LabelProxyName, proxy.LabelServe)
	ours := proxy.Handles(svc, scope)
	if !ours {
		// What says that it is not ours.
		svc.Spec = corev1.ServiceSpec{Type: svc.Spec.Type, ClusterIP: svc.Spec.ClusterIP}
	}
	svc.Spec.Selector = nil
	var balancers []corev1.LoadBalancerIngress
	for _, b := range svc.Status.LoadBalancer.Ingress {
		if b.IP != "" && ours {
			balancers = append(balancers, corev1.LoadBalancerIngress{IP: b.IP, IPMode: b.IPMode})
		}
	}
	svc.Status = corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: balancers}}
}

func slimNode(node *corev1.Node) {
	deleted := node.DeletionTimestamp
	slimMeta(&node.ObjectMeta, corev1.LabelTopologyZone)
	node.DeletionTimestamp = deleted
	var taints []corev1.Taint
	for _, t := range node.Spec.Taints {
		taints = append(taints, corev1.Taint{Key: t.Key})
	}
	node.Spec = corev1.NodeSpec{Taints: taints, PodCIDR: node.Spec.PodCIDR, PodCIDRs: node.Spec.PodCIDRs}
	node.Status = corev1.NodeStatus{Addresses: node.Status.Addresses}
}
