package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// way is a way into a Service: the addresses of one kind, and the traffic
// policy that holds for it.
type way struct {
	frontends []Frontend
	nodePort  bool
	local     bool // traffic policy Local
	ranges    []netip.Prefix
}

// ways are all ways into the Service. An address that is there twice is reached
// in the first of them.
func (b *builder) ways() []way {
	spec := &b.svc.Spec
	internal := way{local: spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal}
	for _, vip := range b.clusterIPs() {
		internal.frontends = append(internal.frontends, Frontend{vip, ClusterIP})
	}
	local := b.externalLocal()
	balanced := way{local: local}
	balanced.frontends = b.loadBalancerIPs()
	if ranges, ok := b.sourceRanges(); ok {
		balanced.ranges = ranges
	} else {
		b.unread.Ranges, b.unread.frontends = true, balanced.frontends
		balanced.frontends = nil
	}
	external := way{local: local}
	seen := make(map[netip.Addr]bool, len(spec.ExternalIPs))
	for i, text := range spec.ExternalIPs {
		field := func() string { return fmt.Sprintf("spec.externalIPs[%d]", i) }
		external.frontends = b.frontend(external.frontends, seen, ExternalIP, text, field)
	}
	node := way{local: local, nodePort: true}
	for _, addr := range b.node.NodePorts {
		node.frontends = append(node.frontends, Frontend{addr, NodePort})
	}
	return []way{internal, balanced, external, node}
}

// reached is a Service port as one way, in one family, leads to it, if it does.
func (b *builder) reached(w *way, p Port, nodePort uint16, is4 bool, found chosen) (Port, bool) {
	if w.nodePort {
		p.Port = nodePort
	}
	for _, f := range w.frontends {
		at := claim{f.Addr, p.Protocol, p.Port}
		if f.Addr.Is4() == is4 && p.Port != 0 && !b.reachable[at] {
			b.reachable[at] = true
			p.Frontends = append(p.Frontends, f)
		}
	}
	if len(p.Frontends) == 0 {
		return p, false
	}
	p.Endpoints = found.cluster
	switch {
	case w.local && p.External():
		p.LocalOnly, p.LocalEndpoints = true, found.local
	case w.local:
		p.Endpoints, p.InternalLocal = found.local, true
		p.Elsewhere = len(found.local) == 0 && found.any
	}
	p.SourceRanges = b.rangesOf(w, p.Frontends, is4)
	return p, true
}

// rangesOf are the source ranges of a family. One that is everything is as good
// as none. When this node is let in, so are the addresses themselves: where a
// load balancer's address is one of the node's own, it is the source of what the
// node sends there.
func (b *builder) rangesOf(w *way, frontends []Frontend, is4 bool) []netip.Prefix {
	var ranges []netip.Prefix
	for _, r := range w.ranges {
		if r.Bits() == 0 && r.Addr().Is4() == is4 {
			return nil
		}
		if r.Addr().Is4() == is4 {
			ranges = append(ranges, r)
		}
	}
	if slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(b.node.primary(is4)) }) {
		for _, f := range frontends {
			ranges = append(ranges, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
		}
	}
	return ranges
}

// primary is the node's first address of a family.
func (n Node) primary(is4 bool) netip.Addr {
	for _, a := range n.Addresses {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

// externalLocal says that traffic from outside goes to endpoints on this node
// only. The field counts only where there is such traffic.
func (b *builder) externalLocal() bool {
	spec := &b.svc.Spec
	accessible := spec.Type == corev1.ServiceTypeLoadBalancer || spec.Type == corev1.ServiceTypeNodePort || len(spec.ExternalIPs) > 0
	return accessible && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// frontend appends the address that text stands for, if it can be read and was not
// seen already.
func (b *builder) frontend(to []Frontend, seen map[netip.Addr]bool, kind FrontendKind, text string, field func() string) []Frontend {
	addr, ok := b.address(text, kind, field)
	if !ok || seen[addr] {
		return to
	}
	seen[addr] = true
	return append(to, Frontend{addr, kind})
}

// loadBalancerIPs are the addresses of load balancers that send packets on as
// they are. In the mode Proxy they open connections of their own (KEP-1860).
func (b *builder) loadBalancerIPs() []Frontend {
	var all []Frontend
	seen := map[netip.Addr]bool{}
	for i, ingress := range b.svc.Status.LoadBalancer.Ingress {
		if ingress.IP == "" || ingress.IPMode != nil && *ingress.IPMode != corev1.LoadBalancerIPModeVIP {
			continue
		}
		field := func() string { return fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i) }
		all = b.frontend(all, seen, LoadBalancerIP, ingress.IP, field)
	}
	return all
}

// sourceRanges are where clients of the load balancer may come from; none means
// anywhere. With one that can't be read, the load balancer's addresses are left
// out: a mistake must not let more in, nor cut off what works.
func (b *builder) sourceRanges() (ranges []netip.Prefix, ok bool) {
	for i, text := range b.svc.Spec.LoadBalancerSourceRanges {
		prefix, canonical, ok := ParsePrefix(text)
		field := fmt.Sprintf("spec.loadBalancerSourceRanges[%d]", i)
		switch {
		case !ok:
			b.leaveOut(ReasonInvalidAddress, field, "%q is not a CIDR such as 192.168.0.0/16; the load balancer's addresses are left out", text)
			return nil, false
		case !canonical:
			b.add(true, ReasonInvalidAddress, field, takenAs, text, prefix)
		}
		ranges = append(ranges, prefix)
	}
	return ranges, true
}

// defaultAffinity and maxAffinity are those of the API.
const (
	defaultAffinity = 3 * time.Hour
	maxAffinity     = 24 * time.Hour
)

// affinity is the time-out of the Service's session affinity, 0 for none.
func (b *builder) affinity() time.Duration {
	if b.svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	config := b.svc.Spec.SessionAffinityConfig
	if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
		return defaultAffinity
	}
	timeout := time.Duration(*config.ClientIP.TimeoutSeconds) * time.Second
	if timeout <= 0 || timeout > maxAffinity {
		b.add(true, ReasonInvalidTimeout, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", "%d is not from 1 to %d; %d is taken",
			*config.ClientIP.TimeoutSeconds, int(maxAffinity.Seconds()), int(defaultAffinity.Seconds()))
		return defaultAffinity
	}
	return timeout
}

// healthCheck is what a load balancer that asks this node is told.
func (b *builder) healthCheck(families []bool, backends map[backendKey][]candidate) HealthCheck {
	port := b.svc.Spec.HealthCheckNodePort
	if b.svc.Spec.Type != corev1.ServiceTypeLoadBalancer || !b.externalLocal() || port == 0 {
		return HealthCheck{}
	}
	if port < 1 || port > 65535 {
		b.leaveOut(ReasonInvalidPort, "spec.healthCheckNodePort", "%d is not a port number from 1 to 65535; load balancers get no answer", port)
		return HealthCheck{}
	}
	check := HealthCheck{Port: uint16(port), IPv4: NoFamily, IPv6: NoFamily}
	for _, is4 := range families {
		ready := map[netip.Addr]bool{}
		for key, candidates := range backends {
			for _, c := range candidates {
				if key.is4 == is4 && c.ready && c.Local {
					ready[c.Addr()] = true
				}
			}
		}
		if is4 {
			check.IPv4 = len(ready)
		} else {
			check.IPv6 = len(ready)
		}
	}
	return check
}
