package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"net/netip"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// What the names of kube-proxy's chains begin with.
const (
	PrefixService  = "KUBE-SVC-" // all endpoints, for the traffic policy Cluster
	PrefixLocal    = "KUBE-SVL-" // the endpoints on this node, for the policy Local
	PrefixExternal = "KUBE-EXT-" // from outside of the cluster, since 1.24
	PrefixFirewall = "KUBE-FW-"  // load balancer IPs with source ranges
	PrefixEndpoint = "KUBE-SEP-" // one endpoint
	// PrefixBalancer is that of KUBE-SVL and KUBE-EXT before 1.24.
	PrefixBalancer = "KUBE-XLB-"
)

// ServiceChain is the name of a Service port's chain with a prefix. The full name
// is that of proxy.Port.FullName.
func ServiceChain(prefix, fullName string, protocol proxy.Protocol) string {
	return prefix + hash(fullName+protocol.String())
}

// EndpointChain is the name of the chain of one endpoint of a Service port.
func EndpointChain(fullName string, protocol proxy.Protocol, endpoint netip.AddrPort) string {
	return PrefixEndpoint + hash(fullName+protocol.String()+endpoint.String())
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}
