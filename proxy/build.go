package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Build makes the model of one Service that Handles says is ours, from all of
// its EndpointSlices. The result does not depend on the slices' order.
func Build(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node) (Service, []Problem) {
	return build(svc, endpointSlices, node, nil)
}

// build is Build, and explains itself if it is to.
func build(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node, explainer *explainer) (Service, []Problem) {
	var list []Problem
	b := builder{
		svc: svc, node: node, list: &list, reachable: map[claim]bool{}, explainer: explainer,
		problems: problems{kind: "Service", name: Name{svc.Namespace, svc.Name}, list: &list},
	}
	out := Service{Name: b.name, Created: svc.CreationTimestamp.Time}
	if b.tooLarge(endpointSlices) {
		out.Unread = &Unread{All: true}
		return out, list
	}
	ways := b.ways()
	affinity := b.affinity()
	local := slices.ContainsFunc(ways, func(w way) bool { return w.local })
	backends := b.backends(endpointSlices)
	seen, seenNodePorts := map[listener]int{}, map[listener]int{}
	for i := range svc.Spec.Ports {
		port, ok := b.port(i, seen)
		if !ok {
			continue
		}
		port.Affinity = affinity
		nodePort := b.nodePort(i, seenNodePorts)
		for _, is4 := range families(ways[0]) {
			key := backendKey{port.Name, port.Protocol, is4}
			candidates := backends[key]
			found := choose(candidates, local)
			b.explainPort(port, nodePort, key, candidates, found.choice)
			port.Lingering = nil
			if port.Protocol == UDP {
				port.Lingering = found.lingering(candidates)
			}
			for i := range ways {
				if p, ok := b.reached(&ways[i], port, nodePort, is4, found); ok {
					out.Ports = append(out.Ports, p)
				}
			}
		}
	}
	if out.HealthCheck = b.healthCheck(families(ways[0]), backends); out.HealthCheck.Port != 0 {
		out.HealthCheckAddrs = node.NodePorts
	}
	b.end("spec")
	if b.unread.any() {
		out.Unread = b.unread.beside(ways, seen, seenNodePorts)
	}
	return out, list
}

// families are those of the Service: the ones that it has a ClusterIP in, IPv4
// first.
func families(internal way) []bool {
	var is4 []bool
	for _, f := range internal.frontends {
		is4 = append(is4, f.Addr.Is4())
	}
	return is4
}

// builder is one run of Build.
type builder struct {
	problems
	*explainer // nil if there is nothing to explain
	svc        *corev1.Service
	node       Node
	list       *[]Problem
	// reachable are the frontends so far.
	reachable map[claim]bool
	// unread is what could not be understood.
	unread Unread
}

// leaveOut notes what is left out and was understood.
func (b *builder) leaveOut(reason, field, format string, args ...any) {
	b.add(false, reason, field, format, args...)
}

// listener is what can be only once in a Service.
type listener struct {
	protocol Protocol
	port     uint16
}

// port reads the i-th port of the Service.
func (b *builder) port(i int, seen map[listener]int) (Port, bool) {
	p := &b.svc.Spec.Ports[i]
	field := func(part string) string { return fmt.Sprintf("spec.ports[%d]%s", i, part) }
	protocol, ok := parseProtocol(p.Protocol)
	if !ok {
		b.unread.Ports = append(b.unread.Ports, p.Name)
		b.leaveOut(ReasonUnknownProto, field(".protocol"), "%q is not TCP, UDP or SCTP; the port is left out", p.Protocol)
		return Port{}, false
	}
	if p.Port < 1 || p.Port > 65535 {
		b.unread.Ports = append(b.unread.Ports, p.Name)
		b.leaveOut(ReasonInvalidPort, field(".port"), "%d is not a port number from 1 to 65535; the port is left out", p.Port)
		return Port{}, false
	}
	at := listener{protocol, uint16(p.Port)}
	if first, twice := seen[at]; twice {
		b.leaveOut(ReasonDuplicatePort, field(""), "%s port %d is spec.ports[%d] already, which stays; remove one of them", cmp.Or(p.Protocol, corev1.ProtocolTCP), p.Port, first)
		return Port{}, false
	}
	seen[at] = i
	return Port{Name: p.Name, Protocol: protocol, Port: at.port}, true
}

// parseProtocol reads a protocol; none means TCP, as the API server has it.
func parseProtocol(p corev1.Protocol) (Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return TCP, true
	case corev1.ProtocolUDP:
		return UDP, true
	case corev1.ProtocolSCTP:
		return SCTP, true
	}
	return 0, false
}

// nodePort reads the i-th port's NodePort, 0 if it has none.
func (b *builder) nodePort(i int, seen map[listener]int) uint16 {
	p := &b.svc.Spec.Ports[i]
	if p.NodePort == 0 {
		return 0
	}
	field := func() string { return fmt.Sprintf("spec.ports[%d].nodePort", i) }
	if p.NodePort < 1 || p.NodePort > 65535 {
		b.unread.NodePorts = append(b.unread.NodePorts, p.Name)
		b.leaveOut(ReasonInvalidPort, field(), "%d is not a port number from 1 to 65535; the NodePort is left out", p.NodePort)
		return 0
	}
	protocol, _ := parseProtocol(p.Protocol)
	at := listener{protocol, uint16(p.NodePort)}
	if first, twice := seen[at]; twice {
		b.leaveOut(ReasonDuplicatePort, field(), "%s NodePort %d is that of spec.ports[%d] already, which stays; change one of them", protocol, p.NodePort, first)
		return 0
	}
	seen[at] = i
	return at.port
}

// address reads an address that a Service is reached at, in that field. One that can
// be read and is of no use was not meant to be another one.
func (b *builder) address(text string, kind FrontendKind, field func() string) (netip.Addr, bool) {
	addr, canonical, ok := ParseAddr(text)
	switch {
	case !ok:
		b.unread.Addresses[kind] = true
		b.leaveOut(ReasonInvalidAddress, field(), "%q is not an IP address; %s", text, fixAddress)
		return addr, false
	case unusable(addr) != "":
		b.leaveOut(ReasonInvalidAddress, field(), "%s is %s, which can't be a Service's; %s", text, unusable(addr), fixAddress)
		return addr, false
	case !canonical:
		b.add(true, ReasonInvalidAddress, field(), takenAs, text, addr)
	}
	return addr, true
}

// clusterIPs are the Service's virtual addresses, one of a family at most,
// IPv4 first.
func (b *builder) clusterIPs() []netip.Addr {
	texts, format := b.svc.Spec.ClusterIPs, "spec.clusterIPs[%d]"
	switch first := b.svc.Spec.ClusterIP; {
	case len(texts) == 0 && first != "":
		texts, format = []string{first}, "spec.clusterIP%.0d"
	case len(texts) > 0 && first != "" && first != texts[0]:
		b.add(true, ReasonInvalidAddress, "spec.clusterIP", "says %s, but spec.clusterIPs[0] is %s, which counts", first, texts[0])
	case len(texts) == 0:
		b.unread.Addresses[ClusterIP] = true
		b.leaveOut(ReasonNoClusterIP, "spec.clusterIP", "there is none: the API server allocates it; in a manifest without an API server, write one")
	}
	var vips []netip.Addr
	for i, text := range texts {
		field := func() string { return fmt.Sprintf(format, i) }
		addr, ok := b.address(text, ClusterIP, field)
		if !ok {
			continue
		}
		if slices.ContainsFunc(vips, func(v netip.Addr) bool { return v.Is4() == addr.Is4() }) {
			b.leaveOut(ReasonFamilyMismatch, field(), "%s is the second %s address; a Service has one of each family, the first stays", text, familyName(addr.Is4()))
			continue
		}
		if families := b.svc.Spec.IPFamilies; i < len(families) && string(families[i]) != familyName(addr.Is4()) {
			b.add(true, ReasonFamilyMismatch, fmt.Sprintf("spec.ipFamilies[%d]", i), "says %s, but the address is %s; the address counts", families[i], addr)
		}
		vips = append(vips, addr)
	}
	slices.SortFunc(vips, netip.Addr.Compare) // IPv4 sorts before IPv6
	return vips
}
