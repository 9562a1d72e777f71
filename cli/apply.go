package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func newApply(o *options) *cobra.Command {
	var files []string
	var dryRun, watch bool
	var layoutName string
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "Program Services from manifests, without a cluster",
		Long: `Programs the Services and EndpointSlices in the given manifests (YAML or JSON)
into the current network namespace. A Node among them that has this node's name
gives its addresses and zone, and ServiceCIDRs say which virtual addresses there
can be; other objects are passed over.

Once more with the same files writes nothing; with others, only differences. A
Service that is gone from the files is gone from the kernel. What can't be
understood is named and left out, the rest is programmed, and the exit status is
1; what the kernel has of a Service stays while it can't be understood.

With --watch, the tables are also repaired when another process changes them.

Tables of the other --layout are replaced in one transaction; connections go on.`,
		Example: `  kube-verdict apply -f examples/dns-default.yaml --pod-cidrs 10.254.0.0/16
  kube-verdict apply -f services/ --dry-run       # what would change, as nft commands
  kube-verdict apply -f services/ --watch         # and follow the files
  kubectl get services,endpointslices -A -o yaml | kube-verdict apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("nothing to apply: name a file, a directory, or - for standard input with -f")
			}
			if watch && dryRun {
				return errors.New("--watch and --dry-run exclude each other: a dry run ends after one look")
			}
			config, err := o.layout()
			if err != nil {
				return err
			}
			tables, err := layoutNamed(layoutName, config)
			if err != nil {
				return err
			}
			conn, err := kernel.Open(0)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if !dryRun {
				if err := lacks(conn, layoutName, config); err != nil {
					return err
				}
			}
			a := &applier{
				options: o, files: files, in: cmd.InOrStdin(), out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(),
				conn: conn, layout: tables, told: map[proxy.Name]bool{},
			}
			switch {
			case dryRun:
				return a.dryRun(cmd.Context())
			case watch:
				return a.watch(cmd.Context())
			}
			a.start()
			return a.apply(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&files, "filename", "f", nil, "file, directory (its *.yaml, *.yml and *.json), or - for standard input; may be given several times")
	addLayout(flags, &layoutName)
	flags.BoolVar(&dryRun, "dry-run", false, "write nothing; print what would be written as commands of nft")
	flags.BoolVar(&watch, "watch", false, "go on: apply the files again whenever they change, and repair the tables when another process changes them")
	return cmd
}

// lacks is the error of a kernel that can't do what the layout needs, as run has it.
func lacks(conn *kernel.Conn, layoutName string, config layout.Config) error {
	probed, err := layoutNamed(layoutName, config)
	if err != nil {
		return err
	}
	return dataplane.Check(conn, probed)
}

// applier brings manifests into the kernel, once or again and again.
type applier struct {
	options   *options
	files     []string
	in        io.Reader
	out, errs io.Writer

	conn       *kernel.Conn
	layout     dataplane.Layout
	programmer *dataplane.Programmer
	flows      *conntrack.Changes
	// told are the Services with a complaint.
	told  map[proxy.Name]bool
	wrong int
	// said is the last error that watch printed, if it lasts.
	said string
}

// These end the command when some input was wrong: its parts have been named
// already.
var (
	errWrong      = errors.New("some input was left out (see above); the rest is programmed")
	errIncomplete = errors.New("some input was left out (see above); the rest is programmed, and no Service was removed from the kernel, as that input may have one")
	errNothing    = errors.New("no Service could be read (see above): nothing was written, and nothing was removed from the kernel")
)

func (a *applier) start() {
	a.flows = &conntrack.Changes{}
	writer := dataplane.NewWriter(a.conn, a.layout)
	writer.TellSwept(a.flows.Gone)
	a.programmer = dataplane.NewProgrammer(writer, logr.Discard(), a)
}

func (a *applier) dryRun(ctx context.Context) error {
	input, err := a.options.read(ctx, a.files, a.in, a.errs)
	if err != nil {
		return err
	}
	paper, written := dataplane.DryRun(a.conn)
	a.flows = &conntrack.Changes{}
	a.programmer = dataplane.NewProgrammer(dataplane.NewWriter(paper, a.layout), logr.Discard(), a)
	a.put(input)
	if err := a.programmer.Round(); err != nil {
		return err
	}
	if err := a.programmer.Settle(); err != nil {
		return err
	}
	tx := written()
	if len(tx) == 0 {
		fmt.Fprintln(a.errs, "no difference: the kernel holds just this")
	}
	if err := tx.Write(a.out); err != nil {
		return err
	}
	if input.wrong {
		return errors.New("some input was left out (see above)")
	}
	return nil
}

// put gives the Programmer the manifests as they are now. What could not be read may
// have named any Service that is not among the rest.
func (a *applier) put(input *input) {
	a.programmer.SetNetworks(input.networks)
	now := map[proxy.Name]bool{}
	for _, svc := range input.services {
		now[svc.Name] = true
		a.programmer.Update(svc)
	}
	if !input.complete {
		a.programmer.KeepOthers()
		return
	}
	for _, name := range a.programmer.Names() {
		if !now[name] {
			a.programmer.Delete(name)
		}
	}
}

// apply brings the manifests as they are now into the kernel.
func (a *applier) apply(ctx context.Context) error {
	start, before := time.Now(), a.conn.Stats()
	a.wrong = 0
	input, err := a.options.read(ctx, a.files, a.in, a.errs)
	if err != nil {
		return err
	}
	if !input.complete && len(input.services) == 0 {
		return errNothing
	}
	a.put(input)
	if err := a.round(); err != nil {
		return err
	}
	a.summary(input, before, time.Since(start))
	if err := a.programmer.Verify(); err != nil {
		return err
	}
	switch {
	case !input.complete:
		return errIncomplete
	case input.wrong:
		return errWrong
	case a.wrong > 0:
		return fmt.Errorf("the kernel refused %s (see above); what was there before stays", count(a.wrong, "Service"))
	}
	return nil
}

// round brings about what has changed.
func (a *applier) round() error {
	if err := a.programmer.Round(); err != nil {
		return err
	}
	if err := a.cleanUp(); err != nil {
		return err
	}
	if err := a.programmer.Settle(); err != nil {
		return err
	}
	return a.cleanUp() // what the sweep has found
}

func (a *applier) summary(input *input, before kernel.Stats, took time.Duration) {
	after := a.conn.Stats()
	frontends, endpoints := 0, 0
	for i := range input.services {
		for _, port := range input.services[i].Ports {
			frontends += len(port.Frontends)
		}
		endpoints += endpointsOf(&input.services[i])
	}
	change := "nothing to change"
	if n := after.Transactions - before.Transactions; n > 0 {
		change = fmt.Sprintf("%s added, %d deleted, in %s",
			count(int(after.Added-before.Added), "element"), after.Deleted-before.Deleted, count(int(n), "transaction"))
	}
	fmt.Fprintf(a.out, "%s, %s, %s: %s (%s)\n",
		count(len(input.services), "Service"), count(frontends, "frontend"), count(endpoints, "endpoint"),
		change, took.Round(100*time.Microsecond))
}

// endpointsOf is how many endpoints a Service has, whatever its ports and ways in. A Pod
// with an address of each family is one.
func endpointsOf(svc *proxy.Service) int {
	four, six := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for i := range svc.Ports {
		for _, ep := range svc.Ports[i].Endpoints {
			if addr := ep.Addr(); addr.Is4() {
				four[addr] = true
			} else {
				six[addr] = true
			}
		}
	}
	return max(len(four), len(six))
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// Conflicts prints the frontends that a Service does not get.
func (a *applier) Conflicts(name proxy.Name, conflicts []proxy.Conflict) {
	tellConflicts(a.errs, name, conflicts)
	if len(conflicts) == 0 && a.told[name] {
		fmt.Fprintf(a.errs, "service %s has all of its frontends again\n", name)
	}
	a.told[name] = len(conflicts) > 0
}

// Refused prints a Service that the kernel did not take.
func (a *applier) Refused(name proxy.Name, err error) {
	if err != nil {
		a.wrong++
		fmt.Fprintf(a.errs, "error: service %s: the kernel refused it: %v\n", name, err)
	}
}

// Programmed notes what may have left flows behind.
func (a *applier) Programmed(changes []dataplane.Applied, _ time.Duration) {
	for i := range changes {
		a.flows.Add(changes[i].Old, changes[i].Now)
	}
}

// Repaired prints what another process had changed.
func (a *applier) Repaired(r dataplane.Repair) {
	fmt.Fprintf(a.errs, "repaired our tables, which %s had changed: %s\n", r.By, count(r.Operations, "object"))
}

// Failed rounds end apply with their error.
func (a *applier) Failed(error) {}

// Contested prints that another process changes our tables again and again.
func (a *applier) Contested(by kernel.Change, on bool) {
	if on {
		fmt.Fprintf(a.errs, "warning: %s changes our tables again and again: stop it; repairs wait in between\n", by)
	}
}

// cleanUp deletes the UDP flows that the changes have left behind.
func (a *applier) cleanUp() error {
	if a.flows.Len() == 0 {
		return nil
	}
	conn, err := conntrack.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Clean(a.flows)
	return err
}
