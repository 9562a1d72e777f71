package chains

import (
	"net/netip"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// names are those of the chains of one Service port: kube-proxy's.
type names struct {
	port     string // its full name
	protocol proxy.Protocol
}

func (n names) of(prefix string) string { return iptables.ServiceChain(prefix, n.port, n.protocol) }

func (n names) svc() string { return n.of(iptables.PrefixService) }
func (n names) svl() string { return n.of(iptables.PrefixLocal) }
func (n names) ext() string { return n.of(iptables.PrefixExternal) }
func (n names) fw() string  { return n.of(iptables.PrefixFirewall) }

func (n names) sep(endpoint netip.AddrPort) string {
	return iptables.EndpointChain(n.port, n.protocol, endpoint)
}
