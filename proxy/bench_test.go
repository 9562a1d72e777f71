package proxy_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// BenchmarkBuild is the time from a Service and its EndpointSlices to the model.
func BenchmarkBuild(b *testing.B) {
	for _, endpoints := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			svc := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
				Spec: corev1.ServiceSpec{
					ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
					Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
				},
			}
			slices := slicesOf(endpoints)
			b.ReportAllocs()
			for b.Loop() {
				if _, problems := proxy.Build(svc, slices, here); len(problems) > 0 {
					b.Fatal(problems)
				}
			}
		})
	}
}

// slicesOf are as a controller writes them: 100 endpoints in each.
func slicesOf(endpoints int) (slices []*discoveryv1.EndpointSlice) {
	name, port, yes, no := "http", int32(8080), true, false
	for e := range endpoints {
		if e%100 == 0 {
			slices = append(slices, &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprintf("web-%d", e/100)},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
			})
		}
		slice, node := slices[len(slices)-1], fmt.Sprintf("node-%d", e%50)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.128.%d.%d", e/250, e%250)},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			NodeName:   &node,
		})
	}
	return slices
}
