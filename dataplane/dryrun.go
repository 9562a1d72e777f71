package dataplane

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Kernel is what a Writer needs of nf_tables. kernel.Conn is the real one.
type Kernel interface {
	// Read gives a table as it is, or nil when there is none.
	Read(id nft.ID) (*nft.Held, error)
	// Survey is Read, but may leave out the elements of sets that are large.
	Survey(id nft.ID) (*nft.Held, error)
	// Find gives those elements of a set that have one of these keys, or only some of
	// them when many of the keys are not there.
	Find(id nft.ID, set string, keys []string) ([]nft.Element, error)
	// Elements gives the elements of a set of that table.
	Elements(id nft.ID, set string) ([]nft.Element, error)
	// Commit does all of a transaction, or nothing and gives an error. It must not
	// keep it: the next one is made in its place.
	Commit(tx nft.Transaction) error
	// Quiesce waits until no packet is left that was under way when it was
	// called.
	Quiesce()
}

// paper is a kernel that is read but not written: it keeps what it is told.
type paper struct {
	Kernel
	written nft.Transaction
}

// DryRun is a Kernel that is read but not written, and what would be written to it.
func DryRun(k Kernel) (Kernel, func() nft.Transaction) {
	p := &paper{Kernel: k}
	return p, func() nft.Transaction { return p.written }
}

func (p *paper) Commit(tx nft.Transaction) error {
	p.written = append(p.written, tx...)
	return nil
}

func (p *paper) Quiesce() {}

// Difference is what would be written to bring the kernel from what it holds
// to exactly the given Services and networks; nothing when it holds them
// already. With keep, what no Service wants is left.
func Difference(k Kernel, l Layout, networks layout.Networks, services []proxy.Service, keep bool) (nft.Transaction, error) {
	p := &paper{Kernel: k}
	w := NewWriter(p, l)
	w.SetNetworks(networks)
	if err := w.Adopt(); err != nil {
		return nil, err
	}
	if _, err := w.Program(changesTo(services)); err != nil {
		return nil, err
	}
	if !keep {
		if err := w.Sweep(); err != nil {
			return nil, err
		}
	}
	return p.written, nil
}

func changesTo(services []proxy.Service) []Change {
	changes := make([]Change, len(services))
	for i, svc := range services {
		changes[i] = Change{Name: svc.Name, Service: svc}
	}
	return changes
}

// Contents are the tables as they are with the given Services and networks.
func Contents(l Layout, networks layout.Networks, services []proxy.Service) ([]nft.Contents, error) {
	p := &paper{}
	w := NewWriter(p, l)
	w.SetNetworks(networks)
	w.adopt(make([]*nft.Held, len(l.Tables())))
	if _, err := w.Program(changesTo(services)); err != nil {
		return nil, err
	}
	return p.written.Contents(), nil
}
