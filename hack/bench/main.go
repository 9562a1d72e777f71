// Bench measures kube-verdict next to the real kube-proxy, in its nftables and its
// iptables mode: on one API server, on the same objects, in turn, each on a node that
// is a network namespace. It writes what it measured as CSV, and from that a report
// with plots; docs/benchmarks has those of the last release.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const usage = `Measures kube-verdict next to the real kube-proxy, side by side.

  make bench                          all of it, about 45 minutes
  make bench ARGS=-quick              small clusters, about 5 minutes
  make bench ARGS='-sizes 5000x10 -peers ours,nftables -scenarios "cold start,latency"'
  go run ./hack/bench -report docs/benchmarks/data.csv     the report again, from its data

It needs root, and what "make tools" builds. Everything happens in network namespaces.
The results are data.csv, README.md and plots in the directory that -out names.

`

func main() {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	// What this program itself needs should not disturb what it measures.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// flags are what the command line has.
type flags struct {
	sizes, peers, scenarios, rolling, writerSizes string
	program, out, report                          string
	command                                       string // as it can be repeated
	quick                                         bool
	options                                       options
}

func newFlags() (*flags, *flag.FlagSet) {
	f := &flags{}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.Usage = func() {
		fmt.Fprint(set.Output(), usage)
		set.PrintDefaults()
	}
	o := &f.options
	set.BoolVar(&f.quick, "quick", false, "small clusters and short times: other defaults for sizes, rounds, budget and times")
	set.StringVar(&f.sizes, "sizes", "1000x10,5000x10,5000x50,10000x10,30000x10", "clusters: Services x endpoints of each")
	set.StringVar(&f.peers, "peers", "ours,nftables,iptables", "proxies: kube-verdict, and kube-proxy in its modes")
	set.StringVar(&f.scenarios, "scenarios", "all", "some of: "+strings.Join(scenarios, ", "))
	set.IntVar(&o.rounds, "rounds", 3, "times that each proxy is measured at each size, as far as the budget reaches")
	set.IntVar(&o.full, "full", 1, "rounds in which all is measured; later ones have cold start, restart and packets only")
	set.DurationVar(&o.budget, "budget", 40*time.Minute, "about how long it may take; each proxy is measured once at each size in any case")
	set.DurationVar(&o.patience, "patience", 2*time.Minute, "how long a proxy is waited for; what takes longer is reported as not finished")
	set.DurationVar(&o.idle, "idle", 4*time.Second, "time for idle CPU")
	set.DurationVar(&o.churn, "churn", 12*time.Second, "time with 100 changes a second")
	set.DurationVar(&o.connections, "connections", time.Second, "time for which connections are counted")
	set.IntVar(&o.singles, "singles", 10, "single changes of each kind")
	set.DurationVar(&o.singleTime, "single-time", 15*time.Second, "time after which no more of them are made")
	set.IntVar(&o.batches, "batches", 4, "batches of 5000 first packets to each destination")
	set.StringVar(&f.rolling, "rolling", "1000,10000", "endpoints of the Services that are replaced whole")
	set.StringVar(&f.writerSizes, "writer-sizes", "1000x10,10000x10,30000x10", "loads of the writer alone")
	set.IntVar(&o.writerLoads, "writer-loads", 3, "times of each load")
	set.IntVar(&o.writerChanges, "writer-changes", 20, "single changes after each load")
	set.StringVar(&f.program, "program", "bin/kube-verdict", "the kube-verdict that is measured")
	set.StringVar(&f.out, "out", "docs/benchmarks", "directory for data.csv, README.md and the plots")
	set.StringVar(&f.report, "report", "", "measure nothing: write the report and plots of this data.csv, next to it")
	return f, set
}

// quick are the defaults of -quick.
var quick = map[string]string{
	"sizes": "300x10,1000x10", "rounds": "1", "budget": "5m", "patience": "30s", "idle": "2s", "churn": "5s", "connections": "500ms",
	"singles": "4", "single-time": "5s", "batches": "2", "rolling": "1000", "writer-sizes": "1000x10", "writer-loads": "2", "writer-changes": "10",
}

func command(ctx context.Context, args []string) error {
	f, set := newFlags()
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > 0 {
		return fmt.Errorf("%q is no flag; -h lists them", set.Arg(0))
	}
	if f.report != "" {
		records, err := readRecords(f.report)
		if err != nil {
			return err
		}
		return writeReport(filepath.Dir(f.report), records)
	}
	f.command = commandLine(set)
	if f.quick {
		given := map[string]bool{}
		set.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range quick {
			if !given[name] {
				if err := set.Set(name, value); err != nil {
					return err
				}
			}
		}
	}
	if err := f.resolve(); err != nil {
		return err
	}
	return measure(ctx, f)
}

// resolve reads what lists say.
func (f *flags) resolve() (err error) {
	o := &f.options
	if o.sizes, err = parseSizes(f.sizes); err != nil {
		return fmt.Errorf("-sizes: %w", err)
	}
	if o.writerSizes, err = parseSizes(f.writerSizes); err != nil {
		return fmt.Errorf("-writer-sizes: %w", err)
	}
	known := kinds(f.program)
	for name := range strings.SplitSeq(f.peers, ",") {
		peer := known[strings.TrimSpace(name)]
		if peer == nil {
			return fmt.Errorf("-peers: there is no %q, only ours, nftables and iptables", name)
		}
		o.peers = append(o.peers, peer)
	}
	o.scenarios = map[string]bool{}
	for _, name := range scenarios {
		o.scenarios[name] = f.scenarios == "all"
	}
	if f.scenarios != "all" {
		for name := range strings.SplitSeq(f.scenarios, ",") {
			name = strings.TrimSpace(name)
			if !slices.Contains(scenarios, name) {
				return fmt.Errorf("-scenarios: there is no %q, only %s", name, strings.Join(scenarios, ", "))
			}
			o.scenarios[name] = true
		}
	}
	for text := range strings.SplitSeq(f.rolling, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > mostRolling {
			return fmt.Errorf("-rolling: %q is not a number of endpoints from 1 to %d", text, mostRolling)
		}
		o.rolling = append(o.rolling, n)
	}
	// In the largest of the usual clusters: 10 000 Services, or what there is.
	for _, s := range o.sizes {
		if s.services <= 10_000 {
			o.rollingSize = s
		}
	}
	if o.rounds < 1 || o.singles < 1 || o.batches < 1 {
		return errors.New("-rounds, -singles and -batches: at least 1 is needed")
	}
	return nil
}

func measure(ctx context.Context, f *flags) error {
	if f.options.needsCluster() {
		if err := f.programsAreThere(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(f.out, "data.csv"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	recorder, err := newRecorder(file)
	if err != nil {
		return err
	}
	s := &suite{command: f.command, options: f.options, recorder: recorder, progress: &progress{to: os.Stderr, start: time.Now(), budget: f.options.budget}}
	err = s.run(ctx)
	took := time.Since(s.progress.start).Round(time.Second).String()
	// What there is counts, also after a failure.
	return errors.Join(err, recorder.add(record{scenario: about, what: "load after", text: load()}, record{scenario: about, what: "duration", text: took}), writeReport(f.out, recorder.records))
}

// programsAreThere says what is missing before anything is started.
func (f *flags) programsAreThere() error {
	if slices.ContainsFunc(f.options.peers, func(p *peer) bool { return p.name == ours }) {
		if err := needsProgram(f.program); err != nil {
			return err
		}
	}
	for _, tool := range []string{"etcd", "kube-apiserver", "kube-proxy"} {
		if _, err := testbed.Tool(tool); err != nil {
			return err
		}
	}
	return nil
}

// commandLine is how to do the same again.
func commandLine(set *flag.FlagSet) string {
	var args []string
	set.Visit(func(f *flag.Flag) {
		if f.Name != "program" && f.Name != "out" {
			args = append(args, fmt.Sprintf("-%s=%q", f.Name, f.Value.String()))
		}
	})
	if len(args) == 0 {
		return "make bench"
	}
	return "make bench ARGS='" + strings.Join(args, " ") + "'"
}

func kubeProxyVersion() string {
	path, err := testbed.Tool("kube-proxy")
	if err != nil {
		return "unknown"
	}
	return said(path, "--version")
}
