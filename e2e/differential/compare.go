package differential

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is a question that the two sides answer differently.
type Difference struct {
	Probe
	Theirs, Ours string
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: kube-proxy %q, kube-verdict %q", d.Probe, d.Theirs, d.Ours)
}

// compare gives the differences, in order, without those that we want.
func compare(theirs, ours Answers) []Difference {
	var all []Difference
	for p, answer := range theirs {
		if d := (Difference{p, answer, ours[p]}); d.Ours != answer && d.wanted() == "" {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// wanted is why we want a difference, empty if we don't.
func (d Difference) wanted() string {
	for reason, is := range wanted {
		if is(d) {
			return reason
		}
	}
	return ""
}
