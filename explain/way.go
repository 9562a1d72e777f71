package explain

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Write writes the way for people: the rules that were for this packet, or, if
// wide, all that it came by.
func (w *Way) Write(out io.Writer, wide bool) error {
	t := &text{Writer: bufio.NewWriter(out), wide: wide}
	t.line("A %s connection from %s (%s) to %s, by %s", strings.ToUpper(w.Protocol), w.From, w.Sender, w.To, w.Rules)
	if w.Service == "" {
		t.line("No Service has this address and port.")
	} else {
		t.line("The address and port are those of Service port %s.", w.Service)
	}
	for _, note := range w.Notes {
		t.line("%s", note)
	}
	t.line("")
	t.steps(w.Steps)
	for i := range w.Branches {
		t.branch(&w.Branches[i], len(w.Branches) == 1, wide || i < fewBranches)
	}
	return t.Flush()
}

// fewBranches is how many branches are shown rule by rule unless all are asked for.
// Where each endpoint has a chain, each has a branch.
const fewBranches = 2

func (t *text) branch(b *Branch, only, steps bool) {
	n := len(b.Ends)
	if n > 1 || !only {
		t.line("")
	}
	if n > 1 {
		t.line("  one of %d at random:", n)
	}
	if n > 1 || !only {
		rows := [][]string{}
		for _, e := range b.Ends[:t.shown(n)] {
			rows = append(rows, []string{"  " + share(e.Share), e.Destination, e.Chain})
		}
		t.table(rows)
		t.rest(n)
	}
	if len(b.Steps) > 0 && steps {
		if n > 1 || !only {
			t.line("")
		}
		t.steps(b.Steps)
	}
	t.line("")
	t.line("=> %s", b.verdict())
}

// share is a part of all connections as a fraction, where it is one of a few.
func share(s float64) string {
	if n := int(1/s + 0.5); n > 0 && s*float64(n) > 1-1e-9 && s*float64(n) < 1+1e-9 {
		return fraction(1, n)
	}
	return fmt.Sprintf("%.4f", s)
}

func (t *text) steps(steps []Step) {
	hook := ""
	tables := map[string]bool{}
	for i := range steps {
		if steps[i].Rule > 0 {
			tables[steps[i].Table] = true
		}
	}
	for i := range steps {
		s := &steps[i]
		if !s.Matched && !t.wide {
			continue
		}
		if s.Hook != hook {
			hook = s.Hook
			t.line("  %s", hook)
		}
		mark := ""
		if !s.Matched {
			mark = "not for it: "
		}
		rule := fmt.Sprintf("rule %d", s.Rule)
		switch {
		case s.Rule == 0 && s.Handle == 0:
			rule = "its end"
		case s.Rule == 0:
			rule = fmt.Sprintf("rule with handle %d", s.Handle)
		}
		chain := s.Chain
		if len(tables) > 1 && s.Rule > 0 {
			chain = fmt.Sprintf("table %s, %s", s.Table, s.Chain)
		}
		t.line("    %s, %s: %s%s", chain, rule, mark, s.Text)
		for _, l := range s.Lookups {
			t.line("      %s", l.words())
		}
		if s.IPTables != "" {
			t.line("      iptables: %s", s.IPTables)
		}
	}
}

// written is the set of a lookup in a map that is written within the rule.
const written = ""

func (l *Lookup) words() string {
	switch {
	case l.Set == written:
		return fmt.Sprintf("a random number, one of %d", l.Of)
	case l.Of > 1:
		return fmt.Sprintf("%s: a random slot, one of %d", l.Set, l.Of)
	case l.Found == "":
		return fmt.Sprintf("%s: %s is not in it", l.Set, l.Key)
	}
	return fmt.Sprintf("%s: %s", l.Set, l.Found)
}

// verdict is how a branch ends, in a sentence.
func (b *Branch) verdict() string {
	e := &b.Ends[0]
	switch b.Fate {
	case "dropped":
		return "dropped: the client gets no answer"
	case "rejected":
		return "rejected: the client is told at once that nobody listens there"
	}
	if !e.Translated {
		return "no rule of ours translates it: it goes on to " + e.Destination + " as it is"
	}
	to := e.Destination
	if n := len(b.Ends); n > 1 {
		to = fmt.Sprintf("one of these %d endpoints", n)
	}
	where := ""
	if b.Fate == "delivered" {
		where = ", on this node itself"
	}
	source := e.Source
	switch {
	case e.Masqueraded && source == "":
		source = "this node's address on the way there"
	case e.Masqueraded:
		source += " (this node, by masquerade)"
	default:
		source += " (the client itself)"
	}
	return strings.Join([]string{"to " + to + where, "which sees " + source}, ", ")
}
