package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// table is one of the report's: what was measured by size and by what, with a column
// for each who was measured.
type table struct {
	title, text      string
	scenario, metric string
	whats            []string // which of them; none for all
	limit            string   // what the column of no proxy is, if there is to be one
	percentiles      bool
}

const spread = "Median (least .. most) of all rounds."

// tables are the report's, in its order.
var tables = []table{
	{
		title: "Cold start", scenario: coldScenario, metric: "programmed after (s)", limit: "a client that only reads",
		text: "From the start of the process, on an empty kernel, until the kernel has all Services. " + spread,
	},
	{scenario: coldScenario, metric: "own rounds of programming (s)", text: "Of that, rounds of programming, by the proxy's own metric:"},
	{scenario: coldScenario, metric: coldCPU, text: "CPU time until its first round of programming has ended, children included:"},
	{scenario: coldScenario, metric: "most memory (bytes)", text: "The most resident memory until then, children included:"},
	{
		title: "Network programming latency", scenario: latencyScenario, metric: accepted, percentiles: true, limit: "a plain watch is told",
		text: "From before an EndpointSlice is written until a new connection goes where it says: p50 / p90 / p99 of all changes of all rounds, and their number. Single changes are more than a second apart, so that kube-proxy, which programs once a second at most, may do so at once. Ratios are of p50, and in brackets of p99.",
	},
	{
		scenario: latencyScenario, metric: "own round of programming (s)",
		text: "The time of a round of programming for a single change, by the proxy's own metric:",
	},
	{
		title: "Restart", scenario: restartScenario, metric: "ready after (s)",
		text: "Ended and started again while nothing changes: until it says that all is programmed. " + spread,
	},
	{scenario: restartScenario, metric: "transactions", text: "Transactions that it writes meanwhile and in the seconds after:"},
	{scenario: restartScenario, metric: "CPU (s)", text: "CPU time until it is ready:"},
	{
		title: "First packet", scenario: packetScenario, metric: firstPacket,
		whats: []string{"no Service", "ClusterIP, first", "ClusterIP, last", "ClusterIP, all in turn"},
		text:  "The time that the first packet of a connection takes through the node, with all that the kernel does for it: by where the Service is in the list that packets go through, where there is one, and for all Services in turn. \"No Service\" is a packet to a pod. " + spread,
	},
	{
		scenario: packetScenario, metric: firstPacket,
		whats: []string{"NodePort, 10 endpoints", "ClusterIP, 1000 endpoints", "affinity, 10 endpoints", "affinity, 100 endpoints", "affinity, 1000 endpoints"},
		text:  "To a NodePort, to a Service with many endpoints, and to Services with session affinity, for a client that they know:",
	},
	{scenario: packetScenario, metric: newConnections, whats: []string{"no Service", "ClusterIP, last"}, text: "Connections a second that four clients can make, one after another each:"},
	{title: "CPU and memory", scenario: usageScenario, metric: "CPU (s per s)", text: "Share of one processor, children included. " + spread},
	{scenario: usageScenario, metric: "changes/s", text: "Changes a second that the API server took meanwhile:"},
	{scenario: usageScenario, metric: "memory (bytes)", text: "Resident memory some seconds after the start:"},
	{scenario: usageScenario, metric: "most memory (bytes)", text: "The most resident memory during changes, children included:"},
	{scenario: usageScenario, metric: "memory of the tables (bytes)", text: "Kernel memory of the tables: what is free when they are deleted:"},
	{
		title: "Rolling update", scenario: rollingScenario, metric: "last write to converged (s)",
		text: "All endpoints of one Service are replaced, 100 at a time, 20 times a second, while two clients make connections without a break. From the last write until no connection goes to an old endpoint any more:",
	},
	{scenario: rollingScenario, metric: "failed requests", text: "Requests that were not answered, or went to an endpoint that had been removed more than a second before:"},
	{scenario: rollingScenario, metric: "CPU (s)", text: "CPU time, children included:"},
}

// writeReport writes README.md and the plots.
func writeReport(dir string, records []record) error {
	f := figures(records)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmarks\n\n<!-- Written by hack/bench from data.csv. -->\n\n")
	fmt.Fprintf(&b, "kube-verdict next to the real kube-proxy, measured in one run. [How it is measured, how to\nread it and how to repeat it](method.md); the single values are in [data.csv](data.csv).\n\n")
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, r := range records {
		if r.scenario == about {
			fmt.Fprintf(&b, "| %s | %s |\n", r.what, strings.ReplaceAll(r.text, "|", "\\|"))
		}
	}
	f.bars(&b)
	plots, err := f.plots(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "\n## What was measured\n\nSizes are Services x endpoints of each. A ratio says how many times better kube-verdict is;\nbelow 1x it is worse.\n")
	for _, t := range tables {
		f.table(&b, t)
		for _, p := range plots {
			if p.after == t.title && t.title != "" {
				fmt.Fprintf(&b, "\n![%s](%s)\n", p.title, p.file)
			}
		}
	}
	f.bareTable(&b)
	f.writerTable(&b)
	for _, p := range plots {
		if p.after == writerScenario {
			fmt.Fprintf(&b, "\n![%s](%s)\n", p.title, p.file)
		}
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), b.Bytes(), 0o644)
}

// table writes one of the tables, if there is something in it.
func (f figures) table(b *bytes.Buffer, t table) {
	of := key{scenario: t.scenario, metric: t.metric}
	present := f.distinct(of, peerOf)
	var peers []string
	for _, p := range []string{ours, nftMode, iptsMode} {
		_, late := f.late(key{scenario: coldScenario, peer: p})
		if slices.Contains(present, p) || late {
			peers = append(peers, p)
		}
	}
	if len(present) == 0 {
		return
	}
	if t.title != "" {
		fmt.Fprintf(b, "\n### %s\n", t.title)
	}
	fmt.Fprintf(b, "\n%s\n\n| size | |", t.text)
	hasLimit := t.limit != "" && slices.Contains(present, nobody)
	if hasLimit {
		fmt.Fprintf(b, " %s |", t.limit)
	}
	for _, p := range peers {
		fmt.Fprintf(b, " %s |", p)
	}
	compared := slices.DeleteFunc(slices.Clone(peers), func(p string) bool { return p == ours })
	if !slices.Contains(peers, ours) {
		compared = nil
	}
	for _, p := range compared {
		fmt.Fprintf(b, " to %s |", strings.TrimPrefix(p, "kube-proxy "))
	}
	columns := 2 + len(peers) + len(compared)
	if hasLimit {
		columns++
	}
	fmt.Fprintf(b, "\n|%s\n", strings.Repeat("---|", columns))
	whats := t.whats
	if whats == nil {
		whats = f.distinct(key{scenario: t.scenario, metric: t.metric, peer: peers[0]}, whatOf)
	}
	for _, size := range bySize(f.distinct(of, sizeOf)) {
		for _, what := range whats {
			k := key{t.scenario, size, "", what, t.metric}
			if len(f.values(k)) == 0 {
				continue
			}
			fmt.Fprintf(b, "| %s | %s |", strings.Replace(size, "x", " x ", 1), what)
			if hasLimit {
				fmt.Fprintf(b, " %s |", f.cell(k.of(nobody), t.percentiles))
			}
			for _, p := range peers {
				fmt.Fprintf(b, " %s |", f.cell(k.of(p), t.percentiles))
			}
			for _, p := range compared {
				fmt.Fprintf(b, " %s |", f.ratio(k, p, t.percentiles))
			}
			fmt.Fprintln(b)
		}
	}
}

func (k key) of(peer string) key {
	k.peer = peer
	return k
}

// cell is what was measured of one.
func (f figures) cell(k key, percentiles bool) string {
	all := f.values(k)
	switch late, is := f.late(k); {
	case len(all) == 0 && is:
		return fmt.Sprintf("not finished within %.0f s", late)
	case len(all) == 0:
		if late, is := f.late(key{scenario: coldScenario, size: k.size, peer: k.peer}); is {
			return fmt.Sprintf("its start had not finished within %.0f s", late)
		}
		return "not measured"
	case percentiles:
		return fmt.Sprintf("%s / %s / %s, %d", written(k.metric, median(all)), written(k.metric, quantile(all, 0.9)), written(k.metric, quantile(all, 0.99)), len(all))
	case len(all) == 1:
		return written(k.metric, all[0])
	}
	return fmt.Sprintf("%s (%s .. %s)", written(k.metric, median(all)), written(k.metric, all[0]), written(k.metric, all[len(all)-1]))
}

// better is how many times better ours is than a peer.
func better(metric string, ours, peer float64) float64 {
	if more(metric) {
		return ours / peer
	}
	return peer / ours
}

func (f figures) ratio(k key, peer string, percentiles bool) string {
	mine, theirs := f.values(k.of(ours)), f.values(k.of(peer))
	if len(mine) == 0 {
		return "-"
	}
	if len(theirs) == 0 {
		if late, is := f.late(k.of(peer)); is && !more(k.metric) && unit(k.metric) == "s" {
			return "> " + times(late/median(mine))
		}
		return "-"
	}
	// Less than that cannot be told from what else the machine does.
	const least = 1e6
	if unit(k.metric) == "bytes" && min(median(mine), median(theirs)) < least {
		return "-"
	}
	text := times(better(k.metric, median(mine), median(theirs)))
	if percentiles {
		text += fmt.Sprintf(" (%s)", times(better(k.metric, quantile(mine, 0.99), quantile(theirs, 0.99))))
	}
	return text
}

// bareTable is of packets where there is no proxy.
func (f figures) bareTable(b *bytes.Buffer) {
	whats := []string{"no rules", "one static DNAT rule"}
	var lines []string
	for _, what := range whats {
		packets := key{scenario: packetScenario, peer: nobody, what: what, metric: firstPacket}
		if len(f.values(packets)) == 0 {
			continue
		}
		connections := packets
		connections.metric = newConnections
		lines = append(lines, fmt.Sprintf("| %s | %s | %s |", what, f.cell(packets, false), f.cell(connections, false)))
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n### Limits of first packets\n\nThe same without any proxy: no rules at all, which is no connection tracking either, and one\nrule for one destination. All rounds at all sizes.\n\n| | first packet | connections/s |\n|---|---|---|\n%s\n", strings.Join(lines, "\n"))
	}
}

// writerTable is of the writer alone, which is compared with others than the rest.
func (f figures) writerTable(b *bytes.Buffer) {
	of := key{scenario: writerScenario}
	if len(f.values(of)) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### The writer alone\n\nFrom the model of Services in memory until the kernel has it, without any API server. %q has\nthe same elements in netlink messages that were packed before the clock starts: what is left\nis the kernel's own time. %q are the same elements as text. %s\n", handPacked, sameScript, spread)
	for _, metric := range []string{took, elements} {
		var names []string
		for _, s := range sides {
			if len(f.values(key{scenario: writerScenario, peer: s.name, metric: metric})) > 0 {
				names = append(names, s.name)
			}
		}
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n| size | %s |", metric)
		for _, n := range names {
			fmt.Fprintf(b, " %s |", n)
		}
		for _, n := range names {
			if n != ours {
				fmt.Fprintf(b, " to %s |", n)
			}
		}
		fmt.Fprintf(b, "\n|%s\n", strings.Repeat("---|", 1+2*len(names)))
		for _, size := range bySize(f.distinct(of, sizeOf)) {
			for _, what := range f.distinct(key{scenario: writerScenario, metric: metric}, whatOf) {
				k := key{writerScenario, size, "", what, metric}
				fmt.Fprintf(b, "| %s | %s |", strings.Replace(size, "x", " x ", 1), what)
				for _, n := range names {
					fmt.Fprintf(b, " %s |", f.cell(k.of(n), false))
				}
				for _, n := range names {
					if n != ours {
						fmt.Fprintf(b, " %s |", f.ratio(k, n, false))
					}
				}
				fmt.Fprintln(b)
			}
		}
	}
}
