package main

import (
	"math"
	"testing"
)

func TestEveryRuleOfTheDocumentTakesOneSixth(t *testing.T) {
	steps := cascade()
	if len(steps) != 6 {
		t.Fatalf("there are %d rules, want 6", len(steps))
	}
	for i, s := range steps {
		if reached := float64(6-i) / 6; math.Abs(s.taken-1.0/6) > 1e-9 || math.Abs(s.reached-reached) > 1e-9 {
			t.Errorf("rule %d takes %v of all, and %v get there; want 1/6 and %v", i+1, s.taken, s.reached, reached)
		}
	}
}
