package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// words tells our rules in those of kube-proxy's iptables mode, for packets to one
// frontend.
type words struct {
	full     string // the Service port, empty for none
	protocol proxy.Protocol
	dest     netip.AddrPort
	nodePort bool // the destination is an address of the node
	chosen   bool // a step's destination is the endpoint that a packet got
	guarded  bool // only some clients may use it
	local    bool // its ClusterIP has the internal traffic policy Local
	external bool // it has come by the chains for traffic from outside
}

func (w *words) chain(prefix string) string {
	return iptables.ServiceChain(prefix, w.full, w.protocol)
}

// clusterIP is the chain that a ClusterIP leads to.
func (w *words) clusterIP() string {
	if w.local {
		return w.chain(iptables.PrefixLocal)
	}
	return w.chain(iptables.PrefixService)
}

func (w *words) endpoint(e netip.AddrPort) string {
	if w.full == "" {
		return ""
	}
	return iptables.EndpointChain(w.full, w.protocol, e)
}

// match is how kube-proxy's rules tell the frontend.
func (w *words) match() string {
	if w.nodePort {
		return fmt.Sprintf("-p %s --dport %d", w.protocol, w.dest.Port())
	}
	return fmt.Sprintf("-d %s -p %s --dport %d", netip.PrefixFrom(w.dest.Addr(), w.dest.Addr().BitLen()), w.protocol, w.dest.Port())
}

// first is the chain where kube-proxy tells the frontend.
func (w *words) first() string {
	if w.nodePort {
		return "KUBE-NODEPORTS"
	}
	return "KUBE-SERVICES"
}

// iptables is what kube-proxy's rules do where one of ours does what a step says;
// empty where they do nothing.
func (w *words) iptables(s *walk.Step) string {
	if w.full == "" {
		return w.nobody(s)
	}
	name, does, sets := s.Chain, s.Rule.Does(), append(s.Rule.Sets(), "")
	if strings.HasPrefix(name, "KUBE-") {
		return "" // the layout that has kube-proxy's chains
	}
	prefix, _, _ := cutNumber(name)
	switch {
	case does&walk.Dispatches != 0:
		return w.dispatched(sets[len(sets)-2], s.Target)
	case does&walk.Translates != 0:
		return w.translated(sets[0], prefix, s)
	case does&walk.Masquerades != 0:
		if sets[0] == "hairpin" {
			sep := w.endpoint(s.Dest)
			return fmt.Sprintf("%s -s %s -j KUBE-MARK-MASQ; KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE", sep, s.Dest.Addr())
		}
		return "KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE"
	case does&walk.Leads != 0:
		return w.wentTo(prefix, s.Rule.Text())
	case does&walk.Marks != 0:
		switch {
		case prefix != "cluster-" && prefix != "sticky-" && name != "services":
			w.external = true
			return w.chain(iptables.PrefixExternal) + " -j KUBE-MARK-MASQ"
		case !w.external:
			return fmt.Sprintf("%s ! -s <pod CIDR> %s -j KUBE-MARK-MASQ", w.clusterIP(), w.match())
		}
	case does&walk.Rejects != 0:
		chain := "KUBE-SERVICES"
		if w.nodePort || sets[0] == "no-endpoints-nodeport" {
			chain = "KUBE-EXTERNAL-SERVICES"
		}
		return fmt.Sprintf(`filter %s %s --comment "%s has no endpoints" -j REJECT`, chain, w.match(), w.full)
	case does&walk.Drops != 0 && name == "check-source":
		return fmt.Sprintf(`filter KUBE-PROXY-FIREWALL %s --comment "%s traffic not accepted by %s" -j DROP`, w.match(), w.full, w.chain(iptables.PrefixFirewall))
	case does&walk.Drops != 0 && name == "no-local-endpoints":
		return fmt.Sprintf(`filter %s %s --comment "%s has no local endpoints" -j DROP`, w.first(), w.match(), w.full)
	}
	return ""
}

// nobody is for addresses that are no Service's.
func (w *words) nobody(s *walk.Step) string {
	if (s.Chain == "nat-prerouting" || s.Chain == "nat-output") && s.Rule.Does()&(walk.Drops|walk.Rejects) != 0 {
		return "(no rule: kube-proxy's iptables mode lets such packets go on)"
	}
	return ""
}

// dispatched is for a verdict that was looked up.
func (w *words) dispatched(set, target string) string {
	prefix, _, _ := cutNumber(target)
	to := map[string]string{
		"cluster-": iptables.PrefixService, "external-": iptables.PrefixExternal, "external-local-": iptables.PrefixExternal, "local-": iptables.PrefixLocal,
		"sticky-": iptables.PrefixService, "sticky-local-": iptables.PrefixLocal,
		"sticky": iptables.PrefixService, "sticky-external": iptables.PrefixExternal, "sticky-external-local": iptables.PrefixExternal,
	}[prefix]
	switch {
	case set == "dispatch" && (prefix == "cluster-" || prefix == "sticky-"):
		return fmt.Sprintf("%s %s -j %s", w.first(), w.match(), w.clusterIP())
	case set == "dispatch" && to != "" && w.guarded:
		fw := w.chain(iptables.PrefixFirewall)
		return fmt.Sprintf("%s %s -j %s; %s -j %s", w.first(), w.match(), fw, fw, w.chain(to))
	case set == "dispatch" && to != "":
		return fmt.Sprintf("%s %s -j %s", w.first(), w.match(), w.chain(to))
	case set == "local-services" && to != "":
		return fmt.Sprintf("%s -j %s", w.chain(iptables.PrefixExternal), w.chain(to))
	}
	return ""
}

// translated is for an endpoint that was looked up.
func (w *words) translated(set, prefix string, s *walk.Step) string {
	from := w.clusterIP()
	if prefix == "local-" || strings.Contains(s.Chain, "local") {
		from = w.chain(iptables.PrefixLocal)
	}
	sep := w.endpoint(s.Dest)
	dnat := fmt.Sprintf("%s -p %s -j DNAT --to-destination %s", sep, w.protocol, s.Dest)
	n := s.Rule.Random()
	switch {
	case set == "remembered":
		return fmt.Sprintf("%s -m recent --rcheck --name %s -j %s; %s", from, sep, sep, dnat)
	case n > 1 && w.chosen:
		return fmt.Sprintf("%s -m statistic --mode random (one of %d rules) -j %s; %s", from, n, sep, dnat)
	case n > 1:
		return fmt.Sprintf("%s -m statistic --mode random (one of %d rules) -j KUBE-SEP-...; KUBE-SEP-... -p %s -j DNAT", from, n, w.protocol)
	}
	return fmt.Sprintf("%s -j %s; %s", from, sep, dnat)
}

// wentTo is for a rule that leads on.
func (w *words) wentTo(prefix, rule string) string {
	external := w.chain(iptables.PrefixExternal)
	switch prefix {
	case "external-", "sticky-external":
		return fmt.Sprintf("%s -j %s", external, w.chain(iptables.PrefixService))
	case "external-local-", "sticky-external-local":
		switch {
		case strings.HasPrefix(rule, "fib saddr"):
			return fmt.Sprintf("%s -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ; %s -m addrtype --src-type LOCAL -j %s", external, external, w.chain(iptables.PrefixService))
		case !strings.HasPrefix(rule, "goto"):
			return fmt.Sprintf("%s -s <pod CIDR> -j %s", external, w.chain(iptables.PrefixService))
		}
		return fmt.Sprintf("%s -j %s", external, w.chain(iptables.PrefixLocal))
	}
	return ""
}

// cutNumber is a chain's name without the number that it ends with.
func cutNumber(name string) (prefix, number string, ok bool) {
	prefix = strings.TrimRight(name, "0123456789")
	return prefix, name[len(prefix):], prefix != name
}
