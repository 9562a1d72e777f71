package layout

import (
	"net/netip"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Priorities of our base chains. Translation comes before, and filtering
// before, what others do at the standard priorities (dstnat, srcnat, filter):
// the first to translate a connection decides, and another proxy drops what
// it takes for an unallocated address at priority 0.
const (
	GuardPriority  = -115
	DNATPriority   = -105
	LearnPriority  = -95 // behind translation, which is at -100 whatever a chain says
	SNATPriority   = 95
	FilterPriority = -10
)

// Frontend is the key that a packet finds its Service by.
func Frontend() []nft.Field { return []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}} }

// Serves reports whether a set of that name, in either layout, has as its keys the
// frontends that lead to endpoints.
func Serves(set string) bool { return set == "services" || set == "nodeports" }

// Sets are those that every layout has in a table.
type Sets struct {
	ClusterIPs, ServiceCIDRs, PodCIDRs *nft.Set
	NoEndpoints, NoNodePort            *nft.Set
}

// NewSets makes the sets for one table.
func NewSets() Sets {
	return Sets{
		ClusterIPs: &nft.Set{Name: "cluster-ips", Key: []nft.Field{nft.DestAddr{}}, Shared: true,
			Comment: "ClusterIPs of all Services"},
		ServiceCIDRs: &nft.Set{Name: "service-cidrs", Key: []nft.Field{nft.DestAddr{}}, Interval: true,
			Comment: "addresses that ClusterIPs are allocated from"},
		PodCIDRs: &nft.Set{Name: "pod-cidrs", Key: []nft.Field{nft.SourceAddr{}}, Interval: true,
			Comment: "addresses of pods"},
		NoEndpoints: &nft.Set{Name: "no-endpoints", Key: Frontend(),
			Comment: "frontends without endpoints"},
		NoNodePort: &nft.Set{Name: "no-endpoints-nodeport", Key: Frontend(),
			Comment: "NodePorts without endpoints"},
	}
}

// Networks appends the elements that the cluster's networks stand for.
func (s *Sets) Networks(to []nft.Placed, t *nft.Table, n Networks) []nft.Placed {
	to = ranges(to, t, s.PodCIDRs, OfFamily(t.Family, n.Pods))
	return ranges(to, t, s.ServiceCIDRs, OfFamily(t.Family, n.Services))
}

func ranges(to []nft.Placed, t *nft.Table, set *nft.Set, prefixes []netip.Prefix) []nft.Placed {
	for _, prefix := range prefixes {
		to = append(to, nft.Placed{Table: t, Set: set, Element: nft.Range(prefix)})
	}
	return to
}

// Comment names the Service port. Kubernetes' longest names of a Service and
// its namespace fit just so; a port's name that does not fit is left out.
func Comment(name proxy.Name, port *proxy.Port) string {
	if full := port.FullName(name); len(full) <= nft.MaxElementComment {
		return full
	}
	return name.String()
}

// Rule is a rule without a comment.
func Rule(statements ...nft.Statement) nft.Rule { return nft.Rule{Statements: statements} }

// Commented is a rule with a comment.
func Commented(comment string, statements ...nft.Statement) nft.Rule {
	return nft.Rule{Statements: statements, Comment: comment}
}

// BaseChain is a chain that the kernel calls.
func BaseChain(name, typ string, hook nft.Hook, priority int32, rules ...nft.Rule) *nft.Chain {
	return &nft.Chain{Name: name, Base: &nft.Base{Type: typ, Hook: hook, Priority: priority}, Rules: rules}
}

// FromPods tells traffic from pods, or, with not, all other traffic; nil if
// there is nothing to tell it by.
func (c Config) FromPods(f nft.Family, not bool) nft.Statement {
	switch name := c.PodInterface; {
	case name != "" && name[len(name)-1] == '*':
		return nft.Incoming{Name: name[:len(name)-1], Prefix: true, Not: not}
	case name != "":
		return nft.Incoming{Name: name, Not: not}
	case len(OfFamily(f, c.PodCIDRs)) > 0:
		return nft.InSet{Key: []nft.Field{nft.SourceAddr{}}, Set: "pod-cidrs", Not: not}
	}
	return nil
}

// MarkOutside does mark for traffic to ClusterIPs that has to be masqueraded
// for where it comes from.
func (c Config) MarkOutside(f nft.Family, mark nft.Statement) []nft.Rule {
	clusterIP := nft.InSet{Key: []nft.Field{nft.DestAddr{}}, Set: "cluster-ips"}
	switch outside := c.FromPods(f, true); {
	case c.MasqueradeAll:
		return []nft.Rule{Commented("masquerade all traffic to ClusterIPs", clusterIP, mark)}
	case outside != nil:
		return []nft.Rule{Commented("masquerade traffic to ClusterIPs that does not come from pods", outside, clusterIP, mark)}
	}
	return nil
}

// Masquerade gives this node's address to connections that were marked.
func (c Config) Masquerade() nft.Rule {
	return Rule(nft.Marked{Bits: c.Mark()}, nft.Mark{Bits: c.Mark(), Flip: true}, nft.Masquerade{})
}

// NoEndpoints answers clients of frontends that lead nowhere. It runs
// after translation: kernels before 5.9 can't reject in prerouting. NodePorts are
// rejected where they arrive: a process on this node that sends to one would be
// told that it may not, instead of that nobody listens.
func NoEndpoints(set string) []nft.Rule {
	return []nft.Rule{Rule(nft.InSet{Key: Frontend(), Set: set}, nft.Reject{})}
}

// Undefined ends what goes to a virtual address that means nothing. What has been
// translated goes to an endpoint.
func Undefined() []nft.Rule {
	to := []nft.Field{nft.DestAddr{}}
	return []nft.Rule{
		Rule(nft.Translated{}, nft.Return{}),
		Commented("a port that the ClusterIP does not have", nft.InSet{Key: to, Set: "cluster-ips"}, nft.Reject{}),
		Commented("a ClusterIP that no Service has", nft.InSet{Key: to, Set: "service-cidrs"}, nft.ToNode{Not: true}, nft.Drop{}),
	}
}

// Lookup gives an element that the kernel has, by its key, and whether there is one.
type Lookup func(t *nft.Table, set *nft.Set, key string) (nft.Element, bool)
