package proxy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Unread is what could not be understood of a Service: what was programmed of that
// part before stays. What was understood, and is of no use, is not part of it.
type Unread struct {
	// All is for a Service of which nothing is known but its name.
	All bool
	// Addresses are the kinds of frontends that have an address which can't be read.
	Addresses [NodePort + 1]bool
	// Ranges reports that source ranges can't be read.
	Ranges bool
	// Ports are the names of the ports that can't be read, NodePorts of those
	// whose NodePort can't.
	Ports, NodePorts []string

	// frontends, ports and nodePorts are what was read, if something was not.
	frontends        []Frontend
	ports, nodePorts []listener
}

// NothingRead is a Service of which nothing is known but its name: it keeps what it
// had.
func NothingRead(name Name) Service { return Service{Name: name, Unread: &Unread{All: true}} }

func (u *Unread) any() bool {
	return u.All || u.Ranges || u.Addresses != [NodePort + 1]bool{} || len(u.Ports)+len(u.NodePorts) > 0
}

// Equal reports whether two say the same.
func (u *Unread) Equal(o *Unread) bool {
	if u == nil || o == nil {
		return u == o
	}
	return u.All == o.All && u.Ranges == o.Ranges && u.Addresses == o.Addresses &&
		slices.Equal(u.Ports, o.Ports) && slices.Equal(u.NodePorts, o.NodePorts) &&
		slices.Equal(u.frontends, o.frontends) && slices.Equal(u.ports, o.ports) && slices.Equal(u.nodePorts, o.nodePorts)
}

// beside is what could not be understood, with what was.
func (u Unread) beside(ways []way, ports, nodePorts map[listener]int) *Unread {
	for i := range ways {
		u.frontends = append(u.frontends, ways[i].frontends...)
	}
	inOrder := func(a, b listener) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
	}
	u.ports = slices.SortedFunc(maps.Keys(ports), inOrder)
	u.nodePorts = slices.SortedFunc(maps.Keys(nodePorts), inOrder)
	return &u
}

// keeps reports whether a frontend that the Service had belongs to what could not
// be understood: it was not plainly dropped.
func (u *Unread) keeps(port *Port, f Frontend) bool {
	if u.All {
		return true
	}
	there, portUnread := u.port(port, f)
	if !there && !portUnread {
		return false
	}
	known := slices.Contains(u.frontends, f)
	familyUnread := u.familyUnread(f.Addr.Is4())
	addressUnread := u.addressUnread(f, familyUnread)
	if !known && !addressUnread {
		return false
	}
	return portUnread || addressUnread || familyUnread || u.Ranges && f.Kind == LoadBalancerIP
}

// port reports whether a port is there still, and whether it may be one that could
// not be read.
func (u *Unread) port(port *Port, f Frontend) (there, unread bool) {
	read := u.ports
	if f.Kind == NodePort {
		read = u.nodePorts
	}
	there = slices.Contains(read, listener{port.Protocol, port.Port})
	unread = slices.Contains(u.Ports, port.Name) || f.Kind == NodePort && slices.Contains(u.NodePorts, port.Name)
	return there, unread
}

// familyUnread reports whether the Service may be of a family by a ClusterIP that
// can't be read.
func (u *Unread) familyUnread(is4 bool) bool {
	return u.Addresses[ClusterIP] && !slices.ContainsFunc(u.frontends, func(f Frontend) bool {
		return f.Kind == ClusterIP && f.Addr.Is4() == is4
	})
}

// addressUnread reports whether a frontend's address may be one that can't be read.
func (u *Unread) addressUnread(f Frontend, familyUnread bool) bool {
	if f.Kind == ClusterIP {
		return familyUnread
	}
	return u.Addresses[f.Kind]
}

// Kind is what an address is to the Service, that is no ClusterIP: what was read, or
// else what may be among what was not.
func (u *Unread) Kind(addr netip.Addr) FrontendKind {
	if u == nil {
		return ExternalIP
	}
	for _, f := range u.frontends {
		if f.Addr == addr {
			return f.Kind
		}
	}
	if u.Addresses[LoadBalancerIP] {
		return LoadBalancerIP
	}
	return ExternalIP
}
