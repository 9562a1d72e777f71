package iptables

import (
	"net/netip"
	"strconv"
	"strings"
)

// Dump is what iptables-save or ip6tables-save printed.
type Dump struct {
	Tables []Table
	// Trailing are the comment lines after the last table.
	Trailing []string
	// Warnings say which lines are no part of a dump and were passed over, and
	// where the text contradicts itself.
	Warnings []Warning
	// Listing says that rules came without a table around them, as from grep or
	// from "iptables -S". They are in a Table without a name.
	Listing bool
	// complete reports whether this is the result of Complete; line4 and line6 then are
	// what told the families of the text.
	complete     bool
	line4, line6 int
	// cut reports whether the text ends inside a table.
	cut bool
	// prompts are commands that were typed in a listing.
	prompts []Warning
}

// Table returns the table of a name. The rules of a listing may be of any table.
func (d *Dump) Table(name string) *Table {
	for i := range d.Tables {
		if d.Tables[i].Name == name {
			return &d.Tables[i]
		}
	}
	return nil
}

// Table is one table of a dump.
type Table struct {
	Name string
	Line int
	// Comments are the comment lines before the table, with their '#'.
	Comments []string
	Chains   []*Chain
	index    map[string]*Chain
}

// Chain returns the chain of a name, nil if there is none.
func (t *Table) Chain(name string) *Chain {
	if t == nil {
		return nil
	}
	return t.index[name]
}

// Add appends a chain, or gives the one that has this name.
func (t *Table) Add(name string) *Chain {
	if c := t.index[name]; c != nil {
		return c
	}
	c := &Chain{Name: name}
	if t.index == nil {
		t.index = map[string]*Chain{}
	}
	t.index[name] = c
	t.Chains = append(t.Chains, c)
	return c
}

// Chain is a chain with its rules.
type Chain struct {
	Name string
	// Line is where the chain is declared, 0 if a dump has only rules of it.
	Line int
	// Policy is that of a built-in chain; others have "-".
	Policy   string
	Counters Counters
	Rules    []Rule
}

// Counters are those of a chain or of a rule.
type Counters struct{ Packets, Bytes uint64 }

func (c Counters) append(b []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendUint(b, c.Packets, 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, c.Bytes, 10)
	return append(b, ']')
}

// Rule is one rule. The zero value of each part matches everything.
type Rule struct {
	// Line is where the rule is in the text.
	Line                int
	Source, Destination Address
	In, Out             Interface
	Protocol            Protocol
	// Matches are the others, in order.
	Matches []Match
	// Target is nil in a rule that only counts.
	Target Target
	// Counters are those of iptables-save -c, nil without it.
	Counters *Counters
	// Note is what a person wrote behind the rule, from ">>" on.
	Note string
}

// Address is -s or -d.
type Address struct {
	Not bool
	// Prefix has the address as it was written, even with bits beyond its length.
	Prefix netip.Prefix
	// Mask is the mask of one that is no prefix, as in 10.0.0.1/255.0.0.255.
	Mask string
}

// IsZero says that any address matches.
func (a Address) IsZero() bool { return !a.Prefix.IsValid() }

// Interface is -i or -o. A name that ends with + stands for all that begin so.
type Interface struct {
	Not  bool
	Name string
}

// Protocol is -p, by the name or the number that was written.
type Protocol struct {
	Not  bool
	Name string
}

// Is says that the rule is for packets of one protocol, known by its name or by
// its number.
func (p Protocol) Is(name string) bool {
	return !p.Not && p.Name != "" && (p.Name == name || protocolNumbers[p.Name] == name)
}

var protocolNumbers = map[string]string{"6": "tcp", "17": "udp", "132": "sctp", "1": "icmp", "58": "ipv6-icmp"}

// Comment is the text of the first comment.
func (r *Rule) Comment() string {
	for _, m := range r.Matches {
		if c, ok := m.(Comment); ok {
			return string(c)
		}
	}
	return ""
}

// Jump is the name of the chain or verdict that -j or -g names, empty for other
// targets.
func (r *Rule) Jump() string {
	if j, ok := r.Target.(Jump); ok {
		return j.To
	}
	return ""
}

// Warning is something about a dump that whoever relies on it should know.
type Warning struct {
	// Line is where it is in the text, 0 for the whole of it.
	Line int
	Text string
}

func (w Warning) String() string {
	if w.Line == 0 {
		return w.Text
	}
	return "line " + strconv.Itoa(w.Line) + ": " + w.Text
}

// String is the dump as iptables-save prints it.
func (d *Dump) String() string {
	var b strings.Builder
	_, _ = d.WriteTo(&b)
	return b.String()
}
