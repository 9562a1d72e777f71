package main

import "fmt"

// probabilities are those of kube-proxy's rules in the document. The sixth rule
// names none there: it takes all that gets to it.
var probabilities = [...]float64{0.16666666651, 0.20000000019, 0.25, 0.33333333349, 0.5, 1}

// step is one rule of a chain that is tried from top to bottom.
type step struct {
	reached float64 // the part of all requests that gets to it
	taken   float64 // the part of all requests that it takes
}

// cascade works out what the rules do together.
func cascade() []step {
	var steps []step
	reached := 1.0
	for _, p := range probabilities {
		steps = append(steps, step{reached, reached * p})
		reached *= 1 - p
	}
	return steps
}

// printCascade sets the document's rules beside what was measured: its endpoints
// are in the order of their addresses, as ours.
func printCascade(p *page, pods []pod, dns hits) {
	p.text(`
In "Kubernetes Service Deep Dive", the chain KUBE-SVC-BGNS3J6UB7MMLVDO draws up to five times for
the same choice. A rule's --probability counts only for what the rules above it let pass:
`)
	const row = "%-5s %-14s %10s %13s   %-13s %-9s %s"
	p.text(row, "RULE", "--PROBABILITY", "GETS THERE", "TAKES OF ALL", "ENDPOINT", "NODE", "MEASURED ABOVE (53/UDP)")
	for i, s := range cascade() {
		probability := "(none)"
		if i < len(probabilities)-1 {
			probability = fmt.Sprintf("%.11f", probabilities[i])
		}
		p.text(row, fmt.Sprint(i+1), probability, percent(s.reached), percent(s.taken),
			pods[i].ip, pods[i].host(), percent(float64(dns[pods[i].ip])/perPort))
	}
	p.text(`
Each rule takes one sixth. Rule 5 has 0.5, but of the third that gets there: its node, worker1, is
no likelier than the others. Rule 4 takes a third, not 30 %%, of the half that gets there.`)
}
