package view

import (
	"net/netip"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Config is what the node is told besides Services. The zero value is what is
// usual: pods are told from others in both families.
type Config struct {
	// MasqueradeAll hides the address of every client of a ClusterIP.
	MasqueradeAll bool
	// NoPods4 and NoPods6 say that nothing tells pods from other clients in a
	// family: no pod CIDR, and no interface.
	NoPods4, NoPods6 bool
}

// Of is what connections meet when these Services, as they are granted, are
// programmed on a node with the usual Config.
func Of(services []proxy.Service) View { return Config{}.Of(services) }

// Of is what connections meet when these Services, as they are granted, are
// programmed.
func (c Config) Of(services []proxy.Service) View {
	v := View{}
	for i := range services {
		c.Add(v, &services[i])
	}
	return v
}

// Add adds one Service.
func (c Config) Add(to View, svc *proxy.Service) {
	for i := range svc.Ports {
		port := &svc.Ports[i]
		for _, f := range port.Frontends {
			key := Key{f.Addr, port.Protocol, port.Port}
			if f.Kind == proxy.NodePort {
				key = NodePort(f.Addr.Is4(), port.Protocol, port.Port)
				if _, there := to[key]; there {
					continue // at another of the node's addresses
				}
			}
			to[key] = c.port(svc.Name, port, f.Addr.Is4())
		}
	}
}

func (c Config) port(service proxy.Name, port *proxy.Port, is4 bool) Port {
	p := Port{Service: port.FullName(service), Sources: Union(port.SourceRanges)}
	if len(port.Endpoints) == 0 {
		p.Fate = Rejected
		if port.Elsewhere {
			p.Fate = Dropped
		}
		return p
	}
	p.Endpoints, p.Affinity = endpoints(port.Endpoints), port.Affinity
	if port.LocalOnly {
		p.LocalOnly, p.Local = true, endpoints(port.LocalEndpoints)
	}
	p.Masquerade = c.masquerade(port, is4)
	return p
}

// masquerade says whose address is hidden. Where clients from outside stay on this
// node, those that get any endpoint are pods and the node itself.
func (c Config) masquerade(port *proxy.Port, is4 bool) Masquerade {
	pods := is4 && !c.NoPods4 || !is4 && !c.NoPods6
	switch {
	case port.LocalOnly && pods:
		return OffCluster
	case port.LocalOnly, port.External(), c.MasqueradeAll:
		return All
	case pods:
		return OffCluster
	}
	return None
}

func endpoints(list []proxy.Endpoint) []Endpoint {
	addrs := make([]netip.AddrPort, len(list))
	for i := range list {
		addrs[i] = list[i].AddrPort
	}
	return Even(addrs)
}
