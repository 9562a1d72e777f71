package nft

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Table is one of our tables with all that belongs to it, but for the
// elements, which are many and travel by themselves.
type Table struct {
	Family  Family
	Name    string
	Comment string
	// Owned tables belong to the netlink socket that makes them: nobody else can
	// change them, and the kernel removes them when it closes, whatever ends its
	// process (Linux 5.12).
	Owned  bool
	Sets   []*Set
	Chains []*Chain
	// Own is what the sets are like that come with chains of single owners, or
	// nil if there are none.
	Own *Set
}

// ID names a table among all tables of a namespace.
type ID struct {
	Family Family
	Name   string
}

func (id ID) String() string { return id.Family.String() + " " + id.Name }

// ID is the table's family and name.
func (t *Table) ID() ID { return ID{t.Family, t.Name} }

// Set is the table's set of that name, or nil.
func (t *Table) Set(name string) *Set {
	for _, s := range t.Sets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Bypass takes the rules out of the chains that the kernel calls: what is left
// can be looked at, and packets pass by it.
func (t *Table) Bypass() {
	t.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		if c.Base != nil {
			t.Chains[i] = &Chain{Name: c.Name, Base: c.Base}
		}
	}
}

// Bypassed says that the chains that the kernel calls have no rules.
func (t *Table) Bypassed() bool {
	return !slices.ContainsFunc(t.Chains, func(c *Chain) bool { return c.Base != nil && len(c.Rules) > 0 })
}

// Chain is a list of rules. With a Base it is called by the kernel; without,
// by other rules.
type Chain struct {
	Name  string
	Base  *Base
	Rules []Rule
}

// OwnChain is a chain that one owner alone has, and the set that comes with it,
// if there is one: like the table's Own, but for its name.
type OwnChain struct {
	Table *Table
	Chain *Chain
	Set   *Set
}

// Objects are what owners have in the tables: elements, and chains of their own.
type Objects struct {
	Elements []Placed
	Chains   []OwnChain
}

// Reset makes it empty, and keeps the room.
func (o *Objects) Reset() {
	clear(o.Elements)
	clear(o.Chains)
	o.Elements, o.Chains = o.Elements[:0], o.Chains[:0]
}

// maxKept is the number of elements up to which Trim keeps their room: far more
// than a change has, far less than a load.
const maxKept = 4096

// Trim makes it empty, and keeps no more room than small changes need.
func (o *Objects) Trim() {
	if o.Reset(); cap(o.Elements) > maxKept {
		o.Elements = nil
	}
}

// Equal says that two chains have the same rules.
func (c *Chain) Equal(o *Chain) bool {
	return slices.EqualFunc(c.Rules, o.Rules, func(a, b Rule) bool {
		return a.Comment == b.Comment && slices.EqualFunc(a.Statements, b.Statements, sameStatement)
	})
}

func sameStatement(a, b Statement) bool {
	if t := reflect.TypeOf(a); t != reflect.TypeOf(b) || t.Comparable() {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// Leads are the chains that the chain's rules jump or go to by name.
func (c *Chain) Leads() []string {
	var names []string
	for _, r := range c.Rules {
		for _, s := range r.Statements {
			switch s := s.(type) {
			case Jump:
				names = append(names, s.Chain)
			case Goto:
				names = append(names, s.Chain)
			}
		}
	}
	return names
}

// Base is where in the kernel's packet path a base chain is called.
type Base struct {
	Type     string // "filter" or "nat"
	Hook     Hook
	Priority int32
}

// Hook is a point in the packet path.
type Hook uint32

// Netfilter's hooks, from linux/netfilter.h.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
)

func (h Hook) String() string {
	return [...]string{"prerouting", "input", "forward", "output", "postrouting"}[h]
}

// header is the line that declares a base chain; empty for others.
func (c *Chain) header() string {
	if c.Base == nil {
		return ""
	}
	return fmt.Sprintf("type %s hook %s priority %d; policy accept;", c.Base.Type, c.Base.Hook, c.Base.Priority)
}

// Rule is a list of statements, the first of which decide whether the rest is
// done.
type Rule struct {
	Statements []Statement
	Comment    string
}

// Statement is one part of a rule.
type Statement interface {
	// Text is the statement in nft's syntax.
	Text(Family) string
	// Program is the statement as the kernel's expressions. It starts with no
	// register set and leaves nothing in registers for the next one.
	Program(Family) []Expression
}

// Text is the rule in nft's syntax.
func (r Rule) Text(f Family) string {
	texts := make([]string, len(r.Statements))
	for i, s := range r.Statements {
		texts[i] = s.Text(f)
	}
	text := strings.Join(texts, " ")
	if r.Comment != "" {
		text += fmt.Sprintf(" comment %q", r.Comment)
	}
	return text
}

// Program is the rule as the kernel's expressions.
func (r Rule) Program(f Family) []Expression {
	var program []Expression
	for _, s := range r.Statements {
		program = append(program, s.Program(f)...)
	}
	return program
}

// UserData is the comment as nft keeps it with a rule.
func (r Rule) UserData() []byte {
	if r.Comment == "" {
		return nil
	}
	return udata(nil).put(0, append([]byte(r.Comment), 0))
}

// ElementUserData is an element's comment as nft keeps it, appended to b.
func ElementUserData(b []byte, comment string) []byte {
	b = append(b, 0, byte(len(comment)+1))
	b = append(b, comment...)
	return append(b, 0)
}

// ElementComment reads the comment that ElementUserData wrote.
func ElementComment(b []byte) string {
	for len(b) >= 2 && int(b[1])+2 <= len(b) {
		end := 2 + int(b[1])
		if value := b[2:end]; b[0] == 0 && len(value) > 0 {
			return string(value[:len(value)-1])
		}
		b = b[end:]
	}
	return ""
}
