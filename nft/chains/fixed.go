package chains

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
)

// Names of the chains that are always there: kube-proxy's, as far as it has one
// for the purpose.
const (
	chainServices      = "KUBE-SERVICES"
	chainNodePorts     = "KUBE-NODEPORTS"
	chainMarkMasq      = "KUBE-MARK-MASQ"
	chainPostrouting   = "KUBE-POSTROUTING"
	chainProxyFirewall = "KUBE-PROXY-FIREWALL"
	chainNoEndpoints   = "KUBE-NO-ENDPOINTS"
	chainNoNodePort    = "KUBE-NO-NODEPORT"
	chainNoLocal       = "KUBE-NO-LOCAL-ENDPOINTS"
	chainUndefined     = "KUBE-NO-SERVICE"
)

// fixedChains are the chains that are there for every set of Services. The base
// chains are named for iptables' tables and chains.
func fixedChains(f nft.Family, c layout.Config) []*nft.Chain {
	base := layout.BaseChain
	jump := func(chain string) nft.Rule { return layout.Rule(nft.Jump{Chain: chain}) }
	check := func(chain string) nft.Rule { return layout.Rule(nft.NewConnection{}, nft.Jump{Chain: chain}) }
	mark := nft.Jump{Chain: chainMarkMasq}
	dispatch := func(to string) nft.Rule { return layout.Rule(nft.Dispatch{Key: layout.Frontend(), Map: to}) }
	return []*nft.Chain{
		base("firewall-PREROUTING", "filter", nft.Prerouting, layout.GuardPriority, check(chainProxyFirewall)),
		base("firewall-OUTPUT", "filter", nft.Output, layout.GuardPriority, check(chainProxyFirewall)),
		base("nat-PREROUTING", "nat", nft.Prerouting, layout.DNATPriority, jump(chainServices)),
		base("nat-OUTPUT", "nat", nft.Output, layout.DNATPriority, jump(chainServices)),
		base("nat-POSTROUTING", "nat", nft.Postrouting, layout.SNATPriority, jump(chainPostrouting)),
		base("filter-INPUT", "filter", nft.Input, layout.FilterPriority, check(chainNoEndpoints), check(chainNoNodePort)),
		base("filter-FORWARD", "filter", nft.Forward, layout.FilterPriority, check(chainNoEndpoints), check(chainUndefined)),
		base("filter-OUTPUT", "filter", nft.Output, layout.FilterPriority, check(chainNoEndpoints), check(chainUndefined)),
		{Name: chainProxyFirewall, Rules: []nft.Rule{dispatch("firewall")}},
		{Name: chainServices, Rules: append(c.MarkOutside(f, mark),
			dispatch("services"),
			layout.Rule(nft.Goto{Chain: chainNodePorts}))},
		{Name: chainNodePorts, Rules: []nft.Rule{dispatch("nodeports")}},
		{Name: chainMarkMasq, Rules: []nft.Rule{layout.Rule(nft.Mark{Bits: c.Mark()})}},
		{Name: chainPostrouting, Rules: []nft.Rule{c.Masquerade()}},
		{Name: chainNoLocal, Rules: []nft.Rule{dropped()}},
		{Name: chainNoEndpoints, Rules: layout.NoEndpoints("no-endpoints")},
		{Name: chainNoNodePort, Rules: layout.NoEndpoints("no-endpoints-nodeport")},
		{Name: chainUndefined, Rules: layout.Undefined()},
		c.Stored(f, layout.Chains),
	}
}

func dropped() nft.Rule { return layout.Rule(nft.Counter{}, nft.Drop{}) }
