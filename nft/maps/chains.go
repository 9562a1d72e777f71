package maps

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Priorities of our base chains. Translation comes before, and filtering
// before, what others do at the standard priorities (dstnat, srcnat, filter):
// the first to translate a connection decides, and another proxy drops what
// it takes for an unallocated address at priority 0.
const (
	guardPriority  = -115
	dnatPriority   = -105
	snatPriority   = 95
	filterPriority = -10
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
	config Config
}

// fixedChains are the chains that are there for every set of Services.
func fixedChains(f nft.Family, c Config) []*nft.Chain {
	r := rules{f, c}
	base := func(name, typ string, hook nft.Hook, priority int32, rules ...nft.Rule) *nft.Chain {
		return &nft.Chain{Name: name, Base: &nft.Base{Type: typ, Hook: hook, Priority: priority}, Rules: rules}
	}
	jump := func(chain string) nft.Rule { return rule(nft.Jump{Chain: chain}) }
	check := func(chain string) nft.Rule { return rule(nft.NewConnection{}, nft.Jump{Chain: chain}) }
	learn := rule(nft.Translated{}, nft.Jump{Chain: chainLearn})
	return []*nft.Chain{
		base("guard-prerouting", "filter", nft.Prerouting, guardPriority, check(chainGuard)),
		base("guard-output", "filter", nft.Output, guardPriority, check(chainGuard)),
		base("nat-prerouting", "nat", nft.Prerouting, dnatPriority, jump(chainServices)),
		base("nat-output", "nat", nft.Output, dnatPriority, jump(chainServices)),
		base("nat-input", "nat", nft.Input, snatPriority, learn),
		base("nat-postrouting", "nat", nft.Postrouting, snatPriority, learn, jump(chainMasquerading)),
		base("filter-input", "filter", nft.Input, filterPriority, check(chainNoEndpoints), check(chainNoNodePort)),
		base("filter-forward", "filter", nft.Forward, filterPriority, check(chainNoEndpoints), check(chainUndefined)),
		base("filter-output", "filter", nft.Output, filterPriority, check(chainNoEndpoints), check(chainUndefined)),
		{Name: chainGuard, Rules: r.guard()},
		{Name: chainSourceRanges, Rules: r.sourceRanges()},
		{Name: chainServices, Rules: r.services()},
		{Name: chainMasquerading, Rules: r.masquerade()},
		{Name: chainNoEndpoints, Rules: r.noEndpoints("no-endpoints")},
		{Name: chainNoNodePort, Rules: r.noEndpoints("no-endpoints-nodeport")},
		{Name: chainUndefined, Rules: r.undefined()},
		{Name: chainNoLocal, Rules: []nft.Rule{rule(nft.Counter{}, nft.Drop{})}},
		{Name: chainSticky, Rules: r.sticky("sticky-ids", "sticky-services")},
		{Name: chainStickyLocal, Rules: r.sticky("sticky-local-ids", "local-services")},
		{Name: chainStickyExternal, Rules: []nft.Rule{r.mark(), rule(nft.Goto{Chain: chainSticky})}},
		{Name: chainStickyExternalLocal, Rules: append(r.shortCircuit(chainSticky), rule(nft.Goto{Chain: chainStickyLocal}))},
		{Name: chainLearn, Rules: r.learn()},
		{Name: chainLearnID, Rules: r.learnEndpoint()},
	}
}

func rule(statements ...nft.Statement) nft.Rule { return nft.Rule{Statements: statements} }

func commented(comment string, statements ...nft.Statement) nft.Rule {
	return nft.Rule{Statements: statements, Comment: comment}
}

// fromPods tells traffic from pods, or, with not, all other traffic; nil if
// there is nothing to tell it by.
func (r rules) fromPods(not bool) nft.Statement {
	switch name := r.config.PodInterface; {
	case name != "" && name[len(name)-1] == '*':
		return nft.Incoming{Name: name[:len(name)-1], Prefix: true, Not: not}
	case name != "":
		return nft.Incoming{Name: name, Not: not}
	case len(ofFamily(r.family, r.config.PodCIDRs)) > 0:
		return nft.InSet{Key: []nft.Field{nft.SourceAddr{}}, Set: "pod-cidrs", Not: not}
	}
	return nil
}

func (r rules) mark() nft.Rule { return rule(nft.Mark{Bits: r.config.mark()}) }

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

// services sends each new connection to the chain of its Service.
func (r rules) services() []nft.Rule {
	clusterIP := nft.InSet{Key: []nft.Field{nft.DestAddr{}}, Set: "cluster-ips"}
	mark := nft.Mark{Bits: r.config.mark()}
	var list []nft.Rule
	switch outside := r.fromPods(true); {
	case r.config.MasqueradeAll:
		list = append(list, commented("masquerade all traffic to ClusterIPs", clusterIP, mark))
	case outside != nil:
		list = append(list, commented("masquerade traffic to ClusterIPs that does not come from pods", clusterIP, outside, mark))
	}
	return append(list, rule(nft.Dispatch{Key: frontend, Map: "services"}))
}

// masquerade gives this node's address to connections that would not come
// back otherwise.
func (r rules) masquerade() []nft.Rule {
	mark := r.config.mark()
	return []nft.Rule{
		rule(nft.Marked{Bits: mark}, nft.Mark{Bits: mark, Flip: true}, nft.Masquerade{}),
		commented("hairpin: an endpoint that reached itself through a Service",
			nft.Translated{}, nft.InSet{Key: append([]nft.Field{nft.SourceAddr{}}, frontend...), Set: "hairpin"}, nft.Masquerade{}),
	}
}

// noEndpoints answers clients of frontends that lead nowhere. It has to run
// after translation: kernels before 5.9 can't reject in prerouting. NodePorts are
// rejected where they arrive: a process on this node that sends to one would be
// told that it may not, instead of that nobody listens.
func (r rules) noEndpoints(set string) []nft.Rule {
	return []nft.Rule{rule(nft.InSet{Key: frontend, Set: set}, nft.Reject{})}
}

// undefined ends what goes to a virtual address that means nothing.
func (r rules) undefined() []nft.Rule {
	to := []nft.Field{nft.DestAddr{}}
	return []nft.Rule{
		commented("a port that the ClusterIP does not have", nft.InSet{Key: to, Set: "cluster-ips"}, nft.Reject{}),
		commented("a ClusterIP that no Service has", nft.InSet{Key: to, Set: "service-cidrs"}, nft.Drop{}),
	}
}

// shortCircuit is for the external traffic policy Local: traffic from pods and
// from this node goes to any endpoint, as if it had gone out and come back
// through the load balancer.
func (r rules) shortCircuit(chain string) []nft.Rule {
	var list []nft.Rule
	if pods := r.fromPods(false); pods != nil {
		list = append(list, commented("from a pod", pods, nft.Goto{Chain: chain}))
	}
	return append(list, commented("from this node", nft.FromNode{}, nft.Mark{Bits: r.config.mark()}, nft.Goto{Chain: chain}))
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
