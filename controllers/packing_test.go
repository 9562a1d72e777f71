package controllers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// What is packed is read again as it was, whatever is said or not.
func TestPackedSlicesAreReadAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := randomSlice(r)
		if got := packedAndUnpacked(t, want); !reflect.DeepEqual(got, want) {
			t.Fatalf("read again:\n%+v\npacked:\n%+v", got, want)
		}
	}
}

func packedAndUnpacked(t *testing.T, slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	t.Helper()
	packed, err := Pack(slice)
	if err != nil {
		t.Fatal(err)
	}
	out, err := packed.Unpack()
	if err != nil {
		t.Fatalf("%v of\n%+v", err, slice)
	}
	return out
}

// What no packet depends on is passed over, wherever it is.
func TestTheRestIsPassedOver(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		want := randomSlice(r)
		whole := want.DeepCopy()
		whole.UID, whole.Generation, whole.CreationTimestamp = "uid", 7, metav1.NewTime(time.Unix(1e9, 0))
		whole.OwnerReferences = []metav1.OwnerReference{{Kind: "Service", Name: "web", Controller: ptr.To(true)}}
		whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "someone", FieldsV1: metav1.NewFieldsV1("{}")}}
		whole.Labels["other"] = "label"
		for i := range whole.Ports {
			whole.Ports[i].AppProtocol = ptr.To("h2c")
		}
		for i := range whole.Endpoints {
			e := &whole.Endpoints[i]
			e.Hostname, e.Zone, e.TargetRef = ptr.To("host"), ptr.To("zone"), &corev1.ObjectReference{Kind: "Pod", Name: "pod"}
			e.DeprecatedTopology = map[string]string{"a": "b"}
			if len(e.Addresses) > 0 {
				e.Addresses = append(e.Addresses, "192.0.2.1")
			}
		}
		if got := packedAndUnpacked(t, whole); !reflect.DeepEqual(got, want) {
			t.Fatalf("read:\n%+v\nwant:\n%+v", got, want)
		}
	}
}

// Slices come out the same however the API server encodes them, one by one and as a list.
func TestEncodings(t *testing.T) {
	ours := runtime.NewScheme()
	if err := AddToScheme(ours); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(9, 10))
	list := &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: "7", Continue: "more"}}
	var want []PackedSlice
	for range 20 {
		slice := randomSlice(r)
		slice.Annotations = map[string]string{
			corev1.EndpointsLastChangeTriggerTime: "2026-11-24T12:00:00Z",
			metav1.InitialEventsAnnotationKey:     "true", // read by who reads the watch
		}
		list.Items = append(list.Items, *slice)
		packed, err := Pack(slice)
		if err != nil {
			t.Fatal(err)
		}
		if packed.Annotations[metav1.InitialEventsAnnotationKey] != "true" || packed.triggered == "" {
			t.Fatalf("the annotations are not kept: %+v", packed)
		}
		want = append(want, *packed)
	}
	for _, media := range serializer.NewCodecFactory(scheme.Scheme).SupportedMediaTypes() {
		if media.MediaType == runtime.ContentTypeYAML {
			continue // which the API server is not asked for
		}
		encoder := serializer.NewCodecFactory(scheme.Scheme).EncoderForVersion(media.Serializer, discoveryv1.SchemeGroupVersion)
		decode := func(object runtime.Object) runtime.Object {
			text, err := runtime.Encode(encoder, object)
			if err != nil {
				t.Fatalf("%s: %v", media.MediaType, err)
			}
			decoded, _, err := serializer.WithoutConversionCodecFactory{CodecFactory: serializer.NewCodecFactory(ours)}.
				UniversalDeserializer().Decode(text, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", media.MediaType, err)
			}
			return decoded
		}
		one := decode(&list.Items[0]).(*PackedSlice)
		one.TypeMeta = metav1.TypeMeta{}
		if !reflect.DeepEqual(one, &want[0]) {
			t.Errorf("%s is read as\n%+v\nwant\n%+v", media.MediaType, one, want[0])
		}
		all := decode(list).(*PackedSliceList)
		for i := range all.Items {
			all.Items[i].TypeMeta = metav1.TypeMeta{}
		}
		if all.ListMeta.ResourceVersion != "7" || all.ListMeta.Continue != "more" || !reflect.DeepEqual(all.Items, want) {
			t.Errorf("%s: the list is read as\n%+v", media.MediaType, all)
		}
		if !reflect.DeepEqual(all.DeepCopyObject(), runtime.Object(all)) || !reflect.DeepEqual(one.DeepCopyObject(), runtime.Object(one)) {
			t.Errorf("%s: copies differ", media.MediaType)
		}
	}
}

// When endpoints changed is told once, and not kept.
func TestWhenEndpointsChangedIsTold(t *testing.T) {
	slice := randomSlice(rand.New(rand.NewPCG(1, 1)))
	slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-11-24T12:00:00.5Z", "other": "annotation"}
	packed, err := Pack(slice)
	if err != nil {
		t.Fatal(err)
	}
	var told []time.Time
	for range 2 {
		packed.tellTriggered(func(name proxy.Name, at time.Time) {
			if name != (proxy.Name{Namespace: "ns", Name: "web"}) {
				t.Errorf("it is told of %s", name)
			}
			told = append(told, at)
		})
	}
	if want := time.Date(2026, 11, 24, 12, 0, 0, 5e8, time.UTC); len(told) != 1 || !told[0].Equal(want) {
		t.Errorf("told %v, want once %v", told, want)
	}
	if packed.Annotations != nil {
		t.Errorf("%v is kept", packed.Annotations)
	}
}

func TestJSONThatIsNone(t *testing.T) {
	var slice PackedSlice
	if err := json.Unmarshal([]byte(`{"endpoints": "none"}`), &slice); err == nil {
		t.Error("it was read")
	}
}

// What was cut off or changed is told, or read as something else; it is never read
// beyond its end.
func FuzzReadSlice(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		packed, err := Pack(randomSlice(r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed.content)
		f.Add(packed.content[:len(packed.content)-1])
		f.Add(packed.content + "\x00")
	}
	f.Add(strings.Repeat("\xff", 40))
	f.Fuzz(func(t *testing.T, content string) {
		var first, again discoveryv1.EndpointSlice
		if readSlice(content, &first) != nil {
			return
		}
		packed, err := Pack(&first)
		if err != nil {
			t.Fatal(err)
		}
		if err := readSlice(packed.content, &again); err != nil || !reflect.DeepEqual(first, again) {
			t.Errorf("%q is read as\n%+v\nand, packed again, %v\n%+v", content, first, err, again)
		}
	})
}

// Whatever comes is refused or kept so that it can be read; what the API's own type
// would write is kept as that type reads it.
func FuzzUnmarshal(f *testing.F) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 20 {
		message, err := randomSlice(r).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
		f.Add(message[:len(message)/2])
	}
	// An endpoint that is ready, and then not.
	f.Add([]byte{2<<3 | 2, 6, 2<<3 | 2, 4, 1 << 3, 1, 1 << 3, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		var packed PackedSlice
		err := packed.Unmarshal(message)
		if err == nil {
			if _, err := packed.Unpack(); err != nil {
				t.Errorf("%x was packed and can't be read: %v", message, err)
			}
		}
		var slice discoveryv1.EndpointSlice
		if slice.Unmarshal(message) != nil {
			return
		}
		written, wrong := slice.Marshal()
		if wrong != nil || !bytes.Equal(written, message) {
			return // nobody would write it so
		}
		if err != nil {
			t.Fatalf("%x is refused: %v", message, err)
		}
		got, err := packed.Unpack()
		if want := kept(&slice); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%x is read as\n%+v\nby the API's own type as\n%+v", message, got, want)
		}
	})
}

// kept is what packets depend on in an EndpointSlice.
func kept(slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: slice.Namespace, Name: slice.Name, ResourceVersion: slice.ResourceVersion,
			Labels: map[string]string{discoveryv1.LabelServiceName: slice.Labels[discoveryv1.LabelServiceName]},
		},
		AddressType: slice.AddressType, Endpoints: []discoveryv1.Endpoint{},
	}
	for _, p := range slice.Ports {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	for _, e := range slice.Endpoints {
		var addresses []string
		if len(e.Addresses) > 0 {
			addresses = e.Addresses[:1]
		}
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: addresses, Conditions: e.Conditions, NodeName: e.NodeName, Hints: e.Hints})
	}
	return out
}

func TestCutSlicesAreTold(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	packed, err := Pack(randomSlice(r))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(packed.content) {
		if err := readSlice(packed.content[:n], &discoveryv1.EndpointSlice{}); err == nil {
			t.Errorf("the first %d of %d bytes were read", n, len(packed.content))
		}
	}
	if err := readSlice(packed.content+"\x00", &discoveryv1.EndpointSlice{}); err == nil {
		t.Error("a byte too many was read")
	}
}

func randomSlice(r *rand.Rand) *discoveryv1.EndpointSlice {
	text := func() string { return strings.Repeat("x", r.IntN(200)*r.IntN(2)) + string(rune('a'+r.IntN(26))) }
	maybe := func() *string {
		if r.IntN(3) == 0 {
			return nil
		}
		return ptr.To(text()[r.IntN(2):])
	}
	said := func() *bool { return []*bool{nil, ptr.To(true), ptr.To(false)}[r.IntN(3)] }
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: text(), ResourceVersion: text(), Labels: map[string]string{discoveryv1.LabelServiceName: "web"},
		},
		AddressType: discoveryv1.AddressType(text()), Endpoints: make([]discoveryv1.Endpoint, r.IntN(20)),
	}
	for range r.IntN(4) {
		port := discoveryv1.EndpointPort{Name: maybe(), Protocol: (*corev1.Protocol)(maybe())}
		if r.IntN(3) > 0 {
			port.Port = ptr.To(int32(r.Uint32()))
		}
		s.Ports = append(s.Ports, port)
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if address := maybe(); address != nil {
			e.Addresses = []string{*address}
		}
		e.NodeName = maybe()
		e.Conditions = discoveryv1.EndpointConditions{Ready: said(), Serving: said(), Terminating: said()}
		if r.IntN(3) == 0 {
			e.Hints = &discoveryv1.EndpointHints{}
			for range r.IntN(3) {
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: text()})
			}
			for range r.IntN(3) {
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: text()})
			}
		}
	}
	return s
}

// BenchmarkSlice is what reading an EndpointSlice of 10 endpoints costs, by the API's own
// type and by ours, and what the model takes of the cache.
func BenchmarkSlice(b *testing.B) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web-abcde", UID: "00000000-0000-0000-0000-000000000000", ResourceVersion: "123456",
			Labels: map[string]string{discoveryv1.LabelServiceName: "web", discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(8080)), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for i := range 10 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.128.3.%d", 10+i)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
			NodeName:   ptr.To("worker-1"),
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: fmt.Sprintf("web-%d", i), UID: slice.UID},
		})
	}
	message, err := slice.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	packed, err := Pack(slice)
	if err != nil {
		b.Fatal(err)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"read/generated", func() error { return new(discoveryv1.EndpointSlice).Unmarshal(message) }},
		{"read/packed", func() error { return new(PackedSlice).Unmarshal(message) }},
		{"unpack", func() error { _, err := packed.Unpack(); return err }},
	} {
		b.Run(step.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := step.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
