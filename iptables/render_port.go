package iptables

import (
	"net/netip"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// port has the rules of one Service port.
func (r *renderer) port(p *servicePort) {
	r.portals(p)
	r.health(p)
	if len(p.all()) == 0 && !p.elsewhere() {
		return
	}
	r.externalChain(p)
	r.firewallChain(p)
	r.balance(p, PrefixService, p.cluster())
	r.balance(p, PrefixLocal, p.local())
	for _, e := range p.all() {
		r.endpoint(p, e)
	}
}

// elsewhere says that there are endpoints, but none that the internal policy allows.
func (s *servicePort) elsewhere() bool { return s.internal != nil && s.internal.Elsewhere }

// portals lead from the frontends to the port's chains, or refuse connections.
func (r *renderer) portals(p *servicePort) {
	protocol, name := p.protocol.String(), p.fullName
	has := len(p.all()) > 0 || p.elsewhere()
	if in := p.internal; in != nil {
		chain := p.chain(PrefixService)
		if in.InternalLocal {
			chain = p.chain(PrefixLocal)
		}
		for _, f := range in.Frontends {
			if len(in.Endpoints) == 0 {
				r.filter.rule(chainServices, p.refuse(f.Addr, in.Port, has))
				continue
			}
			comment := name + " cluster IP"
			r.masquerade(p, chain, portal(f.Addr, protocol, in.Port, comment, Jump{To: chainMarkMasq}))
			r.nat.rule(chainServices, portal(f.Addr, protocol, in.Port, comment, Jump{To: chain}))
		}
	}
	for _, way := range []*proxy.Port{p.external, p.balancer} {
		if way == nil {
			continue
		}
		comment, chain := name+" external IP", p.chain(PrefixExternal)
		if way == p.balancer {
			comment = name + " loadbalancer IP"
		}
		if p.guarded() && way == p.balancer {
			chain = p.chain(PrefixFirewall)
		}
		for _, f := range way.Frontends {
			if has {
				r.nat.rule(chainServices, portal(f.Addr, protocol, way.Port, comment, Jump{To: chain}))
			}
			if p.guarded() && way == p.balancer {
				r.filter.rule(chainProxyFirewall, portal(f.Addr, protocol, way.Port, name+" traffic not accepted by "+chain, Jump{To: Drop}))
			}
			if !p.outsideEndpoints() {
				r.filter.rule(chainExternalServices, p.refuse(f.Addr, way.Port, has))
			}
		}
	}
	if p.nodePort != nil {
		r.nodePortal(p, has)
	}
}

func (r *renderer) nodePortal(p *servicePort, has bool) {
	protocol, port := p.protocol.String(), p.nodePort.Port
	if has {
		to := Jump{To: p.chain(PrefixExternal)}
		if r.localhost() && r.Accounting {
			own := portal(netip.Addr{}, protocol, port, p.fullName, to)
			own.Destination = Address{Prefix: netip.MustParsePrefix("127.0.0.0/8")}
			own.Matches = append(own.Matches, counted("localhost_nps_accepted_pkts"))
			r.nat.rule(chainNodePorts, own)
		}
		r.nat.rule(chainNodePorts, portal(netip.Addr{}, protocol, port, p.fullName, to))
	}
	if !p.outsideEndpoints() {
		refuse := p.refuse(netip.Addr{}, port, has)
		refuse.Matches = []Match{refuse.Matches[0], AddrType{Destination: "LOCAL"}, refuse.Matches[1]}
		r.filter.rule(chainExternalServices, refuse)
	}
}

// outsideEndpoints says that clients from outside of the cluster get an endpoint.
func (s *servicePort) outsideEndpoints() bool {
	if s.localOnly() {
		return len(s.local()) > 0
	}
	return len(s.cluster()) > 0
}

// guarded says that the load balancer's addresses have source ranges.
func (s *servicePort) guarded() bool {
	return s.balancer != nil && len(s.balancer.SourceRanges) > 0 && len(s.all()) > 0
}

// refuse is the rule for a frontend without an endpoint: connections are refused if
// there is none at all, and dropped if the traffic policy rules them out.
func (s *servicePort) refuse(addr netip.Addr, port uint16, has bool) Rule {
	if has {
		return portal(addr, s.protocol.String(), port, s.fullName+" has no local endpoints", Jump{To: Drop})
	}
	with := "icmp-port-unreachable"
	if s.is6() {
		with = "icmp6-port-unreachable"
	}
	return portal(addr, s.protocol.String(), port, s.fullName+" has no endpoints", Reject{with})
}

func (s *servicePort) is6() bool {
	p := s.internal
	if p == nil {
		p = s.outside()
	}
	return p.Frontends[0].Addr.Is6()
}

// masquerade hides the address of clients of a ClusterIP outside of the cluster.
func (r *renderer) masquerade(p *servicePort, chain string, rule Rule) {
	if !r.MasqueradeAll && !r.fromPods(&rule, true) {
		return
	}
	if r.Style == Classic {
		chain = chainServices
	}
	r.nat.rule(chain, rule)
}

// health lets load balancers ask the node.
func (r *renderer) health(p *servicePort) {
	if p.healthCheck != 0 {
		r.filter.rule(chainNodePorts, portal(netip.Addr{}, "tcp", p.healthCheck, p.fullName+" health check node port", Jump{To: Accept}))
	}
}

// externalChain is where connections from outside of the cluster go.
func (r *renderer) externalChain(p *servicePort) {
	if p.outside() == nil {
		return
	}
	chain, to := p.chain(PrefixExternal), p.chain(PrefixService)
	if !p.localOnly() {
		r.nat.rule(chain, jump(chainMarkMasq, Comment("masquerade traffic for "+p.fullName+" external destinations")))
		r.nat.rule(chain, jump(to))
		return
	}
	pods := jump(to, Comment("pod traffic for "+p.fullName+" external destinations"))
	if r.fromPods(&pods, false) {
		r.nat.rule(chain, pods)
	}
	own := AddrType{Source: "LOCAL"}
	r.nat.rule(chain, jump(chainMarkMasq, Comment("masquerade LOCAL traffic for "+p.fullName+" external destinations"), own))
	r.nat.rule(chain, jump(to, Comment("route LOCAL traffic for "+p.fullName+" external destinations"), own))
	if len(p.local()) > 0 {
		r.nat.rule(chain, jump(p.chain(PrefixLocal)))
	}
}

// firewallChain lets in who may reach the load balancer.
func (r *renderer) firewallChain(p *servicePort) {
	if !p.guarded() {
		return
	}
	chain := p.chain(PrefixFirewall)
	for _, source := range p.balancer.SourceRanges {
		in := jump(p.chain(PrefixExternal), Comment(p.fullName+" loadbalancer IP"))
		in.Source = Address{Prefix: source}
		r.nat.rule(chain, in)
	}
	r.nat.rule(chain, Rule{Matches: []Match{Comment("other traffic to " + p.fullName + " will be dropped by " + chainProxyFirewall)}})
}

// balance has the cascade of a chain: endpoints that clients had before, then each
// with its part of what those before it have left.
func (r *renderer) balance(p *servicePort, prefix string, endpoints []proxy.Endpoint) {
	chain := p.chain(prefix)
	to := func(e netip.AddrPort) Rule {
		if r.terse {
			return jump(p.endpointChain(e))
		}
		return jump(p.endpointChain(e), Comment(p.fullName+" -> "+e.String()))
	}
	if affinity := p.affinity(); affinity > 0 {
		for _, e := range endpoints {
			rule := to(e.AddrPort)
			rule.Matches = append(rule.Matches, Recent{
				Action: "rcheck", Seconds: affinity, Reap: true, Name: p.endpointChain(e.AddrPort), Mask: r.recentMask(),
			})
			r.nat.rule(chain, rule)
		}
	}
	for i, probability := range Even(len(endpoints)) {
		rule := to(endpoints[i].AddrPort)
		if i < len(endpoints)-1 {
			rule.Matches = append(rule.Matches, Statistic{Probability: probability})
		}
		r.nat.rule(chain, rule)
	}
}

// recentMask is what iptables-save prints for single addresses.
func (c Config) recentMask() string {
	if c.IPv6 {
		return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	}
	return "255.255.255.255"
}

// affinity is how many seconds clients keep their endpoint.
func (s *servicePort) affinity() uint32 {
	p := s.internal
	if p == nil {
		p = s.outside()
	}
	return uint32(p.Affinity.Seconds())
}

// endpoint is the chain of one endpoint.
func (r *renderer) endpoint(p *servicePort, e netip.AddrPort) {
	chain, protocol := p.endpointChain(e), p.protocol.String()
	hairpin := jump(chainMarkMasq)
	hairpin.Source = Address{Prefix: netip.PrefixFrom(e.Addr(), e.Addr().BitLen())}
	dnat := Rule{
		Protocol: Protocol{Name: protocol},
		Target:   DNAT{To: []Destinations{{From: e.Addr(), To: e.Addr(), FromPort: e.Port(), ToPort: e.Port()}}},
	}
	if !r.terse {
		hairpin.Matches = []Match{Comment(p.fullName)}
		dnat.Matches = []Match{Comment(p.fullName)}
	}
	if p.affinity() > 0 {
		dnat.Matches = append(dnat.Matches, Recent{Action: "set", Name: chain, Mask: r.recentMask()})
	}
	dnat.Matches = append(dnat.Matches, Ports{Module: protocol})
	r.nat.rule(chain, hairpin)
	r.nat.rule(chain, dnat)
}
