package proxy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// DefaultMaxElements is how many map elements one Service may take: 10 000 endpoints
// at 25 frontends, a frontend being an address and port.
const DefaultMaxElements = 250_000

// size is about how much one Service is in the tables, as it is written: nothing is made
// yet. Addresses and endpoints are by family, IPv4 first.
type size struct {
	addresses [2]int64 // of all ports
	nodes     [2]int64 // of ports with a NodePort
	balancers [2]int64
	ranges    int64
	endpoints map[portKey][2]int64
	local     map[portKey][2]int64
}

// portKey is what endpoints belong to a Service port by.
type portKey struct {
	name     string
	protocol corev1.Protocol
}

// sizeOf measures a Service. It takes as long as it takes to read its objects once.
func sizeOf(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node) size {
	s := size{endpoints: map[portKey][2]int64{}, local: map[portKey][2]int64{}, ranges: int64(len(svc.Spec.LoadBalancerSourceRanges))}
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	for _, texts := range [][]string{ips, svc.Spec.ExternalIPs} {
		for _, text := range texts {
			s.addresses[familyOf(text)]++
		}
	}
	for i := range svc.Status.LoadBalancer.Ingress {
		if ip := svc.Status.LoadBalancer.Ingress[i].IP; ip != "" {
			s.addresses[familyOf(ip)]++
			s.balancers[familyOf(ip)]++
		}
	}
	for _, addr := range node.NodePorts {
		s.nodes[familyOf(addr.String())]++
	}
	for _, slice := range endpointSlices {
		s.add(slice, node)
	}
	return s
}

// familyOf is the index of the family that an address is of.
func familyOf(text string) int {
	if strings.Contains(text, ":") {
		return 1
	}
	return 0
}

// add counts a slice's endpoints.
func (s *size) add(slice *discoveryv1.EndpointSlice, node Node) {
	family := 0
	if slice.AddressType == discoveryv1.AddressTypeIPv6 {
		family = 1
	}
	local := int64(0)
	for i := range slice.Endpoints {
		if e := &slice.Endpoints[i]; e.NodeName == nil || *e.NodeName == node.Name {
			local++
		}
	}
	for i := range slice.Ports {
		key := portKey{protocol: corev1.ProtocolTCP}
		if name := slice.Ports[i].Name; name != nil {
			key.name = *name
		}
		if protocol := slice.Ports[i].Protocol; protocol != nil {
			key.protocol = *protocol
		}
		all, here := s.endpoints[key], s.local[key]
		all[family] += int64(len(slice.Endpoints))
		here[family] += local
		s.endpoints[key], s.local[key] = all, here
	}
}

// elements is about how many elements the Service takes.
func (s *size) elements(svc *corev1.Service) int64 {
	n := int64(0)
	local := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		key := portKey{p.Name, p.Protocol}
		if key.protocol == "" {
			key.protocol = corev1.ProtocolTCP
		}
		all, here := s.endpoints[key], s.local[key]
		for family := range s.addresses {
			frontends := s.addresses[family]
			if p.NodePort != 0 {
				frontends += s.nodes[family]
			}
			of := 2 + all[family]
			if local {
				of += here[family]
			}
			n += frontends*of + s.balancers[family]*s.ranges
		}
	}
	return n
}

// largest is the greatest number of endpoints that a port has.
func (s *size) largest() int64 {
	most := int64(0)
	for _, n := range s.endpoints {
		most = max(most, n[0]+n[1])
	}
	return most
}

// tooLarge reports whether the Service would take more elements than one may. It keeps
// what it had then: of it, nothing is made.
func (b *builder) tooLarge(endpointSlices []*discoveryv1.EndpointSlice) bool {
	bound := int64(b.node.MaxElements)
	if bound == 0 {
		return false
	}
	s := sizeOf(b.svc, endpointSlices, b.node)
	n := s.elements(b.svc)
	if n <= bound {
		return false
	}
	b.leaveOut(ReasonTooLarge, "spec",
		"%d addresses, %d ports and up to %d endpoints for each make some %d map elements; one Service may have %d (maxServiceElements). What was programmed of it before stays: use fewer, or several Services",
		s.addresses[0]+s.addresses[1], len(b.svc.Spec.Ports), s.largest(), n, bound)
	return true
}
