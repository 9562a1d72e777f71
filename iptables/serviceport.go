package iptables

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// servicePort is one port of a Service in one family, with all ways to it, each of
// which may be missing. kube-proxy makes its chains for such a port.
type servicePort struct {
	fullName                               string
	protocol                               proxy.Protocol
	internal, external, balancer, nodePort *proxy.Port
	healthCheck                            uint16
}

// servicePorts takes the ways into a Service together.
func servicePorts(svc *proxy.Service, ipv6 bool) []*servicePort {
	type key struct {
		name     string
		protocol proxy.Protocol
	}
	var list []*servicePort
	found := map[key]*servicePort{}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if len(p.Frontends) == 0 || p.Frontends[0].Addr.Is6() != ipv6 {
			continue
		}
		at := key{p.Name, p.Protocol}
		sp := found[at]
		if sp == nil {
			sp = &servicePort{fullName: p.FullName(svc.Name), protocol: p.Protocol, healthCheck: svc.HealthCheck.Port}
			found[at] = sp
			list = append(list, sp)
		}
		switch p.Frontends[0].Kind {
		case proxy.ClusterIP:
			sp.internal = p
		case proxy.ExternalIP:
			sp.external = p
		case proxy.LoadBalancerIP:
			sp.balancer = p
		case proxy.NodePort:
			sp.nodePort = p
		}
	}
	return list
}

// outside is any of the ways from outside of the cluster, nil if there is none.
func (s *servicePort) outside() *proxy.Port {
	for _, p := range []*proxy.Port{s.external, s.balancer, s.nodePort} {
		if p != nil {
			return p
		}
	}
	return nil
}

// cluster are the endpoints for the traffic policy Cluster, if that is in use.
func (s *servicePort) cluster() []proxy.Endpoint {
	if p := s.outside(); p != nil {
		return p.Endpoints
	}
	if s.internal.InternalLocal {
		return nil
	}
	return s.internal.Endpoints
}

// local are the endpoints for the traffic policy Local, if that is in use.
func (s *servicePort) local() []proxy.Endpoint {
	switch p := s.outside(); {
	case s.internal != nil && s.internal.InternalLocal:
		return s.internal.Endpoints
	case p != nil && p.LocalOnly:
		return p.LocalEndpoints
	}
	return nil
}

// all are the endpoints for both policies, sorted as kube-proxy does.
func (s *servicePort) all() []netip.AddrPort {
	var all []netip.AddrPort
	for _, list := range [][]proxy.Endpoint{s.cluster(), s.local()} {
		for _, e := range list {
			all = append(all, e.AddrPort)
		}
	}
	slices.SortFunc(all, func(a, b netip.AddrPort) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

func (s *servicePort) localOnly() bool {
	p := s.outside()
	return p != nil && p.LocalOnly
}

func (s *servicePort) chain(prefix string) string {
	return ServiceChain(prefix, s.fullName, s.protocol)
}

func (s *servicePort) endpointChain(e netip.AddrPort) string {
	return EndpointChain(s.fullName, s.protocol, e)
}
