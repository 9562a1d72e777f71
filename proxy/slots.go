package proxy

import (
	"net/netip"
	"slices"
)

// KeepSlots puts endpoints into slots, one each. One of those that had a slot stays in it,
// unless there are fewer now; others take the free slots in order. So one endpoint that
// goes moves at most one other, and one that comes moves none.
func KeepSlots(had, now []Endpoint) []Endpoint {
	had = had[:min(len(had), len(now))]
	same := 0
	for same < len(had) && had[same].AddrPort == now[same].AddrPort {
		same++
	}
	if same == len(had) {
		return now
	}
	slot := make(map[netip.AddrPort]int, len(had))
	for i := range had {
		slot[had[i].AddrPort] = i
	}
	slots, taken := make([]Endpoint, len(now)), make([]bool, len(now))
	var others []Endpoint
	for _, ep := range now {
		if i, has := slot[ep.AddrPort]; has && !taken[i] {
			slots[i], taken[i] = ep, true
		} else {
			others = append(others, ep)
		}
	}
	free := 0
	for _, ep := range others {
		for taken[free] {
			free++
		}
		slots[free], taken[free] = ep, true
	}
	return slots
}

// KeepSlots has the endpoints of a Service stay in the slots that they had in old, which
// is the same Service before.
func (s Service) KeepSlots(old *Service) Service {
	before := old.ByFrontend()
	return s.InSlots(func(port *Port) (all, local []Endpoint) {
		for _, f := range port.Frontends {
			if p := before(port, f.Addr); p != nil {
				return p.Endpoints, p.LocalEndpoints
			}
		}
		return nil, nil
	})
}

// ByFrontend finds the port of a Service that has a frontend at an address, and the protocol
// and number of another port; or nil. No port is found of a Service that is nil.
func (s *Service) ByFrontend() func(like *Port, addr netip.Addr) *Port {
	if s == nil {
		return func(*Port, netip.Addr) *Port { return nil }
	}
	frontends := 0
	for i := range s.Ports {
		frontends += len(s.Ports[i].Frontends)
	}
	const few = 8 // which are found as soon without a map
	if frontends <= few {
		return s.byFrontend
	}
	ports := make(map[claim]*Port, frontends)
	for i := range s.Ports {
		for _, f := range s.Ports[i].Frontends {
			ports[claimOf(&s.Ports[i], f)] = &s.Ports[i]
		}
	}
	return func(like *Port, addr netip.Addr) *Port { return ports[claim{addr, like.Protocol, like.Port}] }
}

func (s *Service) byFrontend(like *Port, addr netip.Addr) *Port {
	for i := range s.Ports {
		port := &s.Ports[i]
		if port.Protocol == like.Protocol && port.Port == like.Port &&
			slices.ContainsFunc(port.Frontends, func(f Frontend) bool { return f.Addr == addr }) {
			return port
		}
	}
	return nil
}

// InSlots puts the endpoints of a Service into the slots that they had, by port.
func (s Service) InSlots(had func(*Port) (all, local []Endpoint)) Service {
	ports := make([]Port, len(s.Ports))
	for i := range s.Ports {
		port := s.Ports[i]
		all, local := had(&port)
		port.Endpoints, port.LocalEndpoints = KeepSlots(all, port.Endpoints), KeepSlots(local, port.LocalEndpoints)
		ports[i] = port
	}
	s.Ports = ports
	return s
}
