package view

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// View is what a connection to each frontend meets on this node. A frontend that
// is not in it is none.
type View map[Key]Port

// Key is a frontend: an address, protocol and port. A NodePort has the unspecified
// address of its family: which of the node's addresses accept it is a matter of
// the node, not of the Service.
type Key struct {
	Addr     netip.Addr
	Protocol proxy.Protocol
	Port     uint16
}

// NodePort is a NodePort's Key.
func NodePort(is4 bool, protocol proxy.Protocol, port uint16) Key {
	addr := netip.IPv6Unspecified()
	if is4 {
		addr = netip.IPv4Unspecified()
	}
	return Key{addr, protocol, port}
}

// IsNodePort says that the Key is a NodePort's.
func (k Key) IsNodePort() bool { return k.Addr.IsUnspecified() }

// String is the frontend as in 10.96.0.10:53/udp; a NodePort is 0.0.0.0:30080/tcp,
// or [::]:30080/tcp over IPv6.
func (k Key) String() string {
	return netip.AddrPortFrom(k.Addr, k.Port).String() + "/" + k.Protocol.String()
}

// MarshalText is String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Port is what a connection to one frontend meets.
type Port struct {
	// Service is the Service port as comments have it: namespace/name, and :port
	// where the port has a name; as far as the source tells. No connection
	// notices it, so it is not compared.
	Service string
	Fate    Fate
	// Endpoints are those that a Balanced connection may get, each once, sorted by
	// their "ip:port" text.
	Endpoints []Endpoint
	// LocalOnly is for the external traffic policy Local: only clients on this
	// node and in pods get Endpoints; those from outside get Local, with the
	// address that they have, or are dropped if there are none.
	LocalOnly bool
	Local     []Endpoint
	// Masquerade says whose address is hidden from Endpoints.
	Masquerade Masquerade
	// Affinity is how long a client keeps its endpoint; 0 is for no affinity.
	Affinity time.Duration
	// Sources are where clients may come from, as Union has them; anywhere, if
	// there are none. Others are dropped. They are compared where connections are
	// Balanced: kube-proxy guards no frontend without endpoints in iptables mode.
	Sources []netip.Prefix
	// Unanswered are endpoints on this node that get no answer when they get
	// themselves, as nothing hides their address. No model has any.
	Unanswered []netip.AddrPort
	// Unclear is why the rules of the source can't be put in these terms; nothing
	// else is known then.
	Unclear string
}

// ServiceName is Service without the name of the port.
func (p *Port) ServiceName() string {
	name, _, _ := strings.Cut(p.Service, ":")
	return name
}

// Endpoint is a backend and how likely a new connection gets it.
type Endpoint struct {
	netip.AddrPort
	// Share is from 0 to 1; those of all endpoints add up to 1.
	Share float64
}

// Fate is what becomes of a connection.
type Fate uint8

const (
	// Balanced goes to an endpoint.
	Balanced Fate = iota
	// Rejected is told that nobody listens: there are no endpoints.
	Rejected
	// Dropped gets no answer: there are endpoints, but a policy rules them out.
	Dropped
)

func (f Fate) String() string {
	switch f {
	case Balanced:
		return "balanced"
	case Rejected:
		return "rejected"
	case Dropped:
		return "dropped"
	}
	return fmt.Sprintf("fate %d", uint8(f))
}

// MarshalText is String.
func (f Fate) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Masquerade says which clients' addresses are replaced with this node's, so that
// answers come back through it.
type Masquerade uint8

const (
	// None keep their addresses.
	None Masquerade = iota
	// OffCluster are all but pods.
	OffCluster
	// All are all clients.
	All
)

func (m Masquerade) String() string {
	switch m {
	case None:
		return "none"
	case OffCluster:
		return "off-cluster"
	case All:
		return "all"
	}
	return fmt.Sprintf("masquerade %d", uint8(m))
}

// MarshalText is String.
func (m Masquerade) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
