package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/explain"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func newExplain(o *options) *cobra.Command {
	e := &explainer{options: o}
	cmd := &cobra.Command{
		Use:   "explain NAMESPACE/NAME | --from IP --to IP:PORT/PROTOCOL",
		Short: "Say how a Service works, or what becomes of a packet",
		Long: `Walks through one Service as this node sees it: how it is defined, which pods it
selects and where they run, and for each port how connections are spread, in
kube-proxy's chains and in our maps; why each endpoint gets traffic or none; and
whether the kernel of this network namespace has just that.

With --from and --to it follows one packet instead, rule by rule, through the
tables that the kernel holds, ours and kube-proxy's of its nftables mode, or through
those that are wanted (with -f, or where the kernel holds none). Rules that others
inserted are followed, too. Nothing is sent and nothing is changed.

The first line about a Service is the verdict. The exit status is 1 if the kernel does
something else than the Service asks for.

Objects come from the API server, or from manifests with -f. It needs no right
beyond reading them; without CAP_NET_ADMIN the kernel is left out, and it says so.
Flags about the tables (--pod-cidrs, --nodeport-addresses, --masquerade-bit, ...)
need not be given: the tables in the kernel say how they were made.`,
		Example: `  kube-verdict explain openshift-dns/dns-default          # why does nobody answer?
  kube-verdict explain shop/cart -o wide                  # all endpoints, slices and elements
  kube-verdict explain shop/cart -o json | jq '.ports[].endpoints[] | select(.cluster.in | not)'
  kube-verdict explain --from 10.244.1.7 --to 10.96.0.10:53/udp    # a pod asks DNS
  kube-verdict explain --from node --to 10.96.0.1:443              # this node itself
  kube-verdict explain -f examples/dns-default.yaml openshift-dns/dns-default`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.cmd = cmd
			return e.run(args)
		},
	}
	flags := cmd.Flags()
	e.source.addTo(flags)
	flags.StringVarP(&e.output, "output", "o", "", "wide to leave nothing out, json or yaml for other programs")
	flags.StringVar(&e.from, "from", "", `the packet's source: an address, or "node" for this node itself`)
	flags.StringVar(&e.to, "to", "", "the packet's destination, as in 10.96.0.10:53/udp or [fd00:10:96::a]:80/tcp")
	flags.StringVar(&e.in, "in", "", "the interface that the packet comes in by (default: the one that its source is routed to)")
	flags.StringVar(&e.rules, "rules", "", "follow the packet through the rules that the kernel holds (kernel), those of kube-proxy in its nftables mode (kube-proxy), or those that are wanted (desired)")
	return cmd
}

// explainer is one run of explain.
type explainer struct {
	options                     *options
	source                      source
	cmd                         *cobra.Command
	output, from, to, in, rules string
}

func (e *explainer) run(args []string) error {
	if !slices.Contains([]string{"", "wide", "json", "yaml"}, e.output) {
		return fmt.Errorf("-o %s: must be wide, json or yaml", e.output)
	}
	packet := e.from != "" || e.to != ""
	switch {
	case packet && len(args) > 0:
		return errors.New("a Service, or a packet with --from and --to: not both at once")
	case packet && (e.from == "" || e.to == ""):
		return errors.New("a packet has a source and a destination: give both --from and --to")
	case packet:
		return e.packet()
	case e.in != "" || e.rules != "":
		return errors.New("--in and --rules are about a packet: give --from and --to, too")
	case len(args) == 0:
		return errors.New("nothing to explain: name a Service as NAMESPACE/NAME, or a packet with --from and --to")
	}
	return e.service(args[0])
}

// kernel is what the kernel holds; without it, why it is not known.
func (e *explainer) kernel(config layout.Config) (*held, string) {
	h, err := readKernel(config, e.cmd.Flags().Changed)
	if err != nil {
		return &held{layout: maps.NewLayout(config)}, fmt.Sprintf("the kernel's tables: %v", err)
	}
	return h, ""
}

func (e *explainer) service(text string) error {
	name, err := parseName(text)
	if err != nil {
		return err
	}
	config, err := e.options.layout()
	if err != nil {
		return err
	}
	node, err := e.options.node()
	if err != nil {
		return err
	}
	all, err := e.source.read(e.cmd.Context(), e.cmd.InOrStdin(), e.cmd.ErrOrStderr(), wanted{node: node, slicesOf: name})
	if err != nil {
		return err
	}
	local, err := e.options.local(all.Nodes[node])
	if err != nil {
		return err
	}
	kernel, notSeen := e.kernel(config)
	if at := kernel.nodePorts(all.Services); len(at) > 0 && !e.cmd.Flags().Changed("nodeport-addresses") {
		local.NodePorts = at
	}
	in := explain.Input{
		Slices: all.Slices[name], Node: local.Node, Layout: kernel.layout, Scope: kernel.scope(), Config: kernel.config.View(), Kernel: kernel.tables, Remembered: kernel.remembered, Connections: kernel.connections, NotSeen: all.notSeen,
	}
	if notSeen != "" {
		in.NotSeen = append(in.NotSeen, notSeen)
	}
	for _, svc := range all.Services {
		switch {
		case svc.Namespace == name.Namespace && svc.Name == name.Name:
			in.Service = svc
		case proxy.Handles(svc, proxy.ScopeAll):
			// Its addresses are of interest, not its endpoints.
			other, _ := proxy.Build(svc, nil, local.Node)
			in.Others = append(in.Others, other)
		}
	}
	if in.Service == nil {
		return noService(name, all.Services)
	}
	if in.Met, _, err = kernel.engaged(); err != nil {
		return err
	}
	report := explain.Of(in)
	if err := e.print(report, report.Write); err != nil || !report.Wrong() {
		return err
	}
	return &statusError{status: statusDifferent}
}

func parseName(text string) (types.NamespacedName, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return types.NamespacedName{}, fmt.Errorf("%q is no Service: write it as NAMESPACE/NAME, as in openshift-dns/dns-default", text)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}

// noService says that there is no such Service, and which ones may be meant.
func noService(name types.NamespacedName, services []*corev1.Service) error {
	var names []string
	for _, svc := range services {
		names = append(names, svc.Namespace+"/"+svc.Name)
	}
	near := similar(name.String(), names)
	if len(near) == 0 {
		return fmt.Errorf("there is no Service %s, nor one of a similar name, among %s", name, count(len(services), "Service"))
	}
	return fmt.Errorf("there is no Service %s; there is %s", name, strings.Join(near, ", "))
}

// similar are up to five names that one that is none may stand for, the most
// similar first.
func similar(to string, names []string) []string {
	type near struct {
		name     string
		distance int
	}
	_, last, _ := strings.Cut(to, "/")
	var all []near
	for _, name := range names {
		_, short, _ := strings.Cut(name, "/")
		if d := min(distance(name, to), distance(short, last)+1); d <= 1+len(last)/3 {
			all = append(all, near{name, d})
		}
	}
	slices.SortFunc(all, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var nearest []string
	for _, n := range all[:min(5, len(all))] {
		nearest = append(nearest, n.name)
	}
	return nearest
}

// distance is how many letters have to be changed, added or taken away to make
// one text of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// print writes what was found out in the form that is asked for.
func (e *explainer) print(what any, text func(io.Writer, bool) error) error {
	out := e.cmd.OutOrStdout()
	switch e.output {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(what)
	case "yaml":
		b, err := yaml.Marshal(what)
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	}
	return text(out, e.output == "wide")
}
