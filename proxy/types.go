package proxy

import (
	"net/netip"
	"time"
)

// Name is a Service's namespace and name. It is comparable and prints as
// namespace/name.
type Name struct {
	Namespace, Name string
}

func (n Name) String() string { return n.Namespace + "/" + n.Name }

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
	// Ports has one entry per Service port and IP family, in the order of the
	// Service's spec, IPv4 before IPv6 where a port has both.
	Ports []Port
	// Partial says that a port or an address of the Service could not be
	// understood and is missing here. What was programmed of it before stays.
	Partial bool
}

// Port is one port of a Service in one IP family. Its frontends all lead to
// the same endpoints.
type Port struct {
	// Name is the port's name in the Service, empty for a single unnamed port.
	Name     string
	Protocol Protocol
	// Port is the port number at every frontend.
	Port uint16
	// Frontends are the addresses at which clients reach this port.
	Frontends []Frontend
	// Endpoints are those that get traffic, sorted by their "ip:port" text.
	// That is kube-proxy's order; it numbers the slots and the cascade.
	// None means that connections are refused.
	Endpoints []Endpoint
}

// Frontend is an address at which clients reach a Service port.
type Frontend struct {
	Addr netip.Addr
	Kind FrontendKind
}

// FrontendKind says why an address leads to a Service.
type FrontendKind uint8

// ClusterIP is the virtual address that the API server allocated.
const ClusterIP FrontendKind = iota

// Endpoint is one backend of a Service port.
type Endpoint struct {
	netip.AddrPort
	// Local says that the endpoint runs on this node.
	Local bool
}

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
	// Addresses are the node's own.
	Addresses []netip.Addr
}
