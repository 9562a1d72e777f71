package proxy

import "slices"

// Equal says that two models stand for the same traffic.
func (s Service) Equal(o Service) bool {
	return s.Name == o.Name && s.Unread.Equal(o.Unread) && s.Created.Equal(o.Created) &&
		s.HealthCheck == o.HealthCheck && slices.Equal(s.HealthCheckAddrs, o.HealthCheckAddrs) && slices.EqualFunc(s.Ports, o.Ports, Port.Equal)
}

// Equal says that two ports are alike.
func (p Port) Equal(o Port) bool {
	return p.Name == o.Name && p.Protocol == o.Protocol && p.Port == o.Port &&
		p.Elsewhere == o.Elsewhere && p.LocalOnly == o.LocalOnly && p.InternalLocal == o.InternalLocal && p.Affinity == o.Affinity && p.ID == o.ID &&
		slices.Equal(p.Frontends, o.Frontends) && slices.Equal(p.Endpoints, o.Endpoints) &&
		slices.Equal(p.LocalEndpoints, o.LocalEndpoints) && slices.Equal(p.SourceRanges, o.SourceRanges) &&
		slices.Equal(p.Lingering, o.Lingering)
}

// Equal says that two nodes are alike for the model.
func (n Node) Equal(o Node) bool {
	return n.Name == o.Name && n.Zone == o.Zone && n.MaxElements == o.MaxElements &&
		slices.Equal(n.Addresses, o.Addresses) && slices.Equal(n.NodePorts, o.NodePorts)
}
