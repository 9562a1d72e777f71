package ledger

import (
	"cmp"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// ChainMaker makes the chain that a verdict leads to, or nil if there is no
// such chain in the layout.
type ChainMaker func(t *nft.Table, name string) *nft.Chain

// Ledger is the account of what the kernel holds. It is not safe for
// concurrent use.
type Ledger struct {
	chain ChainMaker
	// uses counts the owners of each shared element, leads the verdicts to
	// each chain.
	uses  map[place]int
	leads map[chainID]int
	// unread is how many elements the kernel has of large sets that were not read.
	unread map[*nft.Set]unread
	// stale is in the kernel and wanted by no one.
	stale map[place]nft.Placed
	// staleRanges are those of it that are ranges, by set.
	staleRanges map[*nft.Set]map[place]nft.Placed
	// fresh is what has become stale since Mark; changed says that anything has.
	fresh   map[place]bool
	changed bool
	// idle are the chains that no verdict leads to, or that no owner has.
	idle map[chainID]idleChain
	// idleSets are the sets that came with chains which no owner has any more.
	idleSets map[setID]bool
	// behind counts the elements behind verdicts that a table has.
	behind map[*nft.Table]int

	scratch scratch
}

// place is where an element is: what makes it the same element.
type place struct {
	set *nft.Set
	key string
}

// StaleAt is an element that is in the kernel and that no one wants, if there is one.
func (l *Ledger) StaleAt(_ *nft.Table, set *nft.Set, key string) (nft.Element, bool) {
	p, is := l.stale[place{set, key}]
	return p.Element, is
}

func placeOf(p *nft.Placed) place { return place{p.Set, p.Key} }

type chainID struct {
	table *nft.Table
	name  string
}

// idleChain is a chain that is there; differs says that its rules are not
// those that the layout has for the name. Then they are those of chain, if it is
// one of an owner's, or what was read.
type idleChain struct {
	differs bool
	chain   *nft.Chain
	held    *nft.HeldChain
}

// A new rule with a map makes the kernel walk the whole map
// (nf_tables_bind_set), some 0.4 us an element, so in a table of more than
// smallTable elements behind verdicts an idle chain is kept for the next time
// that it is needed. But each rule with a map also makes every new element of
// it dearer (nft_add_set_elem), by 0.06 us, so no more than maxIdle are kept.
const (
	smallTable = 4096
	maxIdle    = 32
)

// New is the account of a kernel that holds nothing.
func New(chain ChainMaker) *Ledger {
	return &Ledger{
		chain: chain,
		uses:  map[place]int{}, leads: map[chainID]int{},
		stale: map[place]nft.Placed{}, staleRanges: map[*nft.Set]map[place]nft.Placed{},
		fresh:    map[place]bool{},
		idle:     map[chainID]idleChain{},
		idleSets: map[setID]bool{},
		behind:   map[*nft.Table]int{},
		unread:   map[*nft.Set]unread{},
		scratch:  newScratch(),
	}
}

// Plan is a transaction, and what the account will say once the kernel has
// done it. A plan that fails is thrown away.
type Plan struct {
	Transaction nft.Transaction
	// Chains is how many operations at the start of the transaction make chains.
	// They have to be committed by themselves, before the rest, if the table is
	// in use; tell Made.
	Chains int

	claimed    []place        // no longer stale
	stale      []nft.Placed   // stale from now on
	gone       map[place]bool // stale ranges that make room
	made       []chainID      // there as the layout has them, once Chains are done
	busyChains []chainID      // no longer idle, or no longer there
	idleChains []chainID      // idle from now on
	uses       map[place]int
	leads      map[chainID]int
	own        *ownPlan // nil without such chains
}

// Plan works out how owners that had what is in old come to have what is in
// wanted instead. The account is as before until Done is called with the plan;
// a plan holds until the next one is made.
func (l *Ledger) Plan(old, wanted nft.Objects) *Plan {
	s := &l.scratch
	s.reset()
	s.leave(old.Elements)
	p := &Plan{}
	l.enter(p, wanted.Elements)
	l.leaveRest(p)
	l.settleUses(p)
	l.settleChains(p)
	l.settleOwn(p, old.Chains, wanted.Chains)
	p.Chains = len(s.chains)
	p.Transaction = s.transaction()
	return p
}

// enter plans the elements that owners are to have.
func (l *Ledger) enter(p *Plan, elements []nft.Placed) {
	s := &l.scratch
	s.adds = slices.Grow(s.adds, len(elements))
	for i := range elements {
		e := &elements[i]
		if e.Goto != "" {
			s.leads[chainID{e.Table, e.Goto}]++
		}
		if e.Set.Shared {
			u := s.shared[placeOf(e)]
			u.want = *e
			u.change++
			s.shared[placeOf(e)] = u
			continue
		}
		if len(s.old) > 0 {
			at := placeOf(e)
			if old, ok := s.old[at]; ok {
				delete(s.old, at)
				if old.Element != e.Element {
					s.replace(&old, e)
				}
				continue
			}
		}
		l.add(p, e)
	}
}

// add plans an element that no owner had: it may be there all the same.
func (l *Ledger) add(p *Plan, e *nft.Placed) {
	if len(l.stale) > 0 {
		at := placeOf(e)
		if held, ok := l.stale[at]; ok {
			p.claimed = append(p.claimed, at)
			if held.Element == e.Element {
				return
			}
			if !e.Set.Interval {
				l.scratch.replace(&held, e)
				return
			}
			// A range that becomes longer needs more room than it had.
			p.makeWay(at)
			l.scratch.deletes = append(l.scratch.deletes, held)
		}
	}
	if e.Set.Interval {
		l.makeRoom(p, e)
	}
	l.scratch.adds = append(l.scratch.adds, *e)
}

// makeRoom plans that what is stale goes before a range that overlaps it: the
// kernel has no two ranges that do.
func (l *Ledger) makeRoom(p *Plan, e *nft.Placed) {
	for at, held := range l.staleRanges[e.Set] {
		if held.Key <= e.KeyEnd && e.Key <= held.KeyEnd && p.makeWay(at) {
			p.claimed = append(p.claimed, at)
			l.scratch.deletes = append(l.scratch.deletes, held)
		}
	}
}

// makeWay notes that a stale range goes, and says whether that is new.
func (p *Plan) makeWay(at place) bool {
	if p.gone[at] {
		return false
	}
	if p.gone == nil {
		p.gone = map[place]bool{}
	}
	p.gone[at] = true
	return true
}

// leaveRest plans the end of what owners had and no one has now.
func (l *Ledger) leaveRest(p *Plan) {
	s := &l.scratch
	for _, e := range s.old {
		l.leave(p, e)
	}
	sorted(s.deletes)
}

// leave plans the end of an element: now, or when no packet can come to it any
// more.
func (l *Ledger) leave(p *Plan, e nft.Placed) {
	if e.Set.Behind {
		p.stale = append(p.stale, e)
	} else {
		l.scratch.deletes = append(l.scratch.deletes, e)
	}
}

func (l *Ledger) settleUses(p *Plan) {
	s := &l.scratch
	if len(s.shared) == 0 {
		return
	}
	p.uses = map[place]int{}
	var come, gone []nft.Placed
	for at, u := range s.shared {
		before := l.uses[at]
		after := before + u.change
		if u.change != 0 {
			p.uses[at] = after
		}
		switch {
		case before == 0 && after > 0:
			come = append(come, u.want)
		case before > 0 && after == 0:
			gone = append(gone, u.old)
		case u.want.Set != nil && u.old.Set != nil && u.want.Element != u.old.Element:
			s.replace(&u.old, &u.want)
		}
	}
	sorted(come)
	sorted(gone)
	for i := range come {
		l.add(p, &come[i])
	}
	for _, e := range gone {
		l.leave(p, e)
	}
}

func (l *Ledger) settleChains(p *Plan) {
	s := &l.scratch
	if len(s.leads) == 0 {
		return
	}
	p.leads = map[chainID]int{}
	var came []chainID
	for id, change := range s.leads {
		if change > 0 && l.leads[id] == 0 && l.rulesWanted(id) {
			came = append(came, id)
		}
	}
	for _, id := range came {
		for _, need := range l.needs(id) {
			s.leads[need]++
		}
	}
	var bring []chainID
	for id, change := range s.leads {
		if change == 0 || l.leads[id] == 0 && l.chain(id.table, id.name) == nil {
			continue // a chain that is always there
		}
		before := l.leads[id]
		after := before + change
		p.leads[id] = after
		switch {
		case before == 0 && after > 0:
			bring = append(bring, id)
			p.busyChains = append(p.busyChains, id)
		case before > 0 && after == 0:
			p.idleChains = append(p.idleChains, id)
		}
	}
	slices.SortFunc(bring, func(a, b chainID) int {
		return cmp.Or(cmp.Compare(a.table.Family, b.table.Family), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	// A chain comes before those whose rules lead to it.
	for _, first := range []bool{true, false} {
		for _, id := range bring {
			if l.rulesWanted(id) && (len(l.needs(id)) == 0) == first {
				l.bringChain(id)
				p.made = append(p.made, id)
			}
		}
	}
}

// needs are the chains that a chain's rules lead to, other than those that are
// always there.
func (l *Ledger) needs(id chainID) []chainID {
	var needs []chainID
	if chain := l.chain(id.table, id.name); chain != nil {
		for _, name := range chain.Leads() {
			if l.chain(id.table, name) != nil {
				needs = append(needs, chainID{id.table, name})
			}
		}
	}
	return needs
}

// rulesWanted says that a chain is not there with the rules that the layout has
// for its name.
func (l *Ledger) rulesWanted(id chainID) bool {
	idle, there := l.idle[id]
	return l.leads[id] == 0 && (!there || idle.differs)
}

// bringChain plans that a chain is there with the rules that the layout has
// for its name.
func (l *Ledger) bringChain(id chainID) {
	idle, there := l.idle[id]
	switch chain := l.chain(id.table, id.name); {
	case !there:
		l.scratch.chains.AddChain(id.table, chain)
	case idle.differs:
		l.scratch.chains.ReplaceRules(id.table, chain)
	}
}

// Ensure plans chains that verdicts will lead to: they cost least while their
// maps are empty. A chain comes after those that its rules lead to.
func (l *Ledger) Ensure(t *nft.Table, names []string) *Plan {
	l.scratch.reset()
	p := &Plan{leads: map[chainID]int{}}
	for _, name := range names {
		id := chainID{t, name}
		if !l.rulesWanted(id) || p.leads[id] > 0 {
			continue
		}
		l.bringChain(id)
		p.idleChains = append(p.idleChains, id)
		for _, need := range l.needs(id) {
			p.leads[need] = l.leadsIn(p, need) + 1
			p.idleChains = slices.DeleteFunc(p.idleChains, func(idle chainID) bool { return idle == need })
			p.busyChains = append(p.busyChains, need)
		}
	}
	p.Transaction = l.scratch.transaction()
	return p
}

// leadsIn is how many verdicts and rules lead to a chain when a plan is done.
func (l *Ledger) leadsIn(p *Plan, id chainID) int {
	if n, changed := p.leads[id]; changed {
		return n
	}
	return l.leads[id]
}

// Made says that the kernel has done the part of the plan that makes chains.
func (l *Ledger) Made(p *Plan) {
	for _, id := range p.made {
		for _, need := range l.needs(id) {
			l.leads[need]++
			delete(l.idle, need)
		}
		if l.leads[id] == 0 {
			l.idle[id] = idleChain{}
		}
	}
	l.madeOwn(p.own)
}

// Done says that the kernel has done the plan.
func (l *Ledger) Done(p *Plan) {
	for _, at := range p.claimed {
		delete(l.stale, at)
		delete(l.fresh, at)
		delete(l.staleRanges[at.set], at)
	}
	for i := range p.stale {
		at := placeOf(&p.stale[i])
		l.stale[at], l.fresh[at] = p.stale[i], true
	}
	l.changed = true
	for _, id := range p.busyChains {
		delete(l.idle, id)
	}
	for _, id := range p.idleChains {
		l.idle[id] = idleChain{}
	}
	l.doneOwn(p.own)
	keep(l.uses, p.uses)
	keep(l.leads, p.leads)
	for i := range p.Transaction {
		op := &p.Transaction[i]
		if op.Set == nil || !op.Set.Behind {
			continue
		}
		if op.Verb == nft.Add {
			l.behind[op.Table]++
		} else {
			l.behind[op.Table]--
		}
	}
}

// keep takes over the counts of changes, and forgets those that are zero.
func keep[K comparable](counts, changes map[K]int) {
	for k, n := range changes {
		if n == 0 {
			delete(counts, k)
		} else {
			counts[k] = n
		}
	}
}

// Stale says whether there is something to sweep.
func (l *Ledger) Stale() bool {
	return len(l.stale) > 0 || len(l.unread) > 0 || len(l.idleSets) > 0 || len(l.sweepable()) > 0
}

// Exposed says whether a packet would meet something stale: what is behind
// verdicts it does not.
func (l *Ledger) Exposed() bool {
	for _, e := range l.stale {
		if !e.Set.Behind {
			return true
		}
	}
	return false
}

// Beyond counts what is there and wanted by no one, and was not in an earlier
// account of the same tables.
func (l *Ledger) Beyond(earlier *Ledger) (elements, chains, sets int) {
	for at := range l.stale {
		if _, was := earlier.stale[at]; !was {
			elements++
		}
	}
	for id, idle := range l.idle {
		if before, was := earlier.idle[id]; !was || idle.differs && !before.differs {
			chains++
		}
	}
	for id := range l.idleSets {
		if !earlier.idleSets[id] {
			sets++
		}
	}
	return elements, chains, sets
}

// Wanted says that an element of a shared set has an owner.
func (l *Ledger) Wanted(set *nft.Set, key string) bool {
	return l.uses[place{set, key}] > 0
}

// WantedKeys are the keys of all elements of a shared set that have an owner.
func (l *Ledger) WantedKeys(set *nft.Set) map[string]bool {
	keys := map[string]bool{}
	for at, n := range l.uses {
		if at.set == set && n > 0 {
			keys[at.key] = true
		}
	}
	return keys
}

// Empty says that a table holds nothing behind verdicts.
func (l *Ledger) Empty(t *nft.Table) bool { return l.behind[t] == 0 }

// sweepable are the idle chains that are not worth keeping.
func (l *Ledger) sweepable() []chainID {
	var ids []chainID
	kept := map[*nft.Table]int{}
	for id, idle := range l.idle {
		if !idle.differs && l.behind[id.table] > smallTable && kept[id.table] < maxIdle {
			kept[id.table]++
		} else {
			ids = append(ids, id)
		}
	}
	return ids
}

// sweepLimit bounds the elements that one sweep deletes.
const sweepLimit = 1 << 16

// Mark is called before a wait for packets that are under way: what becomes stale
// during it has to wait for the next one.
func (l *Ledger) Mark() {
	l.fresh, l.changed = map[place]bool{}, false
}

// Sweep plans the deletion of what was stale at the last Mark, as much as may be
// deleted at once: first verdicts and what else packets meet at once; then, when no
// packet can still be behind those verdicts, the elements behind them; last, if
// nothing has changed meanwhile, the chains. Call it again, after another wait, until
// Stale says no.
func (l *Ledger) Sweep() *Plan {
	p := &Plan{}
	for _, behind := range []bool{false, true} {
		var elements []nft.Placed
		for at, e := range l.stale {
			if e.Set.Behind == behind && !l.fresh[at] && len(elements) < sweepLimit {
				p.claimed = append(p.claimed, at)
				elements = append(elements, e)
			}
		}
		if len(elements) > 0 {
			sorted(elements)
			p.Transaction = appendOps(nil, nft.Delete, elements, behind)
			return p
		}
	}
	if len(l.stale) > 0 || l.changed {
		return p
	}
	ids := l.sweepable()
	p.leads = map[chainID]int{}
	for _, id := range ids {
		p.busyChains = append(p.busyChains, id)
		if needs := l.needs(id); l.idle[id].differs || len(needs) > 0 {
			// Without its rules it leads to no other that goes with it.
			p.Transaction = append(p.Transaction, nft.Op{Verb: nft.Flush, Table: id.table, Chain: &nft.Chain{Name: id.name}})
			if l.idle[id].differs {
				continue
			}
			for _, need := range needs {
				if p.leads[need] = l.leadsIn(p, need) - 1; p.leads[need] == 0 {
					p.idleChains = append(p.idleChains, need)
				}
			}
		}
	}
	for _, id := range ids {
		p.Transaction = append(p.Transaction, nft.Op{Verb: nft.Delete, Table: id.table, Chain: &nft.Chain{Name: id.name}})
	}
	l.sweepSets(p)
	return p
}
