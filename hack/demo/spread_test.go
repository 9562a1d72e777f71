package main

import (
	"math"
	"testing"
)

func TestEvenness(t *testing.T) {
	three := pod{name: "without hits"}
	for _, tc := range []struct {
		hits   hits
		chi, p float64
	}{
		{hits{one.ip: 5, two.ip: 5, three.ip: 5}, 0, 1},
		// With two degrees of freedom, p is exp(-chi/2).
		{hits{one.ip: 10, two.ip: 20, three.ip: 30}, 10, math.Exp(-5)},
		{hits{one.ip: 600}, 1200, math.Exp(-600)},
	} {
		chi, p := tc.hits.evenness([]pod{one, two, three})
		if math.Abs(chi-tc.chi) > 1e-9 || math.Abs(p-tc.p) > 1e-9 {
			t.Errorf("%v: chi-squared %v with p = %v, want %v and %v", tc.hits, chi, p, tc.chi, tc.p)
		}
	}
}
