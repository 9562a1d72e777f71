package proxy

import (
	"net/netip"
	"strings"
	"time"
)

// Name is a Service's namespace and name. It is comparable and prints as
// namespace/name.
type Name struct {
	Namespace, Name string
}

func (n Name) String() string {
	if n.Namespace == "" {
		return n.Name // an object without a namespace
	}
	return n.Namespace + "/" + n.Name
}

// ParseName reads namespace/name.
func ParseName(text string) (Name, bool) {
	namespace, name, ok := strings.Cut(text, "/")
	return Name{namespace, name}, ok && namespace != "" && name != "" && !strings.Contains(name, "/")
}

// Protocol is the transport protocol of a Service port, as its number in the
// IP header.
type Protocol uint8

// The protocols that a Service port may have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String is the protocol as netfilter and iptables spell it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "unknown"
}

// Service is what a node does with the traffic of one Service.
type Service struct {
	Name Name
	// Created orders Services that claim the same frontend: the oldest wins.
	Created time.Time
	// Ports has an entry for each Service port, IP family and way in, in the
	// order of the Service's spec, IPv4 before IPv6.
	Ports []Port
	// HealthCheck tells load balancers whether this node has endpoints.
	HealthCheck HealthCheck
	// HealthCheckAddrs are this node's addresses at which it does so: no other Service
	// gets that port there.
	HealthCheckAddrs []netip.Addr
	// Unread is what could not be understood of the Service and is missing here;
	// nil if nothing is.
	Unread *Unread
}

// Port is one port of a Service in one IP family, as it is reached in one way:
// by ClusterIP, by external address (external and load balancer IPs), or by
// NodePort.
type Port struct {
	// Name is the port's name in the Service, empty for a single unnamed port.
	Name     string
	Protocol Protocol
	// Port is the port number at every frontend.
	Port uint16
	// Frontends are the addresses at which clients reach this port.
	Frontends []Frontend
	// Endpoints are those that get traffic, sorted by their "ip:port" text.
	// That is kube-proxy's order; it numbers the cascade. With
	// none, connections are refused, or dropped if there are some Elsewhere.
	Endpoints []Endpoint
	// Elsewhere says that the traffic policy rules out endpoints that there are.
	Elsewhere bool
	// LocalOnly is for the external traffic policy Local: only clients on this
	// node and in pods get Endpoints; all others get LocalEndpoints, and keep
	// their address. With none of those they are dropped.
	LocalOnly      bool
	LocalEndpoints []Endpoint
	// InternalLocal is for the internal traffic policy Local: Endpoints has only
	// those on this node.
	InternalLocal bool
	// Lingering are UDP endpoints that get no new flows but keep those that they
	// have: they still serve, but are being stopped, or are not for this node.
	Lingering []netip.AddrPort
	// SourceRanges are where clients of a load balancer IP may come from;
	// anywhere, if there are none.
	SourceRanges []netip.Prefix
	// Affinity is how long after its last connection a client keeps its
	// endpoint; 0 is for no session affinity.
	Affinity time.Duration
	// ID is an even number that this Service port alone has, in all of its
	// families and ways in, if it has session affinity. A Cluster gives it.
	ID uint32
}

// External says that clients are taken to be outside of the cluster: their
// address is hidden from endpoints on other nodes, so that answers come back
// through this one.
func (p *Port) External() bool {
	return len(p.Frontends) > 0 && p.Frontends[0].Kind != ClusterIP
}

// Frontend is an address at which clients reach a Service port.
type Frontend struct {
	Addr netip.Addr
	Kind FrontendKind
}

// FrontendKind says why an address leads to a Service.
type FrontendKind uint8

const (
	// ClusterIP is the virtual address that the API server allocated.
	ClusterIP FrontendKind = iota
	// ExternalIP is an address from the Service's spec that is routed to nodes.
	ExternalIP
	// LoadBalancerIP is the address of a load balancer that sends packets on
	// with that address as their destination.
	LoadBalancerIP
	// NodePort is an address of this node.
	NodePort
)

// Endpoint is one backend of a Service port.
type Endpoint struct {
	netip.AddrPort
	// Local says that the endpoint runs on this node.
	Local bool
	// Hairpin says that it may reach itself through this node although it is not known
	// to run here.
	Hairpin bool
}

// ReachesItself reports whether an endpoint may get what it has sent itself. It takes
// that only with another source address.
func (e Endpoint) ReachesItself() bool { return e.Local || e.Hairpin }

// OnNode are the endpoints that may get what they have sent themselves.
func (s Service) OnNode() []netip.AddrPort {
	var all []netip.AddrPort
	for i := range s.Ports {
		for _, e := range s.Ports[i].Endpoints {
			if e.ReachesItself() {
				all = append(all, e.AddrPort)
			}
		}
	}
	return all
}

// HealthCheck is what a Service with the external traffic policy Local shows
// at its health check node port.
type HealthCheck struct {
	// Port is the node port, or 0 for none.
	Port uint16
	// IPv4 and IPv6 are the numbers of ready endpoint addresses on this node, or
	// NoFamily in a family that the Service does not have.
	IPv4, IPv6 int
}

// NoFamily is for a family that a Service does not have.
const NoFamily = -1

// FullName is the Service port as kube-proxy writes it in comments and hashes:
// namespace/name, and :port where the port has a name.
func (p Port) FullName(service Name) string {
	if p.Name == "" {
		return service.String()
	}
	return service.String() + ":" + p.Name
}

// Node is what the model needs to know of the node it runs on.
type Node struct {
	// Name is the name of the Node object.
	Name string
	// Zone is the value of its label topology.kubernetes.io/zone.
	Zone string
	// Addresses are the node's own.
	Addresses []netip.Addr
	// NodePorts are the addresses that accept NodePort traffic.
	NodePorts []netip.Addr
	// MaxElements bounds the map elements of one Service; 0 is for no bound.
	MaxElements int
}
