package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/explain"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/trace"
)

func newTrace() *cobra.Command {
	t := &tracer{}
	cmd := &cobra.Command{
		Use:   "trace [NAMESPACE/NAME]",
		Short: "Watch real packets of a Service on their way through the rules",
		Long: `Has the kernel tell, for the first packets of connections to one Service, or to
all that are programmed here, by which rules they come, and prints it in nft's
words and in those of kube-proxy's iptables rules: which endpoint each got, or why
it got none.

It looks for a bounded time, at a bounded number of packets. What marks them is a
table of its own ("kube-verdict-trace"), which comes before ours and leaves them
alone. The kernel removes it when this process ends, however it ends.

It needs CAP_NET_ADMIN in the node's network namespace, and Linux 5.12. Packets of
connections that are established already are not translated again, and not shown.`,
		Example: `  kube-verdict trace openshift-dns/dns-default              # for ten seconds
  kube-verdict trace shop/cart --count 1 --duration 5m      # the next connection
  kube-verdict trace --rate 2                               # any Service, two packets a second
  kube-verdict trace shop/cart -o json | jq -r .endpoint    # who gets them?`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.cmd = cmd
			return t.run(args)
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&t.duration, "duration", 10*time.Second, "how long to look, at most an hour")
	flags.Uint64Var(&t.rate, "rate", 10, "how many packets to look at in a second, in each family, at most 1000")
	flags.IntVar(&t.count, "count", 0, "end after so many packets; 0 for as many as come")
	flags.StringVarP(&t.output, "output", "o", "", "json for other programs: an object a line")
	return cmd
}

// tracer is one run of trace.
type tracer struct {
	cmd      *cobra.Command
	duration time.Duration
	rate     uint64
	count    int
	output   string
}

func (t *tracer) run(args []string) error {
	switch {
	case t.duration <= 0 || t.duration > time.Hour:
		return fmt.Errorf("--duration %s: must be more than 0 and at most an hour", t.duration)
	case t.rate < 1 || t.rate > 1000:
		return fmt.Errorf("--rate %d: must be from 1 to 1000 packets a second", t.rate)
	case t.count < 0:
		return fmt.Errorf("--count %d: must not be negative", t.count)
	case t.output != "" && t.output != "json":
		return fmt.Errorf("-o %s: must be json", t.output)
	}
	held, err := readKernel(layout.Config{MasqueradeBit: layout.DefaultMasqueradeBit}, t.cmd.Flags().Changed)
	if err != nil {
		return err
	}
	if !held.any() {
		return errors.New("the kernel holds no table of ours in this network namespace: nothing is programmed here")
	}
	frontends, err := traced(held, args)
	if err != nil {
		return err
	}
	ways, err := newSurroundings(nil)
	if err != nil {
		return err
	}
	scene := &explain.Scene{Kernel: held.tables, Rules: map[nft.Family]*walk.Ruleset{}, Interface: interfaceName, Local: ways.local}
	for id, table := range held.tables {
		scene.Rules[id.Family] = walk.Compile(table)
		if table.Bypassed() {
			defer fmt.Fprintln(t.cmd.ErrOrStderr(), "note: packets pass by our tables (scope shadow), so that none of our rules is shown; kube-verdict explain --from --to says what they would do")
		}
	}
	opened, err := kernel.OpenTracer(0, trace.Tables(frontends, t.rate))
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	return t.watch(opened, scene)
}

// traced are the frontends of the Service that is asked for, or all.
func traced(h *held, args []string) ([]trace.Frontend, error) {
	var tables []*nft.Held
	for _, t := range h.layout.Tables() {
		tables = append(tables, h.tables[t.ID()])
	}
	all := trace.Frontends(tables)
	if len(args) == 0 {
		if len(all) == 0 {
			return nil, errors.New("no Service is programmed here")
		}
		return all, nil
	}
	name, err := parseName(args[0])
	if err != nil {
		return nil, err
	}
	var names []string
	var own []trace.Frontend
	for _, f := range all {
		names = append(names, f.Name())
		if f.Name() == name.String() {
			own = append(own, f)
		}
	}
	if len(own) == 0 {
		return nil, notProgrammed(name.String(), slices.Compact(names))
	}
	return own, nil
}

// notProgrammed says that the kernel has no such Service, and which are near.
func notProgrammed(name string, names []string) error {
	near := similar(name, names)
	if len(near) == 0 {
		return fmt.Errorf("service %s is not programmed here, nor one of a similar name, among %s (kube-verdict explain %s says why)", name, count(len(names), "Service"), name)
	}
	return fmt.Errorf("service %s is not programmed here; there is %s", name, strings.Join(near, ", "))
}

// watch prints packets until one of the bounds is met.
func (t *tracer) watch(from *kernel.Tracer, scene *explain.Scene) error {
	ctx, cancel := context.WithTimeout(t.cmd.Context(), t.duration)
	defer cancel()
	told := make(chan nft.Traced, 1024)
	ended := make(chan error, 1)
	lost := make(chan struct{}, 1)
	go func() {
		defer close(told)
		ended <- from.Run(ctx, func(e nft.Traced) { told <- e }, func() {
			select {
			case lost <- struct{}{}:
			default:
			}
		})
	}()
	collector := trace.NewCollector()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	seen := 0
	print := func(all bool) error {
		for _, p := range collector.Done(time.Now(), all) {
			if t.count > 0 && seen == t.count {
				return nil
			}
			sighting := scene.Seen(p.Steps, time.Now(), trace.TableName)
			if !sighting.Again {
				seen++
			}
			if err := t.print(sighting); err != nil {
				return err
			}
		}
		if t.count > 0 && seen == t.count {
			cancel()
		}
		return nil
	}
	for open := true; open; {
		select {
		case e, ok := <-told:
			if open = ok; ok {
				collector.Add(e, time.Now())
			}
		case <-tick.C:
			if err := print(false); err != nil {
				return err
			}
		}
	}
	err := errors.Join(print(true), <-ended)
	fmt.Fprintf(t.cmd.ErrOrStderr(), "%s seen\n", count(seen, "packet"))
	select {
	case <-lost:
		fmt.Fprintln(t.cmd.ErrOrStderr(), "warning: more packets came than could be read; some steps are missing: lower --rate")
	default:
	}
	return err
}

func (t *tracer) print(s *explain.Sighting) error {
	if t.output == "json" {
		encoder := json.NewEncoder(t.cmd.OutOrStdout())
		encoder.SetEscapeHTML(false)
		return encoder.Encode(s)
	}
	return s.Write(t.cmd.OutOrStdout())
}

// interfaceName is an interface's name, or its number where it has gone.
func interfaceName(number uint32) string {
	if number == 0 {
		return ""
	}
	if link, err := net.InterfaceByIndex(int(number)); err == nil {
		return link.Name
	}
	return fmt.Sprintf("interface %d", number)
}
