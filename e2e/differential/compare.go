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

// sight is what both sides answered at one look.
type sight struct{ theirs, ours Answers }

// differences are what the two answer differently, in order, without those that we
// want.
func (s sight) differences() []Difference {
	var all []Difference
	for p, theirs := range s.theirs {
		if d := (Difference{Probe: p, Theirs: theirs.Text, Ours: s.ours[p].Text}); d.Ours != d.Theirs && d.wanted() == "" {
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
