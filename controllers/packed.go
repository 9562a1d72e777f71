package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// AddToScheme adds the types in which this package reads the API: EndpointSlices as
// PackedSlices, and the others as they are.
func AddToScheme(scheme *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	version := discoveryv1.SchemeGroupVersion
	scheme.AddKnownTypeWithName(version.WithKind("EndpointSlice"), &PackedSlice{})
	scheme.AddKnownTypeWithName(version.WithKind("EndpointSliceList"), &PackedSliceList{})
	metav1.AddToGroupVersion(scheme, version)
	return nil
}

// PackedSlice is an EndpointSlice as it is read and kept: its identity, and what packets
// depend on in a text of bytes. EndpointSlices are most of what comes from the API server,
// and of what the cache holds; as Go's objects they take eight times the memory, and most of
// the time of a start would be spent on making them.
type PackedSlice struct {
	metav1.TypeMeta
	// ObjectMeta has the namespace, the name and the resource version, and the annotations
	// until the cache has it.
	metav1.ObjectMeta
	// service is the name of the Service that the slice belongs to.
	service string
	content string
	// triggered is the annotation that says when the endpoints changed; the cache keeps
	// none.
	triggered string
}

// PackedSliceList is a list of them.
type PackedSliceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []PackedSlice `json:"items"`
}

// Reset is called by decoders.
func (s *PackedSlice) Reset() { *s = PackedSlice{} }

// Reset is called by decoders.
func (l *PackedSliceList) Reset() { *l = PackedSliceList{} }

// DeepCopyObject makes PackedSlice an object of the API.
func (s *PackedSlice) DeepCopyObject() runtime.Object {
	c := *s
	c.Annotations = maps.Clone(s.Annotations)
	return &c
}

// DeepCopyObject makes PackedSliceList an object of the API.
func (l *PackedSliceList) DeepCopyObject() runtime.Object {
	c := *l
	c.ListMeta = *l.ListMeta.DeepCopy()
	c.Items = make([]PackedSlice, len(l.Items))
	for i := range l.Items {
		c.Items[i] = *l.Items[i].DeepCopyObject().(*PackedSlice)
	}
	return &c
}

// Pack packs an EndpointSlice.
func Pack(slice *discoveryv1.EndpointSlice) (*PackedSlice, error) {
	message, err := slice.Marshal()
	if err != nil {
		return nil, fmt.Errorf("EndpointSlice %s/%s: %w", slice.Namespace, slice.Name, err)
	}
	packed := &PackedSlice{}
	return packed, packed.Unmarshal(message)
}

// UnmarshalJSON is for servers that have no protobuf.
func (s *PackedSlice) UnmarshalJSON(text []byte) error {
	var slice discoveryv1.EndpointSlice
	if err := json.Unmarshal(text, &slice); err != nil {
		return err
	}
	packed, err := Pack(&slice)
	if err != nil {
		return err
	}
	*s, s.TypeMeta = *packed, slice.TypeMeta
	return nil
}

// Unpack is the EndpointSlice as the model is built from it.
func (s *PackedSlice) Unpack() (*discoveryv1.EndpointSlice, error) {
	out := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name, ResourceVersion: s.ResourceVersion,
		Labels: map[string]string{discoveryv1.LabelServiceName: s.service},
	}}
	if err := readSlice(s.content, out); err != nil {
		return nil, fmt.Errorf("EndpointSlice %s/%s: read it from the cache: %w", s.Namespace, s.Name, err)
	}
	return out, nil
}

// tellTriggered tells when the Service's endpoints changed, as the EndpointSlice controller
// notes it, and leaves it out.
func (s *PackedSlice) tellTriggered(triggered func(proxy.Name, time.Time)) {
	if s.triggered != "" {
		if at, err := time.Parse(time.RFC3339Nano, s.triggered); err == nil {
			triggered(proxy.Name{Namespace: s.Namespace, Name: s.service}, at)
		}
	}
	s.triggered, s.Annotations = "", nil
}
