package walk

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Rule is one rule of a table, as it was read.
type Rule struct {
	Number  int // in its chain, from 1 on
	Handle  uint64
	family  nft.Family
	comment string
	steps   []step
}

// Does is what a rule does to packets that it is for.
type Does uint8

// What rules do.
const (
	Marks Does = 1 << iota
	Translates
	Masquerades
	Rejects
	Drops
	// Leads to a chain that the rule names itself; DispatchesBy a verdict map.
	Leads
	Dispatches
)

// Does reports all that the rule does.
func (r *Rule) Does() Does {
	var all Does
	if r == nil {
		return Drops // a policy
	}
	for i := range r.steps {
		switch s := &r.steps[i]; s.op {
		case opSetMeta:
			if s.key == unix.NFT_META_MARK {
				all |= Marks
			}
		case opTranslate:
			all |= Translates
		case opMasquerade:
			all |= Masquerades
		case opReject:
			all |= Rejects
		case opVerdict:
			switch s.key {
			case verdictDrop:
				all |= Drops
			case verdictJump, verdictGoto:
				all |= Leads
			}
		case opLookup:
			if s.dst == toVerdict {
				all |= Dispatches
			}
		}
	}
	return all
}

// Sets are the names of the sets that the rule looks up, in order.
func (r *Rule) Sets() []string {
	var names []string
	for i := range r.steps {
		if s := &r.steps[i]; s.op == opLookup {
			names = append(names, s.set.name)
		}
	}
	return names
}

// Random is how many results the rule's random number can have, 0 without one.
func (r *Rule) Random() uint32 {
	i := slices.IndexFunc(r.steps, func(s step) bool { return s.op == opRandom })
	if i < 0 {
		return 0
	}
	return r.steps[i].key
}

// Rule is the rule with a handle, nil if there is none.
func (r *Ruleset) Rule(table nft.ID, chain string, handle uint64) *Rule {
	for _, t := range r.tables {
		if c := t.chains[chain]; t.ID == table && c != nil {
			for i := range c.rules {
				if c.rules[i].Handle == handle {
					return &c.rules[i]
				}
			}
		}
	}
	return nil
}
