package controllers

import (
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// slicer packs EndpointSlices. They are most of what the cache holds, and as Go's
// objects they take eight times the memory of their packing.
//
// The cache wants EndpointSlices, so it gets some that have their identity, and the
// rest in fields that the API server leaves empty: the encoding in selfLink, and the
// Service's name, which is asked for without the rest, in generateName.
type slicer struct {
	// triggered is told when a Service's endpoints changed, as the EndpointSlice
	// controller notes it.
	triggered func(proxy.Name, time.Time)

	mu         sync.Mutex
	namespaces map[string]string
}

func newSlicer(triggered func(proxy.Name, time.Time)) *slicer {
	return &slicer{triggered: triggered, namespaces: map[string]string{}}
}

// packedMark begins the encoding; no selfLink ever did.
const packedMark = "\x00"

func packed(slice *discoveryv1.EndpointSlice) bool {
	return strings.HasPrefix(*encoding(&slice.ObjectMeta), packedMark)
}

// encoding is the field for it.
func encoding(m *metav1.ObjectMeta) *string {
	//lint:ignore SA1019 It is free because nobody fills it any more.
	return &m.SelfLink
}

// pack makes of an EndpointSlice what the cache keeps.
func (s *slicer) pack(slice *discoveryv1.EndpointSlice) {
	if packed(slice) {
		return
	}
	name := strings.Clone(slice.Labels[discoveryv1.LabelServiceName])
	if at, err := time.Parse(time.RFC3339Nano, slice.Annotations[corev1.EndpointsLastChangeTriggerTime]); err == nil {
		s.triggered(proxy.Name{Namespace: slice.Namespace, Name: name}, at)
	}
	var room [512]byte // most need no more
	content := string(appendSlice(append(room[:0], packedMark...), slice))
	*slice = discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace(slice.Namespace), Name: slice.Name, ResourceVersion: slice.ResourceVersion,
		GenerateName: name,
	}}
	*encoding(&slice.ObjectMeta) = content
}

// Unpack is an EndpointSlice of the cache as the model is built from it.
func Unpack(slice *discoveryv1.EndpointSlice) (*discoveryv1.EndpointSlice, error) {
	if !packed(slice) {
		return slice, nil
	}
	out := &discoveryv1.EndpointSlice{}
	if err := readSlice((*encoding(&slice.ObjectMeta))[len(packedMark):], out); err != nil {
		return nil, fmt.Errorf("EndpointSlice %s/%s: read it from the cache: %w", slice.Namespace, slice.Name, err)
	}
	out.ObjectMeta = metav1.ObjectMeta{
		Namespace: slice.Namespace, Name: slice.Name, ResourceVersion: slice.ResourceVersion,
		Labels: map[string]string{discoveryv1.LabelServiceName: slice.GenerateName},
	}
	return out, nil
}

// serviceNameOf is the name of the Service that an EndpointSlice of the cache
// belongs to, if it does.
func serviceNameOf(slice *discoveryv1.EndpointSlice) string {
	if packed(slice) {
		return slice.GenerateName
	}
	return slice.Labels[discoveryv1.LabelServiceName]
}

// maxNamespaces bounds the names that are kept to be shared.
const maxNamespaces = 1 << 14

// namespace is the name as other slices have it, so that it is there once.
func (s *slicer) namespace(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared, ok := s.namespaces[name]
	if !ok {
		if len(s.namespaces) == maxNamespaces {
			clear(s.namespaces)
		}
		shared = name
		s.namespaces[name] = shared
	}
	return shared
}
