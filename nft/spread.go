package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Spread sends each packet to a random one of the chains. It looks a number up
// in a verdict map of its own, which nft writes within the rule.
//
// A packet that runs through the rules as they were before a commit can find the
// map empty when the commit ends: the rules that it sees are of the moment when
// it came, the elements of the moment of the lookup. So a rule has to follow.
type Spread struct{ Over []string }

// Text is the statement in nft's syntax.
func (s Spread) Text(Family) string {
	var b strings.Builder
	fmt.Fprintf(&b, "numgen random mod %d vmap { ", len(s.Over))
	for i, chain := range s.Over {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d : goto %s", i, chain)
	}
	b.WriteString(" }")
	return b.String()
}

// Program is the statement as the kernel's expressions.
func (s Spread) Program(f Family) []Expression {
	return append(load(f, []Field{Random{Mod: uint32(len(s.Over))}}), literalLookup{name: literalName})
}

// Literal is the statement's map.
func (s Spread) Literal() (*Set, []Element) {
	elements := make([]Element, len(s.Over))
	for i, chain := range s.Over {
		elements[i] = Element{Key: string(word(uint32(i))), Goto: chain}
	}
	return &Set{Name: literalName, Key: []Field{Random{Mod: uint32(len(s.Over))}}, Verdicts: true, Literal: true, Size: uint32(len(s.Over))}, elements
}

// literalName has the kernel number the maps that are written within rules.
const literalName = "__map%d"

// Literal is a statement with a set or map of its own, which comes and goes with
// the rule. A rule has one at most.
type Literal interface {
	Statement
	Literal() (*Set, []Element)
}

// Literal is the rule's statement with a set of its own, or nil.
func (r *Rule) Literal() Literal {
	for _, s := range r.Statements {
		if l, ok := s.(Literal); ok {
			return l
		}
	}
	return nil
}

// literalLookup looks the first register up in the rule's own verdict map. The
// map has a name only when the kernel has given it one; until then it goes by
// its number in the transaction.
type literalLookup struct {
	name string
	id   uint32
}

// Marshal gives the expression's attributes.
func (e literalLookup) Marshal(f Family) ([]byte, error) {
	return expr.Marshal(byte(f), &expr.Lookup{
		SourceRegister: register(0), DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: e.name, SetID: e.id})
}

// In is the expression for a map of that number.
func (e literalLookup) In(id uint32) Expression { return literalLookup{e.name, id} }

// LiteralLookup is an expression that refers to the rule's own map.
type LiteralLookup interface {
	Expression
	// In is the expression for a map of that number in a transaction.
	In(id uint32) Expression
}
