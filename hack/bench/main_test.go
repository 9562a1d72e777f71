package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/cli"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// programName makes the test's own program kube-verdict when it is started under that
// name.
const programName = "kube-verdict"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		os.Exit(cli.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// A run in small, on a real API server: every scenario has a figure of each proxy, and
// a report comes of it.
func TestRun(t *testing.T) {
	out, f := run(t, "-peers=ours,nftables", "-sizes=20x3", "-rounds=1",
		"-singles=1", "-idle=100ms", "-churn=1s", "-connections=100ms", "-batches=1", "-rolling=200",
		"-writer-sizes=20x3", "-writer-loads=1", "-writer-changes=2")
	for _, peer := range []string{ours, nftMode} {
		for _, table := range tables {
			if len(f.values(key{table.scenario, "20x3", peer, "", table.metric})) == 0 {
				t.Errorf("%s, %s: no figure of %s", table.scenario, table.metric, peer)
			}
		}
	}
	for _, side := range sides {
		if got := f.distinct(key{scenario: writerScenario, peer: side.name}, whatOf); !slices.Equal(got, []string{loading, replaced, resized}) {
			t.Errorf("writer: %s was measured at %q", side.name, got)
		}
	}
	if writes := f.values(key{scenario: restartScenario, peer: ours, metric: "transactions"}); !slices.Equal(writes, []float64{0}) {
		t.Errorf("a restart wrote %v transactions", writes)
	}
	report, err := os.ReadFile(filepath.Join(out, "README.md"))
	if err != nil || !strings.Contains(string(report), "## Bars") {
		t.Errorf("no report was written (%v): %s", err, report)
	}
}

// Who does not start in time is not tried again, and who does is measured in each round.
func TestWhoIsLateIsNotTriedAgain(t *testing.T) {
	for _, tc := range []struct {
		patience, metric string
		times            int
	}{{"1m", "programmed after (s)", 2}, {"1ms", unfinished, 1}} {
		_, f := run(t, "-peers=ours", "-sizes=20x3", "-rounds=2", "-scenarios=cold start", "-patience="+tc.patience)
		if got := f.values(key{scenario: coldScenario, peer: ours, metric: tc.metric}); len(got) != tc.times {
			t.Errorf("with %s of patience, %q has the figures %v, want %d", tc.patience, tc.metric, got, tc.times)
		}
	}
}

// run is a run with those flags: where its results are, and its figures.
func run(t *testing.T, args ...string) (out string, f figures) {
	t.Helper()
	testbed.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, programName)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	out = filepath.Join(dir, "out")
	if err := command(t.Context(), append([]string{"-program=" + program, "-out=" + out}, args...)); err != nil {
		t.Fatal(err)
	}
	records, err := readRecords(filepath.Join(out, "data.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return out, records
}

// The writer alone runs none of the programs that the other scenarios compare.
func TestTheWriterNeedsNoPrograms(t *testing.T) {
	testbed.Need(t)
	t.Setenv("KUBE_VERDICT_TOOLS", t.TempDir())
	out := t.TempDir()
	args := []string{"-scenarios=writer", "-program=/nonexistent/kube-verdict", "-out=" + out, "-writer-sizes=20x3", "-writer-loads=1", "-writer-changes=1"}
	if err := command(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	records, err := readRecords(filepath.Join(out, "data.csv"))
	if got := figures(records).distinct(key{scenario: writerScenario}, peerOf); err != nil || len(got) != len(sides) {
		t.Errorf("measured are %q (%v)", got, err)
	}
}

// A Service with another number of endpoints keeps those that it had.
func TestAResizedServiceKeepsItsEndpoints(t *testing.T) {
	ten, nine := service(7, 10, 0).Ports[0].Endpoints, service(7, 9, 0).Ports[0].Endpoints
	if !slices.Equal(ten[:9], nine) {
		t.Errorf("%v, and one less: %v", ten, nine)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, test := range []struct{ flag, want string }{
		{"-sizes=1000", `-sizes: size "1000": write Services x endpoints`},
		{"-sizes=5x10", "from 10 to"},
		{"-sizes=10x1000", "1 to 100 endpoints"},
		{"-peers=ours,ipvs", `there is no "ipvs", only ours, nftables and iptables`},
		{"-scenarios=warm start", `there is no "warm start", only cold start`},
		{"-rolling=0", `"0" is not a number of endpoints`},
		{"-rounds=0", "at least 1"},
		{"-program=/nonexistent/kube-verdict", `run "make build"`},
		{"quick", `"quick" is no flag`},
	} {
		err := command(t.Context(), []string{test.flag})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.flag, err, test.want)
		}
	}
}

// Sizes are measured from the smallest on, each once.
func TestSizesAreSorted(t *testing.T) {
	got, err := parseSizes("5000x50, 1000x10,5000x10,1000x10")
	if want := []size{{1000, 10}, {5000, 10}, {5000, 50}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v (%v), want %v", got, err, want)
	}
}
