package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// backendKey is what makes an endpoint one of a Service port's: the port's
// name and protocol, which each slice maps to a number of its own, and the
// family.
type backendKey struct {
	port     string
	protocol Protocol
	is4      bool
}

// candidate is an endpoint before it is chosen.
type candidate struct {
	Endpoint
	ready, serving, terminating bool
	node, zone                  hint
	origin                      int32 // in the builder's origins, when it explains
}

// hint says whom an endpoint is meant for, seen from this node (KEP-2433,
// KEP-3015).
type hint uint8

const (
	noHint hint = iota
	forOthers
	forUs
)

// backends are all endpoints in the slices, by Service port, each once and in
// order.
func (b *builder) backends(endpointSlices []*discoveryv1.EndpointSlice) map[backendKey][]candidate {
	all := map[backendKey][]candidate{}
	// In order, so that what is told of them is the same each time.
	byName := func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) }
	for _, slice := range slices.SortedFunc(slices.Values(endpointSlices), byName) {
		switch slice.AddressType {
		case discoveryv1.AddressTypeIPv4:
			b.slice(all, slice, true)
		case discoveryv1.AddressTypeIPv6:
			b.slice(all, slice, false)
		case discoveryv1.AddressTypeFQDN:
			b.explainSlice(slice, NoAddress)
		default:
			b.explainSlice(slice, NoAddress)
			told := problems{kind: "EndpointSlice", name: Name{slice.Namespace, slice.Name}, list: b.list}
			told.add(false, ReasonUnknownType, "addressType", "%q is not IPv4, IPv6 or FQDN; the slice is left out", slice.AddressType)
		}
	}
	for key, candidates := range all {
		slices.SortFunc(candidates, func(a, b candidate) int { return compareText(a.AddrPort, b.AddrPort) })
		all[key] = merge(candidates, func(c candidate) { b.explainTwice(key, c) })
	}
	return all
}

func (b *builder) slice(all map[backendKey][]candidate, slice *discoveryv1.EndpointSlice, is4 bool) {
	told := problems{kind: "EndpointSlice", name: Name{slice.Namespace, slice.Name}, list: b.list}
	defer told.end("endpoints")
	type target struct {
		key  backendKey
		port uint16
	}
	var targets []target
	for i, port := range slice.Ports {
		if port.Port == nil {
			continue // any port: not for Services
		}
		t := target{key: backendKey{is4: is4}}
		if port.Name != nil {
			t.key.port = *port.Name
		}
		ok := true
		if port.Protocol != nil {
			t.key.protocol, ok = parseProtocol(*port.Protocol)
		} else {
			t.key.protocol = TCP
		}
		switch {
		case !ok:
			told.add(false, ReasonUnknownProto, fmt.Sprintf("ports[%d].protocol", i), "%q is not TCP, UDP or SCTP; the port is left out", *port.Protocol)
			continue
		case *port.Port < 1 || *port.Port > 65535:
			told.add(false, ReasonInvalidPort, fmt.Sprintf("ports[%d].port", i), "%d is not a port number from 1 to 65535; the port is left out", *port.Port)
			continue
		}
		if !b.has(t.key) {
			continue // for nobody, and there may be many
		}
		t.port = uint16(*port.Port)
		targets = append(targets, t)
		all[t.key] = slices.Grow(all[t.key], len(slice.Endpoints))
	}
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		origin := b.origin(slice, i)
		addr, wrong := b.endpointAddr(&told, i, e, is4)
		if wrong != "" {
			b.explainLeftOut(origin, Invalid, wrong)
			continue
		}
		c := candidate{
			origin:      origin,
			ready:       e.Conditions.Ready == nil || *e.Conditions.Ready,
			serving:     e.Conditions.Serving == nil || *e.Conditions.Serving,
			terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
		}
		c.Local = b.local(e, addr)
		c.Hairpin = !c.Local && b.hairpin(e)
		c.node, c.zone = b.hints(e)
		for _, t := range targets {
			c.AddrPort = netip.AddrPortFrom(addr, t.port)
			all[t.key] = append(all[t.key], c)
		}
	}
}

// has reports whether the Service has a port that such endpoints are for.
func (b *builder) has(key backendKey) bool {
	return slices.ContainsFunc(b.svc.Spec.Ports, func(p corev1.ServicePort) bool {
		protocol, ok := parseProtocol(p.Protocol)
		return ok && p.Name == key.port && protocol == key.protocol
	})
}

// endpointAddr reads the i-th endpoint's address, or says what is wrong with it:
// the first, as kube-proxy does; the API defines no meaning for others.
func (b *builder) endpointAddr(told *problems, i int, e *discoveryv1.Endpoint, is4 bool) (addr netip.Addr, wrong string) {
	if len(e.Addresses) == 0 {
		wrong = "there is none; the endpoint is left out"
		told.add(false, ReasonInvalidAddress, fmt.Sprintf("endpoints[%d].addresses", i), "%s", wrong)
		return addr, wrong
	}
	text := e.Addresses[0]
	addr, canonical, ok := ParseAddr(text)
	if ok && canonical && addr.Is4() == is4 && unusable(addr) == "" {
		return addr, ""
	}
	field, reason := fmt.Sprintf("endpoints[%d].addresses[0]", i), ReasonInvalidAddress
	switch {
	case !ok:
		wrong = fmt.Sprintf("%q is not an IP address; the endpoint is left out; %s", text, fixAddress)
	case addr.Is4() != is4:
		reason = ReasonFamilyMismatch
		wrong = fmt.Sprintf("%s is %s in a slice of %s addresses; the endpoint is left out", text, familyName(addr.Is4()), familyName(is4))
	case unusable(addr) != "":
		wrong = fmt.Sprintf("%s is %s, which can't be an endpoint's; the endpoint is left out", text, unusable(addr))
	default:
		told.add(true, reason, field, takenAs, text, addr)
		return addr, ""
	}
	told.add(false, reason, field, "%s", wrong)
	return netip.Addr{}, wrong
}

// local says that an endpoint runs on this node. A slice that names no node,
// as one written by hand may, is judged by the node's own addresses.
func (b *builder) local(e *discoveryv1.Endpoint, addr netip.Addr) bool {
	if e.NodeName != nil {
		return *e.NodeName == b.node.Name && b.node.Name != ""
	}
	return slices.Contains(b.node.Addresses, addr)
}

// hairpin reports whether an endpoint that is not known to run here may reach itself
// through this node: one of no known node may run here, and with the external traffic
// policy Local pods of other nodes come here with their own address.
func (b *builder) hairpin(e *discoveryv1.Endpoint) bool {
	return e.NodeName == nil || *e.NodeName == "" || b.externalLocal()
}

// hints reads an endpoint's hints for nodes and for zones.
func (b *builder) hints(e *discoveryv1.Endpoint) (node, zone hint) {
	if e.Hints == nil {
		return noHint, noHint
	}
	for _, n := range e.Hints.ForNodes {
		if n.Name == b.node.Name {
			node = forUs
		}
		node = max(node, forOthers)
	}
	for _, z := range e.Hints.ForZones {
		if z.Name == b.node.Zone {
			zone = forUs
		}
		zone = max(zone, forOthers)
	}
	return node, zone
}

// merge leaves one of the endpoints that are there twice, whole: its node and its
// hints go with its state. Slices that are being rewritten have an endpoint twice,
// and a pod may have the address of another one that is still being stopped. They
// come sorted by address. It calls twice with those that go.
func merge(sorted []candidate, twice func(candidate)) []candidate {
	out := sorted[:0]
	for _, c := range sorted {
		n := len(out)
		switch {
		case n == 0 || out[n-1].AddrPort != c.AddrPort:
			out = append(out, c)
		case c.precedence() > out[n-1].precedence():
			twice(out[n-1])
			out[n-1] = c
		default:
			twice(c)
		}
	}
	return out
}

// precedence orders the endpoints of one address. The first thing that counts is its
// state: of two pods, the one that is not being stopped is the one that answers, or
// does not yet. The rest makes the choice the same in whatever order they come.
func (c *candidate) precedence() (p int) {
	for _, bit := range []bool{!c.terminating, c.ready, c.serving, c.Local} {
		p <<= 1
		if bit {
			p |= 1
		}
	}
	return p<<4 | int(c.node)<<2 | int(c.zone)
}

// chosen are the endpoints that get traffic.
type chosen struct {
	choice
	cluster []Endpoint // with the traffic policy Cluster
	local   []Endpoint // with the traffic policy Local
	any     bool       // there is one on some node
}

// lingering are endpoints that serve but are not chosen.
func (c *chosen) lingering(candidates []candidate) []netip.AddrPort {
	is := map[netip.AddrPort]bool{}
	for _, list := range [][]Endpoint{c.cluster, c.local} {
		for _, e := range list {
			is[e.AddrPort] = true
		}
	}
	var others []netip.AddrPort
	for i := range candidates {
		if e := &candidates[i]; e.serving && !is[e.AddrPort] {
			others = append(others, e.AddrPort)
		}
	}
	return others
}

// choose picks the endpoints that get traffic: those that have a reason to.
func choose(candidates []candidate, local bool) chosen {
	out := chosen{choice: choiceOf(candidates)}
	out.cluster = pick(candidates, func(c *candidate) bool { return out.underCluster(c).In() })
	out.any = out.cluster != nil
	if local {
		out.local = pick(candidates, func(c *candidate) bool { return out.underLocal(c).In() })
	}
	return out
}

// pick gives those that are wanted, nil when there is none.
func pick(candidates []candidate, wanted func(*candidate) bool) []Endpoint {
	n := 0
	for i := range candidates {
		if wanted(&candidates[i]) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	picked := make([]Endpoint, 0, n)
	for i := range candidates {
		if wanted(&candidates[i]) {
			picked = append(picked, candidates[i].Endpoint)
		}
	}
	return picked
}
