package dataplane

import (
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// plan works out how the kernel comes to have the changes, and the networks.
func (w *Writer) plan(changes []Change) *ledger.Plan {
	w.old.Reset()
	w.new.Reset()
	for i := range changes {
		c := &changes[i]
		had, has := len(w.old.Elements), len(w.new.Elements)
		old, ok := w.applied[c.Name]
		switch {
		case ok && !c.Gone:
			w.from, w.to = old, c.Service
			w.render(&w.old, &w.from, &w.to)
			w.render(&w.new, &w.to, &w.from)
		case ok:
			w.from = old
			w.render(&w.old, &w.from, nil)
		case !c.Gone:
			w.to = c.Service
			w.render(&w.new, &w.to, nil)
		}
		w.old.Elements, w.new.Elements = differing(w.old.Elements, had, w.new.Elements, has)
	}
	if !w.networksHeld() {
		if w.held != nil {
			w.old.Elements = w.layout.Networks(w.old.Elements, *w.held)
		}
		w.new.Elements = w.layout.Networks(w.new.Elements, w.networks)
	}
	return w.ledger.Plan(w.old, w.new)
}

func (w *Writer) networksHeld() bool { return w.held != nil && w.held.Equal(w.networks) }

// render appends what a Service has in the tables, and other, if there is one, may not have.
func (w *Writer) render(to *nft.Objects, svc, other *proxy.Service) {
	to.Elements = w.layout.Changed(to.Elements, svc, other)
	to.Chains = w.layout.OwnChains(to.Chains, svc)
}

// differing leaves out what a Service had and has at the same place, i and j being its
// first: that is most of it, and nothing has to be done about it. No element is in a list
// twice, but for those that Services share, which are counted.
func differing(a []nft.Placed, i int, b []nft.Placed, j int) (_, _ []nft.Placed) {
	n, common := 0, min(len(a)-i, len(b)-j)
	for k := range common {
		if a[i+k] != b[j+k] {
			a[i+n], b[j+n] = a[i+k], b[j+k]
			n++
		}
	}
	return slices.Delete(a, i+n, i+common), slices.Delete(b, j+n, j+common)
}
