package controllers

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// What is packed is read again as it was, whatever is said or not.
func TestPackedSlicesAreReadAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := randomSlice(r)
		var got discoveryv1.EndpointSlice
		if err := readSlice(string(appendSlice(nil, want)), &got); err != nil {
			t.Fatalf("%v of\n%+v", err, want)
		}
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("read again:\n%+v\npacked:\n%+v", got, want)
		}
	}
}

// What was cut off or changed is told, or read as something else; it is never read
// beyond its end.
func FuzzReadSlice(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		packed := string(appendSlice(nil, randomSlice(r)))
		f.Add(packed)
		f.Add(packed[:len(packed)-1])
		f.Add(packed + "\x00")
	}
	f.Add(strings.Repeat("\xff", 40))
	f.Fuzz(func(t *testing.T, packed string) {
		var first, again discoveryv1.EndpointSlice
		if readSlice(packed, &first) != nil {
			return
		}
		if err := readSlice(string(appendSlice(nil, &first)), &again); err != nil || !reflect.DeepEqual(first, again) {
			t.Errorf("%q is read as\n%+v\nand, packed again, %v\n%+v", packed, first, err, again)
		}
	})
}

func TestCutSlicesAreTold(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	packed := string(appendSlice(nil, randomSlice(r)))
	for n := range len(packed) {
		if err := readSlice(packed[:n], &discoveryv1.EndpointSlice{}); err == nil {
			t.Errorf("the first %d of %d bytes were read", n, len(packed))
		}
	}
	if err := readSlice(packed+"\x00", &discoveryv1.EndpointSlice{}); err == nil {
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
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressType(text()), Endpoints: make([]discoveryv1.Endpoint, r.IntN(20))}
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
