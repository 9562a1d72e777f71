package ledger

import (
	"cmp"
	"maps"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// setID names a set that came with an owner's chain.
type setID struct {
	table *nft.Table
	name  string
}

// ownPlan is what a plan does with chains of single owners.
type ownPlan struct {
	// made are there, and used by no one yet, once the plan's Chains are done.
	made     []nft.OwnChain
	madeSets []setID
	// busy are in use from now on, idle no longer.
	busy, idle         []nft.OwnChain
	busySets, idleSets []setID
}

func chainOf(c *nft.OwnChain) chainID { return chainID{c.Table, c.Chain.Name} }

// has says that the chain is there with these rules.
func (i *idleChain) has(c *nft.OwnChain) bool {
	if i.chain != nil {
		return i.chain.Equal(c.Chain)
	}
	return i.held != nil && c.Chain.SameRules(c.Table.Family, i.held)
}

// settleOwn plans the chains that owners have for themselves. Such a chain leads
// only to others of the same owner, and to those that are always there.
//
// What is new is made ahead of all, as for any chain. A chain that is in use gets
// its rules in the transaction that changes the verdicts: a packet sees a chain's
// rules as they were when it came, or as they are, but not between. The chains
// that the old rules lead to stay until no packet can be on its way to them.
func (l *Ledger) settleOwn(p *Plan, old, wanted []nft.OwnChain) {
	if len(old)+len(wanted) == 0 {
		return
	}
	own, s := &ownPlan{}, &l.scratch
	p.own = own
	had := make(map[chainID]*nft.OwnChain, len(old))
	hadSets := map[setID]bool{}
	for i := range old {
		c := &old[i]
		had[chainOf(c)] = c
		if c.Set != nil {
			hadSets[setID{c.Table, c.Set.Name}] = true
		}
	}
	var sets, chains, rules nft.Transaction
	for i := range wanted {
		c := &wanted[i]
		id := chainOf(c)
		if c.Set != nil {
			set := setID{c.Table, c.Set.Name}
			if !hadSets[set] && !l.idleSets[set] {
				sets = append(sets, nft.Op{Verb: nft.Add, Table: c.Table, Set: c.Set})
				own.madeSets = append(own.madeSets, set)
			}
			delete(hadSets, set)
			own.busySets = append(own.busySets, set)
		}
		if before := had[id]; before != nil {
			delete(had, id)
			if !before.Chain.Equal(c.Chain) {
				s.rules.ReplaceRules(c.Table, c.Chain)
			}
			continue
		}
		own.busy = append(own.busy, *c)
		switch idle, there := l.idle[id]; {
		case !there:
			chains = append(chains, nft.Op{Verb: nft.Add, Table: c.Table, Chain: c.Chain})
			rules.AddRules(c.Table, c.Chain)
			own.made = append(own.made, *c)
		case idle.has(c):
		case idle.chain == nil: // it was read, and may be in use
			s.rules.ReplaceRules(c.Table, c.Chain)
		default:
			rules.ReplaceRules(c.Table, c.Chain)
			own.made = append(own.made, *c)
		}
	}
	// Their rules refer to one another.
	s.chains = append(append(append(s.chains, sets...), chains...), rules...)
	for _, c := range had {
		own.idle = append(own.idle, *c)
	}
	for set := range hadSets {
		own.idleSets = append(own.idleSets, set)
	}
}

func (l *Ledger) madeOwn(p *ownPlan) {
	if p == nil {
		return
	}
	for i := range p.made {
		c := &p.made[i]
		l.idle[chainOf(c)] = idleChain{differs: true, chain: c.Chain}
	}
	for _, set := range p.madeSets {
		l.idleSets[set] = true
	}
}

func (l *Ledger) doneOwn(p *ownPlan) {
	if p == nil {
		return
	}
	for i := range p.busy {
		delete(l.idle, chainOf(&p.busy[i]))
	}
	for i := range p.idle {
		l.idle[chainOf(&p.idle[i])] = idleChain{differs: true, chain: p.idle[i].Chain}
	}
	for _, set := range p.busySets {
		delete(l.idleSets, set)
	}
	for _, set := range p.idleSets {
		l.idleSets[set] = true
	}
}

// sweepSets plans the deletion of sets that no rule is left for.
func (l *Ledger) sweepSets(p *Plan) {
	sets := slices.SortedFunc(maps.Keys(l.idleSets), func(a, b setID) int {
		return cmp.Or(cmp.Compare(a.table.Family, b.table.Family), cmp.Compare(a.name, b.name))
	})
	if len(sets) == 0 {
		return
	}
	p.own = &ownPlan{busySets: sets}
	for _, set := range sets {
		p.Transaction = append(p.Transaction, nft.Op{Verb: nft.Delete, Table: set.table, Set: &nft.Set{Name: set.name}})
	}
}
