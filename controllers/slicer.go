package controllers

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// slicer slims EndpointSlices. They are most of what the cache holds, and most
// of an endpoint is the same as in thousands of others: the name of its node, and
// the conditions. These are kept once.
type slicer struct {
	// triggered is told when a Service's endpoints changed, as the EndpointSlice
	// controller notes it.
	triggered func(proxy.Name, time.Time)

	mu      sync.Mutex
	strings map[string]*string
	yes, no *bool
}

func newSlicer(triggered func(proxy.Name, time.Time)) *slicer {
	return &slicer{triggered: triggered, strings: map[string]*string{}, yes: ptr.To(true), no: ptr.To(false)}
}

// maxShared bounds the strings that are kept: far more than the nodes of a
// cluster.
const maxShared = 1 << 16

func (s *slicer) slim(slice *discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, err := time.Parse(time.RFC3339Nano, slice.Annotations[corev1.EndpointsLastChangeTriggerTime]); err == nil {
		s.triggered(proxy.Name{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}, at)
	}
	slimMeta(&slice.ObjectMeta, discoveryv1.LabelServiceName)
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		*e = discoveryv1.Endpoint{
			Addresses: e.Addresses[:min(1, len(e.Addresses))],
			Conditions: discoveryv1.EndpointConditions{
				Ready:       s.bool(e.Conditions.Ready),
				Serving:     s.bool(e.Conditions.Serving),
				Terminating: s.bool(e.Conditions.Terminating),
			},
			NodeName: s.string(e.NodeName),
			Hints:    e.Hints,
		}
	}
}

func (s *slicer) bool(b *bool) *bool {
	switch {
	case b == nil:
		return nil
	case *b:
		return s.yes
	}
	return s.no
}

func (s *slicer) string(v *string) *string {
	if v == nil {
		return nil
	}
	if shared := s.strings[*v]; shared != nil {
		return shared
	}
	if len(s.strings) == maxShared {
		clear(s.strings)
	}
	s.strings[*v] = v
	return v
}
