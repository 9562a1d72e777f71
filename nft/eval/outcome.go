package eval

import (
	"net/netip"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Packet is the first packet of a connection.
type Packet struct {
	Source, Dest netip.AddrPort
	Protocol     uint8
	// In is the interface that it comes in by; empty for what the node itself
	// sends.
	In string
}

// World is what rules ask about besides the packet.
type World struct {
	// Local says that an address is one of the node's own.
	Local func(netip.Addr) bool
	// SourceTo is the node's address on the way to another one, which a
	// masqueraded connection gets. It may be nil.
	SourceTo func(netip.Addr) netip.Addr
}

// Fate is how a packet's way through the tables ends.
type Fate uint8

// Fates of a packet.
const (
	// Forwarded packets leave the node.
	Forwarded Fate = iota
	// Delivered packets get to the node itself.
	Delivered
	// Dropped packets end without a word.
	Dropped
	// Rejected packets end, and their sender is told: port unreachable.
	Rejected
)

func (f Fate) String() string { return [...]string{"forwarded", "delivered", "dropped", "rejected"}[f] }

// Outcome is what becomes of a share of the connections that begin with a packet.
type Outcome struct {
	Share float64
	Steps []Step
	Fate  Fate
	// Source and Dest are those of the packet at the end. Source is not valid if
	// it is masqueraded and the World does not know with what.
	Source, Dest netip.AddrPort
	// Translated says that a rule gave it another destination, Masqueraded that
	// one gave it the node's address as its source.
	Translated, Masqueraded bool
	// Mark is its mark at the end.
	Mark uint32
}

// Step is one rule that the packet came by.
type Step struct {
	Table *nft.Table
	Hook  nft.Hook
	Chain *nft.Chain
	// Rule is its index in the chain.
	Rule int
	// Matched says that every statement of the rule was done; else the next rule
	// was.
	Matched bool
	Lookups []Lookup
	// Verdict is where the packet went from here: Goto or Jump to Target, Drop,
	// Reject, or Accept after a translation; Continue to the next rule.
	Verdict Verdict
	Target  string
	// Source and Dest are the packet's after the rule.
	Source, Dest netip.AddrPort
}

// Text is the step's rule in nft's syntax.
func (s *Step) Text() string { return s.Chain.Rules[s.Rule].Text(s.Table.Family) }

// Lookup is a key that a rule looked up.
type Lookup struct {
	Set *nft.Set
	Key string
	// Element is what it found, nil if nothing.
	Element *nft.Element
	// Of is how many results the random number in the key could have had, and
	// Chance how many of them lead to this element; 0 without one.
	Of, Chance uint32
}

// Verdict is what follows a rule.
type Verdict uint8

// Verdicts of a rule.
const (
	Continue Verdict = iota
	Jump
	Goto
	Accept
	Drop
	Reject
	Return
)
