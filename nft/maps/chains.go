package maps

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Names of the chains that are always there.
const (
	chainGuard        = "guard"
	chainSourceRanges = "check-source"
	chainServices     = "services"
	chainMasquerading = "masquerading"
	chainLearn        = "learn"
	chainLearnID      = "learn-endpoint"
	chainNoEndpoints  = "reject-no-endpoints"
	chainNoNodePort   = "reject-no-nodeport"
	chainUndefined    = "reject-undefined"
	chainNoLocal      = "no-local-endpoints"

	chainSticky              = "sticky"
	chainStickyExternal      = "sticky-external"
	chainStickyExternalLocal = "sticky-external-local"
	chainStickyLocal         = "sticky-local"
)

// rules makes the chains of one family.
type rules struct {
	family nft.Family
	config layout.Config
}

// fixedChains are the chains that are there for every set of Services.
func fixedChains(f nft.Family, c layout.Config) []*nft.Chain {
	r := rules{f, c}
	base := layout.BaseChain
	jump := func(chain string) nft.Rule { return rule(nft.Jump{Chain: chain}) }
	check := func(chain string) nft.Rule { return rule(nft.NewConnection{}, nft.Jump{Chain: chain}) }
	learn := rule(nft.Translated{}, nft.Jump{Chain: chainLearn})
	return []*nft.Chain{
		base("guard-prerouting", "filter", nft.Prerouting, layout.GuardPriority, check(chainGuard)),
		base("guard-output", "filter", nft.Output, layout.GuardPriority, check(chainGuard)),
		base("nat-prerouting", "nat", nft.Prerouting, layout.DNATPriority, jump(chainServices)),
		base("nat-output", "nat", nft.Output, layout.DNATPriority, jump(chainServices)),
		base("nat-input", "nat", nft.Input, layout.SNATPriority, learn),
		base("nat-postrouting", "nat", nft.Postrouting, layout.SNATPriority, learn, jump(chainMasquerading)),
		base("filter-input", "filter", nft.Input, layout.FilterPriority, check(chainNoEndpoints), check(chainNoNodePort)),
		base("filter-forward", "filter", nft.Forward, layout.FilterPriority, check(chainNoEndpoints), check(chainUndefined)),
		base("filter-output", "filter", nft.Output, layout.FilterPriority, check(chainNoEndpoints), check(chainUndefined)),
		{Name: chainGuard, Rules: r.guard()},
		{Name: chainSourceRanges, Rules: r.sourceRanges()},
		{Name: chainServices, Rules: r.services()},
		{Name: chainMasquerading, Rules: r.masquerade()},
		{Name: chainNoEndpoints, Rules: layout.NoEndpoints("no-endpoints")},
		{Name: chainNoNodePort, Rules: layout.NoEndpoints("no-endpoints-nodeport")},
		{Name: chainUndefined, Rules: layout.Undefined()},
		{Name: chainNoLocal, Rules: []nft.Rule{rule(nft.Counter{}, nft.Drop{})}},
		{Name: chainSticky, Rules: r.sticky("sticky-ids", "sticky-services")},
		{Name: chainStickyLocal, Rules: r.sticky("sticky-local-ids", "local-services")},
		{Name: chainStickyExternal, Rules: []nft.Rule{r.mark(), rule(nft.Goto{Chain: chainSticky})}},
		{Name: chainStickyExternalLocal, Rules: append(r.shortCircuit(chainSticky), rule(nft.Goto{Chain: chainStickyLocal}))},
		{Name: chainLearn, Rules: r.learn()},
		{Name: chainLearnID, Rules: r.learnEndpoint()},
	}
}

func rule(statements ...nft.Statement) nft.Rule { return layout.Rule(statements...) }

func (r rules) mark() nft.Rule { return rule(nft.Mark{Bits: r.config.Mark()}) }

// guard drops who may not use a load balancer's address. It has to come before
// translation, which hides that address.
func (r rules) guard() []nft.Rule {
	return []nft.Rule{rule(nft.InSet{Key: frontend, Set: "guarded"}, nft.Goto{Chain: chainSourceRanges})}
}

func (r rules) sourceRanges() []nft.Rule {
	return []nft.Rule{rule(
		nft.InSet{Key: append(frontend[:len(frontend):len(frontend)], nft.SourceAddr{}), Set: "source-ranges", Not: true, Ranges: true},
		nft.Drop{})}
}

// services sends each new connection to the chain of its Service. Its number is
// handed on in the packet's priority.
func (r rules) services() []nft.Rule {
	return append(r.config.MarkOutside(r.family, nft.Mark{Bits: r.config.Mark()}),
		rule(nft.SetPriority{Key: frontend, Map: "services"}, nft.Dispatch{Key: []nft.Field{nft.Priority{}}, Map: "dispatch"}))
}

// masquerade gives this node's address to connections that would not come
// back otherwise.
func (r rules) masquerade() []nft.Rule {
	return []nft.Rule{
		r.config.Masquerade(),
		layout.Commented("hairpin: an endpoint that reached itself through a Service",
			nft.Translated{}, nft.InSet{Key: append([]nft.Field{nft.SourceAddr{}}, frontend...), Set: "hairpin"}, nft.Masquerade{}),
	}
}

// shortCircuit is for the external traffic policy Local: traffic from pods and
// from this node goes to any endpoint, as if it had gone out and come back
// through the load balancer.
func (r rules) shortCircuit(chain string) []nft.Rule {
	var list []nft.Rule
	if pods := r.config.FromPods(r.family, false); pods != nil {
		list = append(list, layout.Commented("from a pod", pods, nft.Goto{Chain: chain}))
	}
	return append(list, layout.Commented("from this node", nft.FromNode{}, nft.Mark{Bits: r.config.Mark()}, nft.Goto{Chain: chain}))
}

// transports are the protocols of Services. nft reads some expressions only in
// a rule about one of them.
var transports = []nft.Statement{
	nft.Transport{Protocol: uint8(proxy.TCP)},
	nft.Transport{Protocol: uint8(proxy.UDP)},
	nft.Transport{Protocol: uint8(proxy.SCTP)},
}

// sticky sends a client to the endpoint that it had last, or else on.
func (r rules) sticky(ids, services string) []nft.Rule {
	list := []nft.Rule{rule(nft.SetPriority{Key: frontend, Map: ids})}
	for _, transport := range transports {
		list = append(list, rule(transport, nft.TranslateTo{Key: []nft.Field{nft.SourceAddr{}, nft.Priority{}}, Map: "remembered"}))
	}
	return append(list,
		rule(nft.SetPriority{}),
		rule(nft.Dispatch{Key: frontend, Map: services}),
		rule(nft.Counter{}, nft.Drop{}))
}

// learn notes which endpoint a client got, when that is known.
func (r rules) learn() []nft.Rule {
	var list []nft.Rule
	for _, ids := range []string{"sticky-ids", "sticky-local-ids"} {
		for _, transport := range transports {
			list = append(list, rule(transport,
				nft.SetPriority{Key: []nft.Field{nft.OriginalDest{}, nft.L4Proto{}, nft.OriginalDestPort{}}, Map: ids},
				nft.Jump{Chain: chainLearnID}))
		}
	}
	return list
}

// learnEndpoint leaves out endpoints that are none any more.
func (r rules) learnEndpoint() []nft.Rule {
	return []nft.Rule{
		rule(nft.InSet{Key: []nft.Field{nft.Priority{}, nft.DestAddr{}, nft.DestPort{}}, Set: "sticky-endpoints"},
			nft.Dispatch{Key: []nft.Field{nft.Priority{}}, Map: "sticky-timeouts"}),
		rule(nft.SetPriority{}),
	}
}
