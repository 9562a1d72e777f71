package proxy

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

const (
	// LabelProxyName on a Service names the proxy that serves it, in place of
	// the cluster's default one.
	LabelProxyName = "service.kubernetes.io/service-proxy-name"
	// ProxyName is ours.
	ProxyName = "kube-verdict"
	// LabelServe, with the value "true", has us serve a Service besides the proxy
	// that serves it now, in ScopeLabelled. That proxy knows nothing of the label:
	// with it, a Service goes from one to the other without a moment in between.
	LabelServe = "kubeverdict.io/serve"
)

// Scope says which Services are ours.
type Scope string

const (
	// ScopeShadow has the Services of ScopeAll, but packets pass by them: another
	// proxy serves.
	ScopeShadow Scope = "shadow"
	// ScopeLabelled has the Services that name us as their proxy, or want us
	// besides; another proxy serves the rest.
	ScopeLabelled Scope = "labelled"
	// ScopeAll has all Services but those that name another proxy.
	ScopeAll Scope = "all"
)

// Scopes are all of them.
func Scopes() []Scope { return []Scope{ScopeShadow, ScopeLabelled, ScopeAll} }

// Validate says what is wrong with a scope.
func (s Scope) Validate() error {
	for _, known := range Scopes() {
		if s == known {
			return nil
		}
	}
	return fmt.Errorf("scope %q: must be one of %s, %s and %s", string(s), ScopeShadow, ScopeLabelled, ScopeAll)
}

// Handles says whether a Service's traffic is ours: it has a virtual address, and
// its label, or that it has none, puts it into the scope. A Service of type
// ClusterIP without a cluster IP is ours to complain of; the API server has none
// such.
func Handles(svc *corev1.Service, scope Scope) bool {
	switch name, named := svc.Labels[LabelProxyName]; {
	case named && name != ProxyName:
		return false
	case !named && scope == ScopeLabelled && svc.Labels[LabelServe] != "true":
		return false
	}
	return HasAddress(svc)
}

// HasAddress says that a Service has a virtual address, which some proxy serves.
func HasAddress(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP != corev1.ClusterIPNone
}
