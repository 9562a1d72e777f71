package iptables

import (
	"math"
	"strconv"
)

// Probability is that of a rule, in units of 1/2^31, as the kernel has it.
type Probability uint32

// Always is the probability of 1.
const Always Probability = 1 << 31

// ParseProbability reads a number from 0 to 1.
func ParseProbability(text string) (Probability, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, false
	}
	return Probability(math.Round(f * float64(Always))), true
}

// OneIn is the probability of 1/n, as iptables takes it from kube-proxy, which
// writes ten digits.
func OneIn(n int) Probability {
	p, _ := ParseProbability(strconv.FormatFloat(1/float64(n), 'f', 10, 64))
	return p
}

// String has eleven digits, as iptables-save does.
func (p Probability) String() string {
	return strconv.FormatFloat(p.Float(), 'f', 11, 64)
}

// Float is the probability as a number from 0 to 1.
func (p Probability) Float() float64 { return float64(p) / float64(Always) }

// Even are the probabilities of a cascade that gives n rules the same share: 1/n,
// 1/(n-1), ..., 1/2, 1. Rules are tried one after another, and each gets its part
// of what those before it have left.
func Even(n int) []Probability {
	cascade := make([]Probability, n)
	for i := range cascade {
		cascade[i] = OneIn(n - i)
	}
	return cascade
}

// Shares are the effective shares of the rules of a cascade, and what none of
// them takes: 0 if the last has no probability (Always).
func Shares(cascade []Probability) (shares []float64, rest float64) {
	shares, rest = make([]float64, len(cascade)), 1
	for i, p := range cascade {
		shares[i] = rest * p.Float()
		rest *= float64(Always-p) / float64(Always)
	}
	return shares, rest
}
