package maps

import (
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Layout is the two tables as they are for every set of Services.
type Layout struct {
	config   Config
	families [2]family
}

// family is one table and its sets by what they hold.
type family struct {
	table       *nft.Table
	clusterIPs  *nft.Set
	services    *nft.Set
	endpoints   *nft.Set
	noEndpoints *nft.Set
	hairpin     *nft.Set
	podCIDRs    *nft.Set
	// frontendBytes and endpointBytes are the lengths of the keys and data that
	// a frontend and each of its endpoints have in the maps.
	frontendBytes, endpointBytes int
}

// NewLayout makes the layout for a valid configuration.
func NewLayout(c Config) *Layout {
	l := &Layout{config: c}
	for i, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		l.families[i] = newFamily(f, c)
	}
	return l
}

// Tables are our tables, without elements.
func (l *Layout) Tables() []*nft.Table {
	return []*nft.Table{l.families[0].table, l.families[1].table}
}

func (l *Layout) family(f nft.Family) *family {
	if f == nft.IPv6 {
		return &l.families[1]
	}
	return &l.families[0]
}

// Priorities of our base chains. Translation comes before, and filtering
// before, what others do at the standard priorities (dstnat, srcnat, filter):
// the first to translate a connection decides, and another proxy drops what
// it takes for an unallocated address at priority 0.
const (
	dnatPriority   = -105
	snatPriority   = 95
	filterPriority = -10
)

func newFamily(f nft.Family, c Config) family {
	frontend := []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}
	fam := family{
		clusterIPs: &nft.Set{Name: "cluster-ips", Key: []nft.Field{nft.DestAddr{}}, Shared: true,
			Comment: "ClusterIPs of all Services"},
		podCIDRs: &nft.Set{Name: "pod-cidrs", Key: []nft.Field{nft.SourceAddr{}}, Interval: true,
			Comment: "addresses of pods"},
		hairpin: &nft.Set{Name: "hairpin", Key: []nft.Field{nft.SourceAddr{}, nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}, Shared: true,
			Comment: "endpoints on this node, which may reach themselves"},
		noEndpoints: &nft.Set{Name: "no-endpoints", Key: frontend,
			Comment: "frontends without endpoints"},
		services: &nft.Set{Name: "services", Key: frontend, Verdicts: true,
			Comment: "frontend to the chain for its number of endpoints"},
		endpoints: &nft.Set{Name: "endpoints", Key: slot(1 << 16), Data: []nft.Field{nft.DestAddr{}, nft.DestPort{}}, Behind: true,
			Comment: "frontend and slot to endpoint"},
	}
	fam.table = &nft.Table{
		Family: f, Name: TableName, Comment: "Service traffic, programmed by kube-verdict",
		Sets: []*nft.Set{fam.clusterIPs, fam.podCIDRs, fam.hairpin, fam.noEndpoints, fam.services, fam.endpoints},
	}
	fam.table.Chains = fam.chains(c)
	fam.frontendBytes = fam.clusterIPs.KeyLen(f) + fam.services.KeyLen(f)
	fam.endpointBytes = fam.endpoints.KeyLen(f) + fam.endpoints.DataLen(f)
	return fam
}

func slot(n uint32) []nft.Field {
	return []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}, nft.Random{Mod: n}}
}

func (fam *family) chains(c Config) []*nft.Chain {
	base := func(name, typ string, hook nft.Hook, priority int32, rules ...nft.Rule) *nft.Chain {
		return &nft.Chain{Name: name, Base: &nft.Base{Type: typ, Hook: hook, Priority: priority}, Rules: rules}
	}
	jump := func(chain string) nft.Rule { return rule(nft.Jump{Chain: chain}) }
	check := rule(nft.NewConnection{}, nft.Jump{Chain: "reject-unserved"})
	return []*nft.Chain{
		base("nat-prerouting", "nat", nft.Prerouting, dnatPriority, jump("services")),
		base("nat-output", "nat", nft.Output, dnatPriority, jump("services")),
		base("nat-postrouting", "nat", nft.Postrouting, snatPriority, jump("masquerading")),
		base("filter-input", "filter", nft.Input, filterPriority, check),
		base("filter-forward", "filter", nft.Forward, filterPriority, check),
		base("filter-output", "filter", nft.Output, filterPriority, check),
		{Name: "services", Rules: fam.dispatch(c)},
		{Name: "masquerading", Rules: fam.masquerade(c)},
		{Name: "reject-unserved", Rules: fam.reject()},
	}
}

// dispatch sends each new connection to the chain of its Service.
func (fam *family) dispatch(c Config) []nft.Rule {
	clusterIP := nft.InSet{Key: fam.clusterIPs.Key, Set: fam.clusterIPs.Name}
	dispatch := nft.Dispatch{Key: fam.services.Key, Map: fam.services.Name}
	var rules []nft.Rule
	if len(c.podCIDRs(fam.table.Family)) > 0 {
		rules = append(rules, nft.Rule{
			Statements: []nft.Statement{clusterIP,
				nft.InSet{Key: fam.podCIDRs.Key, Set: fam.podCIDRs.Name, Not: true},
				nft.Mark{Bits: c.mark()}},
			Comment: "masquerade traffic to ClusterIPs that does not come from pods",
		})
	}
	return append(rules, rule(dispatch))
}

// masquerade gives this node's address to connections that would not come
// back otherwise.
func (fam *family) masquerade(c Config) []nft.Rule {
	return []nft.Rule{
		rule(nft.Marked{Bits: c.mark()}, nft.Mark{Bits: c.mark(), Flip: true}, nft.Masquerade{}),
		{
			Statements: []nft.Statement{nft.Translated{},
				nft.InSet{Key: fam.hairpin.Key, Set: fam.hairpin.Name},
				nft.Masquerade{}},
			Comment: "hairpin: an endpoint that reached itself through a Service",
		},
	}
}

// reject answers clients of frontends that lead nowhere. It has to run after
// translation: kernels before 5.9 can't reject in prerouting.
func (fam *family) reject() []nft.Rule {
	return []nft.Rule{
		rule(nft.InSet{Key: fam.noEndpoints.Key, Set: fam.noEndpoints.Name}, nft.Reject{}),
		{
			Statements: []nft.Statement{nft.InSet{Key: fam.clusterIPs.Key, Set: fam.clusterIPs.Name}, nft.Reject{}},
			Comment:    "a port that the ClusterIP does not have",
		},
	}
}

func rule(statements ...nft.Statement) nft.Rule { return nft.Rule{Statements: statements} }

const clusterPrefix = "cluster-"

// clusterChain is the name of the chain for n endpoints.
func clusterChain(n int) string { return clusterPrefix + strconv.Itoa(n) }

// Chain makes the chain that a verdict names, or nil if the layout has no such
// chain. Which of them are there depends on the Services.
func (l *Layout) Chain(t *nft.Table, name string) *nft.Chain {
	if len(name) <= len(clusterPrefix) || name[:len(clusterPrefix)] != clusterPrefix {
		return nil
	}
	n, err := strconv.ParseUint(name[len(clusterPrefix):], 10, 32)
	if err != nil || n == 0 || name != clusterChain(int(n)) {
		return nil
	}
	endpoints := l.family(t.Family).endpoints
	translate := func(n uint32) nft.Rule { return rule(nft.TranslateTo{Key: slot(n), Map: endpoints.Name}) }
	rules := []nft.Rule{translate(uint32(n))}
	if n > 1 {
		// The slot may have gone since the verdict was looked up; the lower
		// ones are still there.
		rules = append(rules, translate(uint32(n-1)))
	}
	// Never let a connection through untranslated: a dropped packet is sent
	// again, a confirmed connection stays wrong.
	rules = append(rules, rule(nft.Counter{}, nft.Drop{}))
	return &nft.Chain{Name: name, Rules: rules}
}

// Chains are the names, by table, of the chains that Services with these
// numbers of endpoints lead to, and of those that one endpoint more or less
// leads to: making a chain later costs the more the fuller the maps are.
func (l *Layout) Chains(services iter.Seq[*proxy.Service]) map[*nft.Table][]string {
	counts := map[*nft.Table]map[int]bool{}
	for svc := range services {
		for i := range svc.Ports {
			port := &svc.Ports[i]
			if n := len(port.Endpoints); n > 0 && len(port.Frontends) > 0 {
				t := l.family(nft.FamilyOf(port.Frontends[0].Addr)).table
				if counts[t] == nil {
					counts[t] = map[int]bool{}
				}
				counts[t][n] = true
				counts[t][n+1] = true
				counts[t][max(n-1, 1)] = true
			}
		}
	}
	names := map[*nft.Table][]string{}
	for t, used := range counts {
		for _, n := range slices.Sorted(maps.Keys(used)) {
			names[t] = append(names[t], clusterChain(n))
		}
	}
	return names
}
