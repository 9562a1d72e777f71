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
		if ours[p] != answer {
			if d := (Difference{p, answer, ours[p]}); !wanted(d) {
				all = append(all, d)
			}
		}
	}
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// wantedDifference is one that we want, for a reason.
type wantedDifference struct {
	reason string
	is     func(Difference) bool
}

// wantedDifferences are all of them.
var wantedDifferences []wantedDifference

func wanted(d Difference) bool {
	return slices.ContainsFunc(wantedDifferences, func(w wantedDifference) bool { return w.is(d) })
}
