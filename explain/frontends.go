package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// frontend is an address of a port, in the words of kube-proxy's rules.
func frontend(full string, p *proxy.Port, f proxy.Frontend) Frontend {
	chain := func(prefix string) string { return iptables.ServiceChain(prefix, full, p.Protocol) }
	out := Frontend{
		Kind: kinds[f.Kind], Address: netip.AddrPortFrom(f.Addr, p.Port).String() + "/" + p.Protocol.String(), Meets: meets(p),
		Match: fmt.Sprintf("-d %s -p %s --dport %d", netip.PrefixFrom(f.Addr, f.Addr.BitLen()), p.Protocol, p.Port),
	}
	first := "KUBE-SERVICES"
	if f.Kind == proxy.NodePort {
		first = "KUBE-NODEPORTS"
		out.Match = fmt.Sprintf("-p %s --dport %d", p.Protocol, p.Port)
	}
	out.Chains = []string{first}
	n := len(p.Endpoints)
	switch {
	case n == 0 && !p.Elsewhere:
		if f.Kind != proxy.ClusterIP {
			first = "KUBE-EXTERNAL-SERVICES"
		}
		out.Chains = []string{first, "REJECT"}
		return out
	case n == 0:
		out.Chains = []string{first, "DROP"}
		return out
	case p.InternalLocal:
		out.Chains = append(out.Chains, chain(iptables.PrefixLocal))
		return out
	}
	if len(p.SourceRanges) > 0 {
		out.Chains = append(out.Chains, chain(iptables.PrefixFirewall))
	}
	if p.External() {
		out.Chains = append(out.Chains, chain(iptables.PrefixExternal))
	}
	if p.LocalOnly {
		out.Chains = append(out.Chains, chain(iptables.PrefixLocal))
	} else {
		out.Chains = append(out.Chains, chain(iptables.PrefixService))
	}
	return out
}

var kinds = map[proxy.FrontendKind]string{
	proxy.ClusterIP: "ClusterIP", proxy.ExternalIP: "external IP", proxy.LoadBalancerIP: "load balancer", proxy.NodePort: "NodePort",
}

// meets is what a connection meets, in words.
func meets(p *proxy.Port) string {
	n, here := len(p.Endpoints), len(p.LocalEndpoints)
	var text string
	switch {
	case n == 0 && p.Elsewhere:
		text = "a drop: no endpoint is on this node, and the internal traffic policy is Local"
	case n == 0:
		text = "a rejection: there is no endpoint that gets traffic"
	case p.LocalOnly && here == 0:
		text = oneOf(n) + " if it comes from a pod or from this node; else a drop: none is on this node, and the external traffic policy is Local"
	case p.LocalOnly:
		text = oneOf(n) + " if it comes from a pod or from this node; else " + oneOf(here) + " on this node: the external traffic policy is Local"
	case p.InternalLocal:
		text = oneOf(n) + " on this node: the internal traffic policy is Local"
	default:
		text = oneOf(n)
	}
	if p.Affinity > 0 && n > 0 {
		text += fmt.Sprintf("; a client keeps it for %s after its last connection (session affinity)", duration(p.Affinity))
	}
	if len(p.SourceRanges) > 0 {
		text += "; a drop, if the client is from elsewhere than " + prefixes(p.SourceRanges)
	}
	return text
}

func oneOf(n int) string {
	if n == 1 {
		return "the one endpoint"
	}
	return fmt.Sprintf("one of the %d endpoints", n)
}

func prefixes(list []netip.Prefix) string {
	var all []string
	for _, p := range list {
		all = append(all, p.String())
	}
	return strings.Join(all, ", ")
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
