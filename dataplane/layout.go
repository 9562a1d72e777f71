package dataplane

import (
	"iter"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Layout is how Services become objects in our tables. maps.Layout and
// chains.Layout are the two that there are. Its methods depend on nothing but
// their arguments, and the same arguments give the same again.
type Layout interface {
	// Tables are the tables as they are for every set of Services, without
	// elements.
	Tables() []*nft.Table
	// Known are the networks that the configuration names.
	Known() layout.Networks
	// Networks appends the elements that networks stand for.
	Networks(to []nft.Placed, n layout.Networks) []nft.Placed
	// Elements appends what a Service adds to sets and maps. It must not keep svc.
	Elements(to []nft.Placed, svc *proxy.Service) []nft.Placed
	// Changed appends what Elements does, and may leave out what is the same in other,
	// the Service before or after, or nil.
	Changed(to []nft.Placed, svc, other *proxy.Service) []nft.Placed
	// InSlots has a Service's endpoints in the order of the slots that they had in old,
	// or, if that is nil, have in the kernel. Where the layout has no slots, the Service
	// stays as it is.
	InSlots(svc proxy.Service, old *proxy.Service, held layout.Lookup) proxy.Service
	// ID is the number that the kernel holds for a port of a Service with session
	// affinity (proxy.Port.ID), or 0.
	ID(name proxy.Name, port *proxy.Port, held layout.Lookup) uint32
	// OwnChains appends the chains that a Service has for itself, each once. Their
	// rules lead to one another, and to chains that are always there. It must not
	// keep svc.
	OwnChains(to []nft.OwnChain, svc *proxy.Service) []nft.OwnChain
	// Chain makes a chain that verdicts of several Services may lead to, by its
	// name; nil if there is none of that name, or if it is always there.
	Chain(t *nft.Table, name string) *nft.Chain
	// Chains are the names of such chains, by table, that are better made before
	// these Services are written.
	Chains(services iter.Seq[*proxy.Service]) map[*nft.Table][]string
	// Memory is what has to be deleted when clients' endpoints are gone.
	Memory(t *nft.Table) layout.Memory
	// Batch is how many elements go into one transaction of a large load.
	Batch() int
}

// IDs name the tables of a layout.
func IDs(l Layout) []nft.ID {
	var ids []nft.ID
	for _, t := range l.Tables() {
		ids = append(ids, t.ID())
	}
	return ids
}
