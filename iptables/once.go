package iptables

import (
	"fmt"
	"strings"
)

// Once is a listing without the rules that are in it several times, as they are
// when it was put together from several commands: kube-proxy writes none twice. It
// says which those are.
func Once(listing *Table) (*Table, []Warning) {
	out := &Table{Name: listing.Name, Line: listing.Line}
	var warnings []Warning
	for _, c := range listing.Chains {
		to := out.Add(c.Name)
		to.Line, to.Policy = c.Line, c.Policy
		first := map[string]int{}
		var again []string
		for _, r := range c.Rules {
			text := r.Text(c.Name)
			at, there := first[text]
			if !there {
				first[text] = len(to.Rules)
				to.Rules = append(to.Rules, r)
				continue
			}
			kept := &to.Rules[at]
			again = append(again, fmt.Sprintf("line %d repeats line %d", r.Line, kept.Line))
			if len(r.Note) > len(kept.Note) {
				*kept = r // the one that somebody wrote about
			}
		}
		if len(again) > 0 {
			warnings = append(warnings, Warning{Text: fmt.Sprintf("chain %s: rules that are there twice count once: %s", c.Name, strings.Join(again, ", "))})
		}
	}
	return out, warnings
}
