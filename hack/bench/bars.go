package main

import (
	"bytes"
	"fmt"
	"strings"
)

// bar is what is wanted of kube-verdict, and how the data tell whether it is so.
type bar struct {
	what string
	// want is how it is said, and least the ratio from which it is met.
	want  string
	least float64
	// ratio is what was measured, and says how it came about.
	ratio func(f figures) (ratio float64, says string, ok bool)
}

// usual is the size that most bars are for.
const usual = "10000x10"

// noSlower allows for the noise of a measurement.
const noSlower = 0.95

// bars are the project's.
var bars = []bar{
	{"one endpoint replaced, own time of a round", "100x", 100, against(latencyScenario, usual, replaced, "own round of programming (s)")},
	{"number of endpoints changed, own time of a round", "30x", 30, against(latencyScenario, usual, resized, "own round of programming (s)")},
	{"single change, write to accepted packet", "10x", 10, against(latencyScenario, usual, replaced, accepted)},
	{"100 changes/s, write to accepted packet", "10x", 10, against(latencyScenario, usual, underLoad, accepted)},
	{"cold start, from the start of the process", "20x", 20, against(coldScenario, usual, "", "programmed after (s)")},
	{"most memory during a cold start, children included", "3x", 3, against(coldScenario, usual, "", "most memory (bytes)")},
	{"memory when idle", "3x", 3, against(usageScenario, usual, "idle", "memory (bytes)")},
	{"restart with an unchanged cluster", "no write", yes, noWrites},
	{"first packet, all Services in turn", "no slower", noSlower, against(packetScenario, usual, "ClusterIP, all in turn", firstPacket)},
	{"first packet, 1 000 endpoints", "no slower", noSlower, against(packetScenario, usual, "ClusterIP, 1000 endpoints", firstPacket)},
	{"first packet, affinity with 1 000 endpoints, above that to no Service", "10x", 10, affinity},
	{"writer alone against hand-packed netlink, load", "half", 0.5, limit(loading)},
	{"writer alone against hand-packed netlink, one endpoint replaced", "half", 0.5, limit(replaced)},
	{"cold start at 30 000 x 10 against 10 000 x 10", "no worse than linear", noSlower, linear(coldScenario, "", "programmed after (s)")},
	{"CPU of a cold start at 30 000 x 10", "no worse than linear", noSlower, linear(coldScenario, "", coldCPU)},
	{"most memory at 30 000 x 10", "no worse than linear", noSlower, linear(coldScenario, "", "most memory (bytes)")},
	{"single change at 30 000 x 10", "no worse than linear", noSlower, linear(latencyScenario, replaced, accepted)},
	{"CPU of each change at 30 000 x 10, of 100 a second", "no worse than linear", noSlower, perChange},
}

// against compares with kube-proxy in nftables mode.
func against(scenario, size, what, metric string) func(figures) (float64, string, bool) {
	return func(f figures) (float64, string, bool) {
		k := key{scenario, size, "", what, metric}
		mine, ok := f.median(k.of(ours))
		theirs, okToo := f.median(k.of(nftMode))
		if !ok || !okToo {
			return 0, "", false
		}
		return better(metric, mine, theirs), fmt.Sprintf("%s and %s", written(metric, theirs), written(metric, mine)), true
	}
}

// yes and no are the ratios of a bar that has none.
const yes, no = -1, -2

func measured(ratio float64) string {
	switch ratio {
	case yes:
		return "yes"
	case no:
		return "no"
	}
	return times(ratio)
}

func noWrites(f figures) (float64, string, bool) {
	all := f.values(key{scenario: restartScenario, peer: ours, metric: "transactions"})
	if len(all) == 0 {
		return 0, "", false
	}
	most := all[len(all)-1]
	says := fmt.Sprintf("%.0f transactions at most in each of %d, at all sizes", most, len(all))
	if most > 0 {
		return no, says, true
	}
	return yes, says, true
}

// affinity is the time that affinity adds to a packet's way.
func affinity(f figures) (float64, string, bool) {
	var above [2]float64
	for i, peer := range []string{ours, nftMode} {
		k := key{packetScenario, usual, peer, "affinity, 1000 endpoints", firstPacket}
		with, ok := f.median(k)
		k.what = "no Service"
		without, okToo := f.median(k)
		if !ok || !okToo {
			return 0, "", false
		}
		above[i] = max(with-without, 1e-9) // less cannot be told from nothing
	}
	return above[1] / above[0], fmt.Sprintf("%s and %s", seconds(above[1]), seconds(above[0])), true
}

// limit is how near the writer comes to what the kernel alone needs, at the size at
// which it is farthest from it.
func limit(what string) func(figures) (float64, string, bool) {
	return func(f figures) (ratio float64, says string, ok bool) {
		for _, size := range f.distinct(key{scenario: writerScenario, what: what}, sizeOf) {
			k := key{writerScenario, size, "", what, took}
			mine, ok1 := f.median(k.of(ours))
			kernel, ok2 := f.median(k.of(handPacked))
			if !ok1 || !ok2 {
				continue
			}
			if r := kernel / mine; !ok || r < ratio {
				ratio, says, ok = r, fmt.Sprintf("%s and %s at %s", seconds(kernel), seconds(mine), size), true
			}
		}
		return ratio, says, ok
	}
}

// linear compares ours at three times the size with three times what it was.
func linear(scenario, what, metric string) func(figures) (float64, string, bool) {
	return func(f figures) (float64, string, bool) {
		k := key{scenario, usual, ours, what, metric}
		small, ok := f.median(k)
		k.size = "30000x10"
		large, okToo := f.median(k)
		if !ok || !okToo {
			return 0, "", false
		}
		return 3 * small / large, fmt.Sprintf("%s, and %s at a third of the size", written(metric, large), written(metric, small)), true
	}
}

// perChange is linear of the CPU time for each change: at a larger size the API server may
// take fewer of them.
func perChange(f figures) (float64, string, bool) {
	var each [2]float64
	for i, size := range []string{usual, "30000x10"} {
		k := key{usageScenario, size, ours, "at 100 changes/s", "CPU (s per s)"}
		cpu, ok := f.median(k)
		k.metric = "changes/s"
		rate, okToo := f.median(k)
		if !ok || !okToo || cpu == 0 || rate == 0 {
			return 0, "", false
		}
		each[i] = cpu / rate
	}
	return 3 * each[0] / each[1], fmt.Sprintf("%s, and %s at a third of the size", seconds(each[1]), seconds(each[0])), true
}

// bars writes which bars are met.
func (f figures) bars(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## Bars\n\nWhat is wanted of kube-verdict next to kube-proxy in nftables mode, at %s where nothing\nelse is said. Figures are kube-proxy's and ours, of medians; \"no slower\" and \"linear\" allow for %.0f %% of noise.\n\n", strings.Replace(usual, "x", " x ", 1), 100*(1-noSlower))
	fmt.Fprintf(b, "| | bar | measured | figures | |\n|---|---|---|---|---|\n")
	for _, bar := range bars {
		ratio, says, ok := bar.ratio(f)
		switch {
		case !ok:
			fmt.Fprintf(b, "| %s | %s | not measured | | |\n", bar.what, bar.want)
		case ratio >= bar.least:
			fmt.Fprintf(b, "| %s | %s | %s | %s | met |\n", bar.what, bar.want, measured(ratio), says)
		default:
			fmt.Fprintf(b, "| %s | %s | %s | %s | **missed** |\n", bar.what, bar.want, measured(ratio), says)
		}
	}
}
