package ledger

import (
	"maps"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Adoption is how to take over what an earlier process left in the kernel.
type Adoption struct {
	*Ledger
	// Transaction brings the tables and their fixed chains about. It is empty
	// when they are there already.
	Transaction nft.Transaction
	// Engage gives the base chains of a bypassed table their rules. It belongs into
	// a transaction of its own, once the elements are there and nothing is Exposed:
	// packets then meet all of what is wanted, and nothing else.
	Engage nft.Transaction
	// Rebuild says that a table of another layout is replaced: all elements
	// belong into the same transaction, or they would be missing for a while.
	Rebuild bool
	// Keep are the maps of replaced tables that rules write to, and that mean the
	// same in ours: what is in them can't be had from anywhere else.
	Keep []Kept
}

// Kept is a map whose content is to be read before its table is replaced, and
// written in the same transaction.
type Kept struct {
	Table *nft.Table
	Set   *nft.Set
}

// Adopt makes the account of a kernel that holds what held says; nil is for a
// table that is not there.
func Adopt(chain ChainMaker, tables []*nft.Table, held []*nft.Held) *Adoption {
	a := &Adoption{Ledger: New(chain)}
	for i, t := range tables {
		switch h := held[i]; {
		case h == nil:
			a.Transaction.AddTable(t)
		case !fits(t, h):
			a.Rebuild = true
			a.Transaction = append(a.Transaction, nft.Op{Verb: nft.Delete, Table: t})
			a.Transaction.AddTable(t)
			a.keep(t, h)
		default:
			a.adoptTable(t, h)
		}
	}
	return a
}

// fits says that the table can be made ours without making it anew: no set or
// base chain is there that is of another kind than ours of that name.
func fits(t *nft.Table, h *nft.Held) bool {
	if h.Flags != 0 {
		return false
	}
	for _, s := range t.Sets {
		if held := h.Sets[s.Name]; held != nil && !s.Matches(t.Family, held) {
			return false
		}
	}
	fixed := map[string]*nft.Chain{}
	for _, c := range t.Chains {
		fixed[c.Name] = c
	}
	for name, held := range h.Chains {
		if c := fixed[name]; c == nil && held.Base != nil || c != nil && !c.SameBase(held) {
			return false
		}
	}
	for name, held := range h.Sets {
		if t.Set(name) == nil && (t.Own == nil || !t.Own.Matches(t.Family, held)) {
			return false
		}
	}
	return true
}

func (a *Adoption) keep(t *nft.Table, h *nft.Held) {
	for _, s := range t.Sets {
		if held := h.Sets[s.Name]; s.Dynamic && held != nil && s.Matches(t.Family, held) {
			a.Keep = append(a.Keep, Kept{t, s})
		}
	}
}

func (a *Adoption) adoptTable(t *nft.Table, h *nft.Held) {
	for _, s := range t.Sets {
		held := h.Sets[s.Name]
		if held == nil {
			a.Transaction = append(a.Transaction, nft.Op{Verb: nft.Add, Table: t, Set: s})
			continue
		}
		if s.Dynamic {
			continue // written by rules
		}
		if held.Large {
			a.unread[s] = unread{t, int(held.Count)}
			if s.Behind {
				a.behind[t] += int(held.Count)
			}
			continue
		}
		for _, e := range held.Elements {
			p := nft.Placed{Table: t, Set: s, Element: e}
			a.stale[placeOf(&p)] = p
			if s.Interval {
				if a.staleRanges[s] == nil {
					a.staleRanges[s] = map[place]nft.Placed{}
				}
				a.staleRanges[s][placeOf(&p)] = p
			}
		}
		if s.Behind {
			a.behind[t] += len(held.Elements)
		}
	}
	fixed := map[string]bool{}
	var missing, changed []*nft.Chain
	bypassed := h.Bypassed()
	for _, c := range t.Chains {
		fixed[c.Name] = true
		switch held := h.Chains[c.Name]; {
		case bypassed && c.Base != nil && len(c.Rules) > 0:
			if held == nil {
				a.Transaction = append(a.Transaction, nft.Op{Verb: nft.Add, Table: t, Chain: c})
			}
			a.Engage.ReplaceRules(t, c)
		case held == nil:
			missing = append(missing, c)
		case !c.SameRules(t.Family, held):
			changed = append(changed, c)
		}
	}
	for _, c := range missing {
		a.Transaction = append(a.Transaction, nft.Op{Verb: nft.Add, Table: t, Chain: c})
	}
	for _, c := range append(missing, changed...) {
		a.Transaction.ReplaceRules(t, c)
	}
	for name, held := range h.Chains {
		if fixed[name] {
			continue
		}
		ours := a.chain(t, name)
		a.idle[chainID{t, name}] = idleChain{differs: ours == nil || !ours.SameRules(t.Family, held), held: held}
	}
	for name := range h.Sets {
		if t.Set(name) == nil {
			a.idleSets[setID{t, name}] = true
		}
	}
	a.holdNeeds(t)
}

// holdNeeds counts the chains that the rules of others lead to. A chain that
// leads to one with other rules than ours is made anew with it.
func (a *Adoption) holdNeeds(t *nft.Table) {
	for id, idle := range maps.Clone(a.idle) {
		if id.table != t || idle.differs {
			continue
		}
		needs := a.needs(id)
		if slices.ContainsFunc(needs, func(need chainID) bool { return a.idle[need].differs }) {
			a.idle[id] = idleChain{differs: true}
			continue
		}
		for _, need := range needs {
			a.leads[need]++
			delete(a.idle, need)
		}
	}
}
