package proxy_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// large is a Service, with one slice for each thousand endpoints.
func large(externalIPs, ports, endpoints int) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "large"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.1"}}}
	for i := range externalIPs {
		svc.Spec.ExternalIPs = append(svc.Spec.ExternalIPs, fmt.Sprintf("192.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	var slicePorts []discoveryv1.EndpointPort
	for i := range ports {
		name, number := fmt.Sprintf("p%d", i), int32(1+i)
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: name, Port: number})
		slicePorts = append(slicePorts, discoveryv1.EndpointPort{Name: &name, Port: &number})
	}
	var list []*discoveryv1.EndpointSlice
	for i := range endpoints {
		if i%1000 == 0 {
			list = append(list, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: slicePorts})
		}
		last := list[len(list)-1]
		last.Endpoints = append(last.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}})
	}
	return svc, list
}

// A Service that takes too many elements is refused by its objects alone, with the
// numbers, and keeps what it had; a plausible one never is.
func TestTooManyElements(t *testing.T) {
	node := proxy.Node{Name: "n", MaxElements: proxy.DefaultMaxElements, NodePorts: []netip.Addr{netip.MustParseAddr("10.240.0.11")}}
	for _, tc := range []struct {
		externalIPs, ports, endpoints int
		told                          string
	}{
		{0, 20, 10_000, ""},
		{11, 2, 10_000, ""},
		{1000, 100, 0, ""},
		{1000, 100, 1000, "1001 addresses, 100 ports and up to 1000 endpoints for each make some 100300200 map elements; one Service may have 250000 (maxServiceElements)"},
		{60_000, 1000, 100_000, "60001 addresses, 1000 ports and up to 100000 endpoints for each make some 6000220002000 map elements"},
		{200_000, 1, 0, "make some 400002 map elements"},
	} {
		svc, list := large(tc.externalIPs, tc.ports, tc.endpoints)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		model, problems := proxy.Build(svc, list, node)
		runtime.ReadMemStats(&after)
		if tc.told == "" {
			if len(problems) > 0 || model.Unread != nil || len(model.Ports) == 0 {
				t.Errorf("%+v: the problems are %v", tc, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Reason != "TooManyElements" || problems[0].Warning || !strings.Contains(problems[0].Message, tc.told) {
			t.Errorf("%+v: the problems are %v", tc, problems)
		}
		if model.Unread == nil || !model.Unread.All || len(model.Ports) > 0 {
			t.Errorf("%+v: of %d ports, %+v is unread", tc, len(model.Ports), model.Unread)
		}
		if made := after.TotalAlloc - before.TotalAlloc; made > 1<<20 {
			t.Errorf("%+v: to refuse it took %d bytes", tc, made)
		}
	}
}

// The number that is told is about what is made.
func TestElementsAreCounted(t *testing.T) {
	svc, list := large(9, 3, 70)
	node := proxy.Node{Name: "n", MaxElements: 1}
	_, problems := proxy.Build(svc, list, node)
	node.MaxElements = 0
	model, _ := proxy.Build(svc, list, node)
	n := 0
	for _, p := range model.Ports {
		n += len(p.Frontends) * (2 + len(p.Endpoints))
	}
	if want := fmt.Sprintf("make some %d map elements", n); len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
		t.Errorf("the problems are %v, want %q", problems, want)
	}
}
