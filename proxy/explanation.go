package proxy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Explanation is what Build made of each endpoint, and why.
type Explanation struct {
	// Ports has an entry for each Service port and family.
	Ports []PortExplanation
	// LeftOut are the endpoints that can't be any port's.
	LeftOut []EndpointExplanation
}

// PortExplanation is one Service port in one family.
type PortExplanation struct {
	Name     string
	Protocol Protocol
	Port     uint16
	NodePort uint16 // 0 for none
	IPv4     bool
	// ByNode and ByZone say that hints for nodes or zones narrow the choice down.
	ByNode, ByZone bool
	// Endpoints are all of them, sorted by their "ip:port" text.
	Endpoints []EndpointExplanation
}

// EndpointExplanation is one endpoint as a slice has it, and why it gets traffic
// or none.
type EndpointExplanation struct {
	Origin
	// Endpoint is what it was read as; not valid if it could not be.
	Endpoint
	// Cluster and Local are its reasons under the two traffic policies.
	Cluster, Local Reason
	// Detail says more about an invalid one.
	Detail string
}

// Origin is where an endpoint comes from.
type Origin struct {
	Slice *discoveryv1.EndpointSlice
	Index int
}

// Object is the endpoint in its slice.
func (o Origin) Object() *discoveryv1.Endpoint { return &o.Slice.Endpoints[o.Index] }

// Explain is Build, together with its reasons.
func Explain(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node) (Service, Explanation, []Problem) {
	e := &explainer{twice: map[backendKey][]candidate{}, out: map[int32]bool{}}
	model, problems := build(svc, endpointSlices, node, e)
	e.otherFamilies()
	return model, e.Explanation, problems
}

// explainer collects an Explanation while a Service is built. A nil one collects
// nothing and costs nothing.
type explainer struct {
	Explanation
	origins []Origin
	twice   map[backendKey][]candidate
	out     map[int32]bool // origins that are left out
}

// origin notes where an endpoint comes from, and gives its number.
func (e *explainer) origin(slice *discoveryv1.EndpointSlice, i int) int32 {
	if e == nil {
		return 0
	}
	e.origins = append(e.origins, Origin{slice, i})
	return int32(len(e.origins) - 1)
}

// explainLeftOut notes an endpoint that can't be any port's.
func (e *explainer) explainLeftOut(origin int32, reason Reason, detail string) {
	if e != nil {
		e.out[origin] = true
		e.LeftOut = append(e.LeftOut, EndpointExplanation{Origin: e.origins[origin], Cluster: reason, Local: reason, Detail: detail})
	}
}

// explainSlice notes that about all endpoints of a slice.
func (e *explainer) explainSlice(slice *discoveryv1.EndpointSlice, reason Reason) {
	if e == nil {
		return
	}
	for i := range slice.Endpoints {
		e.explainLeftOut(e.origin(slice, i), reason, string(slice.AddressType))
	}
}

// explainTwice notes an endpoint that is there twice and goes.
func (e *explainer) explainTwice(key backendKey, c candidate) {
	if e != nil {
		e.twice[key] = append(e.twice[key], c)
	}
}

// explainPort notes the endpoints of a port, as they are chosen from.
func (e *explainer) explainPort(p Port, nodePort uint16, key backendKey, candidates []candidate, s choice) {
	if e == nil {
		return
	}
	port := PortExplanation{Name: p.Name, Protocol: p.Protocol, Port: p.Port, NodePort: nodePort, IPv4: key.is4, ByNode: s.byNode, ByZone: s.byZone}
	has := map[int32]bool{}
	add := func(c *candidate, cluster, local Reason) {
		has[c.origin] = true
		port.Endpoints = append(port.Endpoints, EndpointExplanation{Origin: e.origins[c.origin], Endpoint: c.Endpoint, Cluster: cluster, Local: local})
	}
	for i := range candidates {
		add(&candidates[i], s.underCluster(&candidates[i]), s.underLocal(&candidates[i]))
	}
	for i := range e.twice[key] {
		add(&e.twice[key][i], Twice, Twice)
	}
	slices.SortStableFunc(port.Endpoints, func(a, b EndpointExplanation) int { return compareText(a.AddrPort, b.AddrPort) })
	for i, o := range e.origins {
		if is4 := o.Slice.AddressType == discoveryv1.AddressTypeIPv4; !has[int32(i)] && is4 == key.is4 && !e.out[int32(i)] {
			addr, _, _ := ParseAddr(o.Object().Addresses[0])
			port.Endpoints = append(port.Endpoints, EndpointExplanation{
				Origin: o, Endpoint: Endpoint{AddrPort: netip.AddrPortFrom(addr, 0)}, Cluster: OtherPort, Local: OtherPort,
			})
		}
	}
	e.Ports = append(e.Ports, port)
}

// otherFamilies leaves out the endpoints of families that the Service has not.
func (e *explainer) otherFamilies() {
	for i, o := range e.origins {
		is4 := o.Slice.AddressType == discoveryv1.AddressTypeIPv4
		if !e.out[int32(i)] && !slices.ContainsFunc(e.Ports, func(p PortExplanation) bool { return p.IPv4 == is4 }) {
			e.explainLeftOut(int32(i), OtherFamily, string(o.Slice.AddressType))
		}
	}
}
