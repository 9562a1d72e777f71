package differential

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"
)

// How improbable different shares have to be: at first sight to be looked at again,
// and then to be a difference. Both together happen by chance once in 10^10 times.
const (
	doubtful   = 0.05
	improbable = 1e-9
)

// frontend is what all who reach the same endpoints by one address ask.
type frontend struct {
	protocol string
	to       netip.AddrPort
	servers  string
}

// shares are how often each endpoint answered, on both sides.
type shares struct {
	probes       []Probe
	theirs, ours map[string]int
}

// shares are those of all frontends with several endpoints; whoever asks, an
// endpoint's chance is the same.
func (s sight) shares() map[frontend]*shares {
	all := map[frontend]*shares{}
	for p, theirs := range s.theirs {
		ours := s.ours[p]
		if p.Sticky || len(theirs.Hits) < 2 || ours.Text != theirs.Text {
			continue
		}
		at := frontend{p.Protocol, p.To, strings.Join(slices.Sorted(maps.Keys(servers(theirs.Hits))), " ")}
		sum := all[at]
		if sum == nil {
			sum = &shares{theirs: map[string]int{}, ours: map[string]int{}}
			all[at] = sum
		}
		sum.probes = append(sum.probes, p)
		for server, n := range servers(theirs.Hits) {
			sum.theirs[server] += n
		}
		for server, n := range servers(ours.Hits) {
			sum.ours[server] += n
		}
	}
	return all
}

// servers are hits without whom they saw.
func servers(hits map[string]int) map[string]int {
	sums := map[string]int{}
	for text, n := range hits {
		server, _, _ := strings.Cut(text, "@")
		sums[server] += n
	}
	return sums
}

// chance is how probable it is that the same shares look as different as these, by
// a chi-squared test of homogeneity.
func (s *shares) chance() float64 {
	ours, theirs := total(s.ours), total(s.theirs)
	servers := maps.Clone(s.theirs)
	maps.Copy(servers, s.ours)
	if len(servers) < 2 || ours == 0 || theirs == 0 {
		return 1 // nothing is shared out, or not on both sides: who answers is compared anyway
	}
	chi2 := 0.0
	for server := range servers {
		both := float64(s.theirs[server] + s.ours[server])
		for _, side := range []struct{ hits, of float64 }{{float64(s.theirs[server]), theirs}, {float64(s.ours[server]), ours}} {
			expected := both * side.of / (ours + theirs)
			chi2 += math.Pow(side.hits-expected, 2) / expected
		}
	}
	return distuv.ChiSquared{K: float64(len(servers) - 1)}.Survival(chi2)
}

func total(hits map[string]int) float64 {
	sum := 0
	for _, n := range hits {
		sum += n
	}
	return float64(sum)
}

// difference is that of shares which are not the same.
func (s *shares) difference() Difference {
	d := Difference{Probe: s.probes[0], Theirs: percent(s.theirs), Ours: percent(s.ours)}
	d.From = "anywhere"
	return d
}

func percent(hits map[string]int) string {
	var parts []string
	for _, server := range slices.Sorted(maps.Keys(hits)) {
		parts = append(parts, fmt.Sprintf("%s %.0f%%", server, 100*float64(hits[server])/total(hits)))
	}
	return strings.Join(parts, " ")
}
