package ledger

import (
	"cmp"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// scratch is what one plan is worked out in. It is kept from plan to plan, so
// that a small change allocates little.
type scratch struct {
	old     map[place]nft.Placed
	shared  map[place]use
	leads   map[chainID]int
	chains  nft.Transaction
	rules   nft.Transaction // of chains that are in use
	adds    []nft.Placed
	deletes []nft.Placed
	ops     nft.Transaction // the last plan's
}

// use is how many more owners a shared element has.
type use struct {
	change    int
	old, want nft.Placed // the latest of those that leave and of those that enter
}

func newScratch() scratch {
	return scratch{old: map[place]nft.Placed{}, shared: map[place]use{}, leads: map[chainID]int{}}
}

// maxKept is the size up to which a map is kept: to clear one takes as long as it once
// was large.
const maxKept = 128

func (s *scratch) reset() {
	if max(len(s.old), len(s.shared), len(s.leads)) > maxKept {
		fresh := newScratch()
		s.old, s.shared, s.leads = fresh.old, fresh.shared, fresh.leads
	}
	clear(s.old)
	clear(s.shared)
	clear(s.leads)
	clear(s.adds)
	clear(s.deletes)
	s.adds, s.deletes = s.adds[:0], s.deletes[:0]
	s.chains, s.rules = nil, nil
}

// Trim gives back the memory that a load took besides. The last plan is void.
func (l *Ledger) Trim() {
	if s := &l.scratch; max(cap(s.adds), cap(s.deletes), cap(s.ops)) > maxKept {
		*s = newScratch()
	}
}

// leave notes what an owner had.
func (s *scratch) leave(elements []nft.Placed) {
	for i := range elements {
		e := &elements[i]
		if e.Goto != "" {
			s.leads[chainID{e.Table, e.Goto}]--
		}
		if e.Set.Shared {
			u := s.shared[placeOf(e)]
			u.old = *e
			u.change--
			s.shared[placeOf(e)] = u
			continue
		}
		s.old[placeOf(e)] = *e
	}
}

// replace gives an element that is there other data: no lookup is without it.
func (s *scratch) replace(old, e *nft.Placed) {
	s.deletes = append(s.deletes, *old)
	s.adds = append(s.adds, *e)
}

// transaction is the plan's operations in their order: chains, the elements
// behind verdicts, the rules of chains that are in use, then the rest. What is replaced is deleted before it is
// added, which is as good as at once: a transaction shows itself whole.
func (s *scratch) transaction() nft.Transaction {
	tx := append(slices.Grow(s.ops[:0], len(s.chains)+len(s.adds)+len(s.deletes)+len(s.rules)), s.chains...)
	for _, behind := range []bool{true, false} {
		tx = appendOps(tx, nft.Delete, s.deletes, behind)
		tx = appendOps(tx, nft.Add, s.adds, behind)
		if behind {
			tx = append(tx, s.rules...)
		}
	}
	s.ops = tx
	return tx
}

// appendOps appends the operations on elements that lie behind verdicts, or on
// the others, set by set: those of one set share messages.
func appendOps(tx nft.Transaction, verb nft.Verb, elements []nft.Placed, behind bool) nft.Transaction {
	var sets []*nft.Set // a dozen at most
	for i := range elements {
		if set := elements[i].Set; set.Behind == behind && !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	for _, set := range sets {
		for i := range elements {
			if e := &elements[i]; e.Set == set {
				tx = append(tx, nft.Op{Verb: verb, Table: e.Table, Set: set, Element: e.Element})
			}
		}
	}
	return tx
}

// sorted puts elements that come out of a map into an order.
func sorted(elements []nft.Placed) {
	slices.SortFunc(elements, func(a, b nft.Placed) int {
		return cmp.Or(
			cmp.Compare(a.Table.Family, b.Table.Family),
			cmp.Compare(a.Set.Name, b.Set.Name),
			cmp.Compare(a.Key, b.Key))
	})
}
