package chains

import (
	"iter"

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
	services, nodePorts, firewall *nft.Set
}

// NewLayout makes the layout for a valid configuration.
func NewLayout(c layout.Config) *Layout {
	l := &Layout{config: c}
	for i, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		l.families[i] = newFamily(f, c)
	}
	return l
}

func newFamily(f nft.Family, c layout.Config) family {
	fam := family{
		Sets: layout.NewSets(),
		services: &nft.Set{Name: "services", Key: layout.Frontend(), Verdicts: true,
			Comment: "frontend to the chain of its Service port"},
		nodePorts: &nft.Set{Name: "nodeports", Key: layout.Frontend(), Verdicts: true,
			Comment: "the same for NodePorts"},
		firewall: &nft.Set{Name: "firewall", Key: layout.Frontend(), Verdicts: true,
			Comment: "frontend to the chain that says who may use it"},
	}
	fam.table = &nft.Table{
		Family: f, Name: layout.TableName, Comment: "Service traffic, programmed by kube-verdict",
		Sets: []*nft.Set{
			fam.ClusterIPs, fam.ServiceCIDRs, fam.PodCIDRs, fam.NoEndpoints, fam.NoNodePort,
			fam.services, fam.nodePorts, fam.firewall,
		},
		Chains: fixedChains(f, c),
		Own:    clients(""),
	}
	return fam
}

// maxClients bounds the clients that an endpoint is remembered for. It is what the
// kernel takes for a set that does not say.
const maxClients = 65535

// clients is the set of clients that are to keep an endpoint. It has the name of
// the endpoint's chain.
func clients(name string) *nft.Set {
	return &nft.Set{Name: name, Key: []nft.Field{nft.SourceAddr{}}, Dynamic: true, Size: maxClients}
}

// Known are the networks that the configuration names.
func (l *Layout) Known() layout.Networks { return layout.Networks{Pods: l.config.PodCIDRs} }

// Tables are our tables, without elements.
func (l *Layout) Tables() []*nft.Table {
	return []*nft.Table{l.families[0].table, l.families[1].table}
}

// Networks appends the elements that the cluster's networks stand for.
func (l *Layout) Networks(to []nft.Placed, n layout.Networks) []nft.Placed {
	for i := range l.families {
		fam := &l.families[i]
		to = fam.Networks(to, fam.table, n)
	}
	return to
}

func (l *Layout) family(f nft.Family) *family {
	if f == nft.IPv6 {
		return &l.families[1]
	}
	return &l.families[0]
}

// Changed appends all elements.
func (l *Layout) Changed(to []nft.Placed, svc, _ *proxy.Service) []nft.Placed {
	return l.Elements(to, svc)
}

// InSlots leaves a Service as it is: its endpoints have chains, and one rule that chooses
// among them, in the order that kube-proxy has them in.
func (l *Layout) InSlots(svc proxy.Service, _ *proxy.Service, _ layout.Lookup) proxy.Service {
	return svc
}

// ID is none: clients are remembered for an endpoint, in a set of its own.
func (l *Layout) ID(proxy.Name, *proxy.Port, layout.Lookup) uint32 { return 0 }

// Chain makes nothing: there are no chains that several Services lead to, but for
// those that are always there.
func (l *Layout) Chain(*nft.Table, string) *nft.Chain { return nil }

// Chains are none, likewise.
func (l *Layout) Chains(iter.Seq[*proxy.Service]) map[*nft.Table][]string { return nil }

// Memory is empty: what clients remember goes with an endpoint's chain.
func (l *Layout) Memory(*nft.Table) layout.Memory { return layout.Memory{} }

// Batch is how many elements are best written in one transaction of a large load.
// The kernel goes through all of a transaction for each map within a rule.
func (l *Layout) Batch() int { return 1 << 11 }
