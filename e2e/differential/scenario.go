package differential

import (
	"fmt"
	"net/netip"
	"strings"
)

// Service is a Service in few words. Its name gives its addresses: number N has
// the ClusterIPs 10.96.50.N and fd00:10:96::5:N, and so on.
type Service struct {
	Number   int
	Families string // "4", "6" or "46", the default
	Type     string // ClusterIP, the default, NodePort or LoadBalancer
	Ports    []Port
	External bool   // has external IPs
	Taken    string // an external IP that is also "node"'s or "pod"'s, or one that is "multicast"
	Balancer string // ipMode of a load balancer: VIP, Proxy, or "" for none
	Ranges   []string
	ITPLocal bool
	ETPLocal bool
	Affinity int    // seconds
	Proxy    string // service-proxy-name
	// Endpoints are those of all ports.
	Endpoints []Endpoint
}

// Port is a port of a Service. With NodePort, its node port is 30000 + 100 times
// the Service's number + its index.
type Port struct {
	Protocol string // TCP, UDP or SCTP
	Port     int
	Target   int // 8080 or 8081
}

// Endpoint is an endpoint at one of the places.
type Endpoint struct {
	Place string
	State string // ready, the default, notready, terminating (and serving), or stopped
	Zone  string // for which zone it is hinted
	Node  string // for which node it is hinted
}

func (s Service) name() string { return fmt.Sprintf("svc-%d", s.Number) }

func (s Service) families() []string {
	if s.Families == "" {
		return []string{"4", "6"}
	}
	return strings.Split(s.Families, "")
}

// address is the Service's address of a kind in a family.
func (s Service) address(kind, family string) string {
	four := map[string]string{"cluster": "10.96.50.%d", "external": "198.18.8.%d", "balancer": "198.18.9.%d"}
	six := map[string]string{"cluster": "fd00:10:96::5:%d", "external": "fd00:198::8:%d", "balancer": "fd00:198::9:%d"}
	if family == "4" {
		return fmt.Sprintf(four[kind], s.Number)
	}
	return fmt.Sprintf(six[kind], s.Number)
}

// multicast are addresses that the API server takes as external IPs.
var multicast = pair("239.1.2.3", "ff05::1")

// taken is an external IP that somebody has already, the node's second address or that
// of pod b, or one that no Service can have.
func (s Service) taken(family string) string {
	addrs := map[string][]netip.Addr{"node": nodeAddrs[2:], "pod": places["b"], "multicast": multicast}[s.Taken]
	if family == "4" {
		return addrs[0].String()
	}
	return addrs[1].String()
}

func (s Service) nodePort(i int) int {
	if s.Type == "NodePort" || s.Type == "LoadBalancer" {
		return 30000 + 100*s.Number + i
	}
	return 0
}

// Scenario is a cluster's Services, and what they become, step by step. After each
// step both nodes have to give the same answers.
type Scenario struct {
	Name  string
	Steps [][]Service
	options
}
