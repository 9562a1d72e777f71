package walk

import (
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Step is one rule that a packet came by.
type Step struct {
	Table nft.ID
	Hook  nft.Hook
	Chain string
	// Rule is nil for the policy of a base chain.
	Rule *Rule
	// Matched reports whether everything in the rule was done; else the next rule was
	// tried.
	Matched bool
	Lookups []Lookup
	// Target is the chain that the packet went to from here, if it did.
	Target string
	// Source and Dest are the packet's after the rule. The address of Source is not
	// valid if it was masqueraded and the World does not know with what.
	Source, Dest netip.AddrPort
}

// Lookup is a key that a rule looked up.
type Lookup struct {
	Set *nft.HeldSet
	Key string
	// Element is what was found, nil for nothing.
	Element *nft.Element
	// Of is how many results the random number in the key could have had, 0 without one.
	Of uint32
}

// trail is the rules that a packet came by. The current one is not among the steps yet.
type trail struct {
	steps   []Step
	current Step
}

// open begins a step. The one before has ended.
func (t *trail) open(s *state, next Step) {
	t.close(s)
	t.current = next
}

// close ends the current step, if there is one.
func (t *trail) close(s *state) {
	if t.current.Chain != "" {
		t.current.Source, t.current.Dest = s.from, s.to
		t.steps = append(t.steps, t.current)
	}
	t.current = Step{}
}

func (t *trail) looked(l Lookup) {
	if t.current.Chain != "" {
		t.current.Lookups = append(slices.Clip(t.current.Lookups), l)
	}
}

func (t trail) clone() trail {
	t.steps = slices.Clip(t.steps)
	return t
}
