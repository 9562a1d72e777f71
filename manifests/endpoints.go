package manifests

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// endpoints is a v1 Endpoints, which older manifests have in place of EndpointSlices. Its
// Service is the one of its name.
type endpoints struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Subsets           []subset `json:"subsets"`
}

type subset struct {
	Addresses         []address      `json:"addresses"`
	NotReadyAddresses []address      `json:"notReadyAddresses"`
	Ports             []endpointPort `json:"ports"`
}

type address struct {
	IP        string                  `json:"ip"`
	Hostname  string                  `json:"hostname"`
	NodeName  *string                 `json:"nodeName"`
	TargetRef *corev1.ObjectReference `json:"targetRef"`
}

type endpointPort struct {
	Name        string          `json:"name"`
	Port        int32           `json:"port"`
	Protocol    corev1.Protocol `json:"protocol"`
	AppProtocol *string         `json:"appProtocol"`
}

// mirror makes EndpointSlices of the Endpoints whose Services have none, as the API
// server's controller does.
func (o *Objects) mirror() {
	mirrored := map[types.NamespacedName][]*discoveryv1.EndpointSlice{}
	for _, e := range o.endpoints {
		key := types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
		if len(o.Slices[key]) > 0 {
			o.PassedOver["Endpoints"]++
			continue
		}
		for i, s := range e.Subsets {
			for _, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
				if slice := s.slice(kind); len(slice.Endpoints) > 0 {
					slice.Namespace, slice.Name = e.Namespace, fmt.Sprintf("%s-%s-%d", e.Name, strings.ToLower(string(kind)), i)
					slice.Labels = map[string]string{discoveryv1.LabelServiceName: e.Name}
					mirrored[key] = append(mirrored[key], slice)
				}
			}
		}
	}
	for key, slices := range mirrored {
		o.Slices[key] = slices
	}
}

// slice is what a subset has of one family.
func (s *subset) slice(kind discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{AddressType: kind}
	for _, p := range s.Ports {
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	add := func(list []address, ready bool) {
		for _, a := range list {
			ip, err := netip.ParseAddr(a.IP)
			if is6 := err == nil && ip.Is6(); is6 != (kind == discoveryv1.AddressTypeIPv6) {
				continue
			}
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{a.IP}, NodeName: a.NodeName, TargetRef: a.TargetRef,
				Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			})
		}
	}
	add(s.Addresses, true)
	add(s.NotReadyAddresses, false)
	return slice
}
