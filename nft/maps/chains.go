package maps

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Names of the chains that are always there.
const (
	chainSourceRanges = "check-source"
	chainServices     = "services"
	chainLearn        = "learn"
	chainMasquerading = "masquerading"
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

// fixedChains are the chains that are there for every set of Services. A rule that
// all packets come by begins with what costs least and fails for most of them; a
// lookup costs less than to ask connection tracking.
func fixedChains(f nft.Family, c layout.Config) []*nft.Chain {
	r := rules{f, c}
	base := layout.BaseChain
	jump := rule(nft.Jump{Chain: chainServices})
	elsewhere := nft.ToNode{Not: true}
	return []*nft.Chain{
		base("guard-prerouting", "filter", nft.Prerouting, layout.GuardPriority, r.guard()),
		base("guard-output", "filter", nft.Output, layout.GuardPriority, r.guard()),
		base("nat-prerouting", "nat", nft.Prerouting, layout.DNATPriority, append([]nft.Rule{jump}, r.unserved(elsewhere)...)...),
		base("nat-output", "nat", nft.Output, layout.DNATPriority, append([]nft.Rule{jump}, r.unserved()...)...),
		base("learn-prerouting", "filter", nft.Prerouting, layout.LearnPriority, r.sticks()),
		base("learn-output", "filter", nft.Output, layout.LearnPriority, r.sticks()),
		base("nat-postrouting", "nat", nft.Postrouting, layout.SNATPriority, rule(nft.Jump{Chain: chainMasquerading})),
		base("filter-input", "filter", nft.Input, layout.FilterPriority, r.arrived("no-endpoints"), r.arrived("no-endpoints-nodeport")),
		{Name: chainSourceRanges, Rules: r.sourceRanges()},
		{Name: chainServices, Rules: r.services()},
		{Name: chainLearn, Rules: r.learn()},
		{Name: chainMasquerading, Rules: r.masquerade()},
		{Name: chainNoLocal, Rules: []nft.Rule{rule(nft.Counter{}, nft.Drop{})}},
		{Name: chainSticky, Rules: r.sticky("sticky-ids", "sticky-services")},
		{Name: chainStickyLocal, Rules: r.sticky("sticky-local-ids", "local-services")},
		{Name: chainStickyExternal, Rules: []nft.Rule{r.mark(), rule(nft.Goto{Chain: chainSticky})}},
		{Name: chainStickyExternalLocal, Rules: append(r.shortCircuit(chainSticky), rule(nft.Goto{Chain: chainStickyLocal}))},
		c.Stored(f, layout.Maps),
	}
}

func rule(statements ...nft.Statement) nft.Rule { return layout.Rule(statements...) }

func (r rules) mark() nft.Rule { return rule(nft.Mark{Bits: r.config.Mark()}) }

// guard drops who may not use a load balancer's address. It has to come before
// translation, which hides that address.
func (r rules) guard() nft.Rule {
	return rule(nft.InSet{Key: frontend, Set: "guarded"}, nft.NewConnection{}, nft.Goto{Chain: chainSourceRanges})
}

func (r rules) sourceRanges() []nft.Rule {
	return []nft.Rule{rule(
		nft.InSet{Key: append(frontend[:len(frontend):len(frontend)], nft.SourceAddr{}), Set: "source-ranges", Not: true},
		nft.Drop{})}
}

// services sends each new connection to the chain of its Service. Its number is
// handed on in the packet's priority.
func (r rules) services() []nft.Rule {
	var list []nft.Rule
	if r.config.MasqueradeAll {
		list = r.config.MarkOutside(r.family, nft.Mark{Bits: r.config.Mark()})
	}
	return append(list, rule(nft.SetPriority{Key: frontend, Map: "services"}, nft.Dispatch{Key: []nft.Field{nft.Priority{}}, Map: "dispatch"}))
}

// outside marks what does not come from pods, where traffic to ClusterIPs ends up.
// Other traffic has been marked, or comes from pods, when it gets there.
func (r rules) outside() []nft.Rule {
	from := r.config.FromPods(r.family, true)
	if from == nil || r.config.MasqueradeAll {
		return nil
	}
	return []nft.Rule{layout.Commented("to masquerade", from, nft.Mark{Bits: r.config.Mark()})}
}

// unserved ends what goes to a virtual address where nothing serves, unless such an
// address is the node's own. It is told behind the Services, where only connections
// to none of them come by, and only their first packets. What the node sends to itself
// is never dropped, whatever the networks of ClusterIPs are said to be.
func (r rules) unserved(elsewhere ...nft.Statement) []nft.Rule {
	end := func(comment string, key []nft.Field, set string, unless []nft.Statement, how nft.Statement) nft.Rule {
		return layout.Commented(comment, append(append([]nft.Statement{nft.InSet{Key: key, Set: set}}, unless...), how)...)
	}
	to := []nft.Field{nft.DestAddr{}}
	return []nft.Rule{
		end("", frontend, "no-endpoints", elsewhere, nft.Reject{}),
		end("a port that the ClusterIP does not have", to, "cluster-ips", elsewhere, nft.Reject{}),
		end("a ClusterIP that no Service has", to, "service-cidrs", []nft.Statement{nft.ToNode{Not: true}}, nft.Drop{}),
	}
}

// arrived answers clients of frontends without endpoints at the node's own addresses.
// NodePorts are rejected only here: a process on this node that sends to one would be
// told that it may not, instead of that nobody listens.
func (r rules) arrived(set string) nft.Rule {
	return rule(nft.InSet{Key: frontend, Set: set}, nft.NewConnection{}, nft.Reject{})
}

// masquerade gives this node's address to connections that would not come
// back otherwise.
func (r rules) masquerade() []nft.Rule {
	return []nft.Rule{
		r.config.Masquerade(),
		layout.Commented("hairpin: an endpoint that reached itself through a Service",
			nft.InSet{Key: append([]nft.Field{nft.SourceAddr{}}, frontend...), Set: "hairpin"}, nft.Translated{}, nft.Masquerade{}),
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

// sticky sends a client from outside on with the number that its Service port has.
func (r rules) sticky(ids, services string) []nft.Rule {
	return []nft.Rule{
		rule(nft.SetPriority{Key: frontend, Map: ids}, nft.Dispatch{Key: frontend, Map: services}),
		rule(nft.Counter{}, nft.Drop{}),
	}
}

// sticks tells the first packets of connections with session affinity, which have
// been translated: their priority is still the number of their Service port.
func (r rules) sticks() nft.Rule {
	return rule(nft.Prioritized{Bits: proxy.IDBits}, nft.Jump{Chain: chainLearn})
}

// learn notes which endpoint a client got, unless it is none any more.
func (r rules) learn() []nft.Rule {
	return []nft.Rule{
		rule(nft.InSet{Key: []nft.Field{nft.Priority{}, nft.DestAddr{}, nft.DestPort{}}, Set: "sticky-endpoints"},
			nft.Dispatch{Key: []nft.Field{nft.Priority{}}, Map: "sticky-timeouts"}),
		rule(nft.NewConnection{}, nft.Translated{}, nft.SetPriority{}),
	}
}
