package nft

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Verb is what an operation does.
type Verb uint8

// The verbs, as in nft's commands.
const (
	Add Verb = iota
	Delete
	Flush
)

func (v Verb) String() string { return [...]string{"add", "delete", "flush"}[v] }

// Op is one operation on one object of a table: an element if it has a Key,
// else a rule, a chain or a set, whichever is there, else the table itself.
type Op struct {
	Verb    Verb
	Table   *Table
	Chain   *Chain
	Rule    *Rule
	Set     *Set
	Element Element
}

// IsElement says that the operation is on an element.
func (o *Op) IsElement() bool { return o.Set != nil && o.Element.Key != "" }

// Transaction is a list of operations that the kernel does in this order, and
// all or none of them.
type Transaction []Op

// AddTable adds the table and all of its sets, chains and rules, without any
// element.
func (tx *Transaction) AddTable(t *Table) {
	*tx = append(*tx, Op{Verb: Add, Table: t})
	for _, s := range t.Sets {
		*tx = append(*tx, Op{Verb: Add, Table: t, Set: s})
	}
	// Chains first: their rules refer to one another.
	for _, c := range t.Chains {
		*tx = append(*tx, Op{Verb: Add, Table: t, Chain: c})
	}
	for _, c := range t.Chains {
		tx.AddRules(t, c)
	}
}

// AddChain adds the chain and its rules.
func (tx *Transaction) AddChain(t *Table, c *Chain) {
	*tx = append(*tx, Op{Verb: Add, Table: t, Chain: c})
	tx.AddRules(t, c)
}

// ReplaceRules gives an existing chain its rules anew.
func (tx *Transaction) ReplaceRules(t *Table, c *Chain) {
	*tx = append(*tx, Op{Verb: Flush, Table: t, Chain: c})
	tx.AddRules(t, c)
}

// AddRules adds rules to a chain.
func (tx *Transaction) AddRules(t *Table, c *Chain) {
	for i := range c.Rules {
		*tx = append(*tx, Op{Verb: Add, Table: t, Chain: c, Rule: &c.Rules[i]})
	}
}

// Text is the operation as one of nft's commands.
func (o *Op) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ", o.Verb)
	id, f := o.Table.ID(), o.Table.Family
	switch {
	case o.IsElement():
		fmt.Fprintf(&b, "element %s %s { %s }", id, o.Set.Name, o.Set.Text(f, o.Element))
	case o.Rule != nil:
		fmt.Fprintf(&b, "rule %s %s %s", id, o.Chain.Name, o.Rule.Text(f))
	case o.Chain != nil:
		fmt.Fprintf(&b, "chain %s %s", id, o.Chain.Name)
		if o.Verb == Add && o.Chain.Base != nil {
			fmt.Fprintf(&b, " { %s }", o.Chain.header())
		}
	case o.Set != nil:
		fmt.Fprintf(&b, "%s %s %s", o.Set.Kind(), id, o.Set.Name)
		if o.Verb == Add {
			schema := strings.TrimSuffix(o.Set.schema(f, ""), "\n")
			fmt.Fprintf(&b, " { %s; }", strings.ReplaceAll(schema, "\n", "; "))
		}
	default:
		fmt.Fprintf(&b, "table %s", id)
		if o.Verb == Add {
			b.WriteString(o.Table.options())
		}
	}
	return b.String()
}

// options are what a table is added with.
func (t *Table) options() string {
	text := ""
	if t.Owned {
		text += " flags owner;"
	}
	if t.Comment != "" {
		text += fmt.Sprintf(" comment %q;", t.Comment)
	}
	if text != "" {
		text = " {" + text + " }"
	}
	return text
}

// String is the transaction as a script for nft -f, one command a line.
func (tx Transaction) String() string {
	var b strings.Builder
	_ = tx.Write(&b)
	return b.String()
}

// Write writes the transaction as String prints it.
func (tx Transaction) Write(w io.Writer) error {
	for i := range tx {
		if _, err := fmt.Fprintln(w, tx[i].Text()); err != nil {
			return err
		}
	}
	return nil
}

// Contents are the tables that a transaction makes which only adds.
func (tx Transaction) Contents() []Contents {
	var order []*Table
	tables := map[*Table]*Contents{}
	for i := range tx {
		op := &tx[i]
		c := tables[op.Table]
		if c == nil {
			t := *op.Table
			c = &Contents{Table: &t, Elements: map[*Set][]Element{}}
			tables[op.Table], order = c, append(order, op.Table)
		}
		switch {
		case op.IsElement():
			c.Elements[op.Set] = append(c.Elements[op.Set], op.Element)
		case op.Chain != nil && op.Rule == nil && op.Verb == Add && !slices.Contains(op.Table.Chains, op.Chain):
			c.Chains = append(c.Chains[:len(c.Chains):len(c.Chains)], op.Chain)
		case op.Set != nil && op.Verb == Add && !slices.Contains(op.Table.Sets, op.Set):
			c.Sets = append(c.Sets[:len(c.Sets):len(c.Sets)], op.Set)
		}
	}
	all := make([]Contents, len(order))
	for i, t := range order {
		all[i] = *tables[t]
	}
	return all
}
