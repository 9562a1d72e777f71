package maps

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Layout is the two tables as they are for every set of Services.
type Layout struct {
	config   layout.Config
	families [2]family
}

// family is one table and its sets by what they hold.
type family struct {
	table *nft.Table

	layout.Sets
	guarded, sourceRanges, hairpin *nft.Set

	services, dispatch, endpoints *nft.Set
	localServices, localEndpoints *nft.Set

	stickyServices, stickyIDs, stickyLocalIDs                 *nft.Set
	stickyEndpoints, stickyTimeouts, stickyShares, remembered *nft.Set

	// frontendBytes and endpointBytes are the lengths of the keys and data that
	// a frontend and each of its endpoints have in the maps.
	frontendBytes, endpointBytes int
}

// NewLayout makes the layout for a valid configuration.
func NewLayout(c layout.Config) *Layout {
	l := &Layout{config: c}
	for i, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		l.families[i] = newFamily(f, c)
	}
	return l
}

// Config is what the layout was made for.
func (l *Layout) Config() layout.Config { return l.config }

// Known are the networks that the configuration names.
func (l *Layout) Known() layout.Networks { return layout.Networks{Pods: l.config.PodCIDRs} }

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

// frontend is the key that a packet finds its Service by.
var frontend = layout.Frontend()

// slot is the key that a packet finds an endpoint by: a random one of n.
func slot(n uint32) []nft.Field { return append(slices.Clone(frontend), nft.Random{Mod: n}) }

// maxRemembered bounds the clients whose endpoint is remembered, over all
// Services: 64 MiB of kernel memory at most. When it is full, further clients
// get a random endpoint for each connection until others time out.
//
// share bounds those of one Service port, so that it leaves room for others: no more
// than twice as many are remembered at a time.
const (
	maxRemembered = 1 << 19
	share         = 1 << 15
)

func newFamily(f nft.Family, c layout.Config) family {
	source := nft.SourceAddr{}
	endpoint := []nft.Field{nft.DestAddr{}, nft.DestPort{}}
	id := nft.Priority{}
	fam := family{
		Sets: layout.NewSets(),
		// Behind: clients are sent to an endpoint that goes until they have forgotten it.
		hairpin: &nft.Set{Name: "hairpin", Key: append([]nft.Field{source}, frontend...), Shared: true, Behind: true,
			Comment: "endpoints on this node, which may reach themselves"},
		guarded: &nft.Set{Name: "guarded", Key: frontend,
			Comment: "frontends with source ranges"},
		sourceRanges: &nft.Set{Name: "source-ranges", Key: append(slices.Clone(frontend), source), Interval: true,
			Comment: "frontend and who may use it"},
		services: &nft.Set{Name: "services", Key: frontend, Data: []nft.Field{id},
			Comment: "frontend to the number of the chain for it"},
		dispatch: &nft.Set{Name: "dispatch", Key: []nft.Field{id}, Verdicts: true, Shared: true, Behind: true,
			Comment: "number to chain"},
		endpoints: &nft.Set{Name: "endpoints", Key: slot(1 << 16), Data: endpoint, Behind: true,
			Comment: "frontend and slot to endpoint"},
		localServices: &nft.Set{Name: "local-services", Key: frontend, Verdicts: true, Behind: true,
			Comment: "the same for traffic from outside that stays on this node"},
		localEndpoints: &nft.Set{Name: "local-endpoints", Key: slot(1 << 16), Data: endpoint, Behind: true,
			Comment: "frontend and slot to endpoint on this node"},
		stickyServices: &nft.Set{Name: "sticky-services", Key: frontend, Verdicts: true, Behind: true,
			Comment: "frontend with session affinity, for traffic from outside, to the chain for its number of endpoints"},
		stickyIDs: &nft.Set{Name: "sticky-ids", Key: frontend, Data: []nft.Field{id},
			Comment: "the same to the number of its Service port"},
		stickyLocalIDs: &nft.Set{Name: "sticky-local-ids", Key: frontend, Data: []nft.Field{id},
			Comment: "the same for traffic that stays on this node"},
		stickyEndpoints: &nft.Set{Name: "sticky-endpoints", Key: append([]nft.Field{id}, endpoint...), Shared: true,
			Comment: "Service port and endpoints that clients may keep"},
		stickyTimeouts: &nft.Set{Name: "sticky-timeouts", Key: []nft.Field{id}, Verdicts: true, Shared: true,
			Comment: "Service port to the chain that remembers for its time"},
		stickyShares: &nft.Set{Name: "sticky-shares", Key: []nft.Field{id}, Burst: share, Shared: true, Behind: true,
			Comment: "Service port and how many more clients it may have remembered"},
		remembered: &nft.Set{Name: "remembered", Key: []nft.Field{source, id}, Data: endpoint, Dynamic: true, Size: maxRemembered,
			Comment: "client and Service port to the endpoint it had last"},
	}
	for _, s := range []*nft.Set{fam.services, fam.endpoints, fam.localEndpoints} {
		s.Counted = c.Counted
	}
	fam.table = &nft.Table{
		Family: f, Name: layout.TableName, Comment: "Service traffic, programmed by kube-verdict",
		Sets: []*nft.Set{
			fam.ClusterIPs, fam.ServiceCIDRs, fam.PodCIDRs, fam.hairpin, fam.NoEndpoints, fam.NoNodePort, fam.guarded, fam.sourceRanges,
			fam.services, fam.dispatch, fam.endpoints, fam.localServices, fam.localEndpoints,
			fam.stickyServices, fam.stickyIDs, fam.stickyLocalIDs, fam.stickyEndpoints, fam.stickyTimeouts, fam.stickyShares, fam.remembered,
		},
		Chains: fixedChains(f, c),
	}
	fam.frontendBytes = fam.ClusterIPs.KeyLen(f) + fam.services.KeyLen(f) + fam.dispatch.KeyLen(f)
	fam.endpointBytes = fam.endpoints.KeyLen(f) + fam.endpoints.DataLen(f)
	return fam
}

// Chains are the names, by table, of the chains that Services with these
// numbers of endpoints lead to, and of those that one endpoint more or less
// leads to: making a chain later costs the more the fuller the maps are.
func (l *Layout) Chains(services iter.Seq[*proxy.Service]) map[*nft.Table][]string {
	type numbered struct {
		prefix string
		n      int
	}
	wanted := map[*nft.Table]map[numbered]bool{}
	for svc := range services {
		for i := range svc.Ports {
			port := &svc.Ports[i]
			if n := len(port.Endpoints); n > 0 && len(port.Frontends) > 0 {
				t := l.family(nft.FamilyOf(port.Frontends[0].Addr)).table
				if wanted[t] == nil {
					wanted[t] = map[numbered]bool{}
				}
				prefix := clusterPrefix
				if port.Affinity > 0 {
					prefix = stickyPrefix
				}
				for _, n := range []int{n, n + 1, max(n-1, 1)} {
					wanted[t][numbered{prefix, n}] = true
				}
			}
		}
	}
	names := map[*nft.Table][]string{}
	for t, all := range wanted {
		inOrder := func(a, b numbered) int { return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.n, b.n)) }
		for _, c := range slices.SortedFunc(maps.Keys(all), inOrder) {
			names[t] = append(names[t], chainName(c.prefix, c.n))
		}
	}
	return names
}

// Counted are the maps that count new connections, if they do: that of frontends,
// and those of their endpoints.
func Counted() (services string, endpoints []string) {
	return "services", []string{"endpoints", "local-endpoints"}
}

// Memory is the table's memory of clients.
func (l *Layout) Memory(t *nft.Table) layout.Memory {
	fam := l.family(t.Family)
	return layout.Memory{Endpoints: fam.stickyEndpoints, Remembered: fam.remembered}
}

// OwnChains appends nothing: all chains are common to all Services.
func (l *Layout) OwnChains(to []nft.OwnChain, _ *proxy.Service) []nft.OwnChain { return to }

// Batch is how many elements are best written in one transaction of a large load.
// Fewer cost more validation, more cost memory.
func (l *Layout) Batch() int { return 1 << 14 }
