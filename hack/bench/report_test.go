package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a run of three proxies, one of which takes too long.
func sample() figures {
	cold := func(size, peer string, round int, seconds float64) record {
		return record{scenario: coldScenario, size: size, peer: peer, metric: "programmed after (s)", round: round, value: seconds}
	}
	own := func(peer, what string, seconds float64) record {
		return record{scenario: latencyScenario, size: usual, peer: peer, what: what, metric: "own round of programming (s)", round: 1, value: seconds}
	}
	f := figures{
		{scenario: about, what: "kernel", text: "6.18"},
		cold("1000x10", ours, 1, 0.3), cold("1000x10", ours, 2, 0.1), cold("1000x10", ours, 3, 0.2),
		cold("1000x10", nftMode, 1, 2), cold("1000x10", nftMode, 2, 2.4), cold("1000x10", nftMode, 3, 1.6),
		cold(usual, nobody, 1, 0.5),
		cold(usual, ours, 1, 1), cold(usual, nftMode, 1, 12), cold("30000x10", ours, 1, 2.5),
		{scenario: coldScenario, size: usual, peer: iptsMode, metric: unfinished, round: 1, value: 60},
		own(ours, replaced, 0.0001), own(nftMode, replaced, 0.09),
		own(ours, resized, 0.004), own(nftMode, resized, 0.1),
		{scenario: restartScenario, size: usual, peer: ours, metric: "transactions", round: 1},
	}
	for i, latency := range []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 100} {
		f = append(f,
			record{scenario: latencyScenario, size: usual, peer: ours, what: replaced, metric: accepted, round: i, value: latency / 1000},
			record{scenario: latencyScenario, size: usual, peer: nftMode, what: replaced, metric: accepted, round: i, value: latency / 10})
	}
	return f
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	if err := writeReport(dir, sample()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"the machine":                          "| kernel | 6.18 |",
		"median, spread and ratio":             "| 1000 x 10 |  | not measured | 200 ms (100 ms .. 300 ms) | 2.00 s (1.60 s .. 2.40 s) | not measured | 10x | - |",
		"what took too long":                   "| 10000 x 10 |  | 500 ms | 1.00 s | 12.0 s | not finished within 60 s | 12x | > 60x |",
		"what could not be measured then":      "its start had not finished within 60 s",
		"percentiles and their ratios":         "5.00 ms / 9.00 ms / 100 ms, 10 | 500 ms / 900 ms / 10.0 s, 10 |",
		"a bar that is met":                    "| one endpoint replaced, own time of a round | 100x | 900x | 90.0 ms and 100 us | met |",
		"a bar that is missed":                 "| number of endpoints changed, own time of a round | 30x | 25x | 100 ms and 4.00 ms | **missed** |",
		"a bar that needs another size":        "| cold start at 30 000 x 10 against 10 000 x 10 | no worse than linear | 1.2x | 2.50 s, and 1.00 s at a third of the size | met |",
		"a bar without a ratio":                "| restart with an unchanged cluster | no write | yes | 0 transactions at most in each of 1, at all sizes | met |",
		"a bar of which nothing was measured":  "| first packet, all Services in turn | no slower | not measured | | |",
		"a plot of what was measured":          "(cold-start.svg)",
		"where what is written by hand stands": "(method.md)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s: %q is missing", what, want)
		}
	}
	if strings.Contains(string(text), "rolling") || strings.Contains(string(text), "affinity.svg") {
		t.Error("the report has what was not measured")
	}
	svg, err := os.ReadFile(filepath.Join(dir, "cold-start.svg"))
	if err != nil || !bytes.Contains(svg, []byte("kube-proxy nftables")) {
		t.Errorf("the plot does not name who was measured: %v", err)
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

// A restart that writes misses its bar, however often others did not.
func TestNoWritesIsOfEveryRestart(t *testing.T) {
	f := append(sample(), record{scenario: restartScenario, size: usual, peer: ours, metric: "transactions", round: 2, value: 1})
	var b bytes.Buffer
	f.bars(&b)
	if want := "| no | 1 transactions at most in each of 2, at all sizes | **missed** |"; !strings.Contains(b.String(), want) {
		t.Errorf("%q is missing in:\n%s", want, b.String())
	}
}

func TestRecordsAreReadAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.csv")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRecorder(file)
	if err != nil {
		t.Fatal(err)
	}
	all := []record{
		{scenario: about, what: "command", text: `make bench ARGS='-sizes="1000x10,5000x50"'`},
		{scenario: latencyScenario, size: usual, peer: ours, what: replaced, metric: accepted, round: 3, value: 0.00123},
	}
	if err := r.add(all...); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(path)
	if err != nil || len(got) != len(all) || got[0] != all[0] || got[1] != all[1] {
		t.Errorf("read %+v (%v), want %+v", got, err, all)
	}
}

func TestWrittenValues(t *testing.T) {
	for _, test := range []struct {
		metric string
		value  float64
		want   string
	}{
		{"x (s)", 123.4, "123 s"}, {"x (s)", 1.234, "1.23 s"}, {"x (s)", 0.0999, "99.9 ms"}, {"x (s)", 0.0000123, "12.3 us"}, {"x (s)", 0, "0s"},
		{"x (bytes)", 123_456_789, "123 MB"}, {"x (bytes)", -5, "< 1 MB"}, {"x (s per s)", 0.1234, "12.3 %"},
		{elements, 1234567, "1 234 567"}, {"transactions", 0, "0"},
	} {
		if got := written(test.metric, test.value); got != test.want {
			t.Errorf("%v of %q is %q, want %q", test.value, test.metric, got, test.want)
		}
	}
}
