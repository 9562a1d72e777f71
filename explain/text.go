package explain

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Write writes the report for people. Wide leaves nothing out: all endpoints, the
// slices that they come from, and all elements.
func (r *Report) Write(w io.Writer, wide bool) error {
	t := &text{Writer: bufio.NewWriter(w), wide: wide}
	t.line("%s", r.Verdict)
	t.line("Service %s, seen from node %s%s", r.Service, r.Node, inZone(r.Zone))
	for _, p := range r.Problems {
		t.line("! %s", p)
	}
	for _, c := range r.Conflicts {
		t.line("! %s", c)
	}
	t.definition(r)
	t.selection(r)
	t.technology(r)
	for i := range r.Ports {
		t.port(i+4, r, &r.Ports[i])
	}
	if len(r.NotSeen) > 0 {
		t.heading("What could not be seen")
		for _, n := range r.NotSeen {
			t.line("  %s", n)
		}
	}
	return t.Flush()
}

func inZone(zone string) string {
	if zone == "" {
		return ""
	}
	return " in zone " + zone
}

// text writes a Report.
type text struct {
	*bufio.Writer
	wide bool
}

func (t *text) line(format string, args ...any) {
	_, _ = fmt.Fprintln(t, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (t *text) heading(format string, args ...any) {
	t.line("")
	t.line(format, args...)
}

// table writes rows in columns.
func (t *text) table(rows [][]string) {
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(tab, "  "+strings.Join(row, "\t"))
	}
	_ = tab.Flush()
	for line := range strings.Lines(b.String()) {
		t.line("%s", strings.TrimSuffix(line, "\n"))
	}
}

func (t *text) definition(r *Report) {
	d := &r.Definition
	t.heading("1. How is it defined?")
	rows := [][]string{{"type", d.Type}, {"cluster IP", strings.Join(d.ClusterIPs, ", ")}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("external IPs", strings.Join(d.ExternalIPs, ", "))
	add("load balancer", strings.Join(d.LoadBalancerIPs, ", "))
	add("source ranges", strings.Join(d.SourceRanges, ", "))
	for i, p := range d.Ports {
		name, value := "", fmt.Sprintf("%d/%s -> %s", p.Port, strings.ToLower(p.Protocol), p.TargetPort)
		if i == 0 {
			name = "ports"
		}
		if p.Name != "" {
			value = p.Name + ": " + value
		}
		if p.NodePort != 0 {
			value += fmt.Sprintf(" (node port %d)", p.NodePort)
		}
		rows = append(rows, []string{name, value})
	}
	policies := "internal " + d.InternalTrafficPolicy
	if d.ExternalTrafficPolicy != "" {
		policies += ", external " + d.ExternalTrafficPolicy
	}
	add("traffic policies", policies)
	add("distribution", d.TrafficDistribution)
	affinity := d.SessionAffinity
	if d.AffinitySeconds > 0 {
		affinity += " for " + duration(time.Duration(d.AffinitySeconds)*time.Second)
	}
	add("session affinity", affinity)
	if d.HealthCheckNodePort != 0 {
		add("health check", fmt.Sprintf("node port %d", d.HealthCheckNodePort))
	}
	t.table(rows)
}

// duration is a time without the parts that are 0.
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// few is how many lines of a kind are shown unless all are asked for.
const few = 20

// shown is how many of n lines are shown.
func (t *text) shown(n int) int {
	if t.wide || n <= few {
		return n
	}
	return few
}

func (t *text) rest(n int) {
	if more := n - t.shown(n); more > 0 {
		t.line("  ... and %d more (-o wide shows all)", more)
	}
}

func (t *text) selection(r *Report) {
	t.heading("2. Which selection criterion does it use?")
	if len(r.Selector) == 0 {
		t.line("  none: whoever writes its EndpointSlices says which endpoints it has")
	} else {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(r.Selector)) {
			labels = append(labels, k+"="+r.Selector[k])
		}
		namespace, _, _ := strings.Cut(r.Service, "/")
		t.line("  %s", strings.Join(labels, ","))
		t.line("  kubectl get pods -n %s -l %s", namespace, strings.Join(labels, ","))
	}
	if len(r.Pods) == 0 {
		t.line("  Its EndpointSlices have no endpoint: no pod matches, or none has an address yet.")
		return
	}
	header := []string{"POD", "ADDRESS", "STATE", "NODE", "ZONE"}
	if t.wide {
		header = append(header, "SLICE", "HINTS")
	}
	rows := [][]string{header}
	for _, p := range r.Pods[:t.shown(len(r.Pods))] {
		node := orDash(p.NodeName)
		if p.Here {
			node += " (this one)"
		}
		row := []string{orDash(p.Name), orDash(p.Address), p.State, node, orDash(p.Zone)}
		if t.wide {
			row = append(row, p.Slice, hintText(&p))
		}
		rows = append(rows, row)
	}
	t.table(rows)
	t.rest(len(r.Pods))
	for _, e := range r.LeftOut {
		t.line("  left out: %s of slice %s: %s", orDash(e.Address), e.Slice, e.Cluster.Why)
	}
}

func hintText(p *Pod) string {
	var all []string
	if len(p.ForNodes) > 0 {
		all = append(all, "for nodes "+strings.Join(p.ForNodes, ", "))
	}
	if len(p.ForZones) > 0 {
		all = append(all, "for zones "+strings.Join(p.ForZones, ", "))
	}
	return orDash(strings.Join(all, "; "))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (t *text) technology(r *Report) {
	t.heading("3. What balances it?")
	if r.NotOurs != "" {
		t.line("  Not kube-verdict: %s.", r.NotOurs)
		return
	}
	what := "nftables maps"
	if slices.ContainsFunc(r.Ports, func(p Port) bool { return len(p.Chains) > 0 }) {
		what = "nftables chains"
	}
	t.line("  %s on every node, that kube-verdict programs in place of kube-proxy's", what)
	t.line("  iptables rules. No process and no load balancer is on the way.")
	k := &r.Kernel
	if k.Bypassed {
		t.line("  In this network namespace they are in another proxy's shadow: packets pass by.")
	}
	switch k.State {
	case Agrees:
		t.line("  The kernel agrees: it has %s of this Service, and the chains that they lead to.", count(k.Elements, "element"))
	case Differs:
		t.line("  THE KERNEL DIFFERS:")
		t.list(k.Differences)
	case Absent:
		t.line("  THE KERNEL HAS NOTHING OF THIS SERVICE. Is the agent running here, and is the Service")
		t.line("  in its scope (run --scope)? Its Events say whether the kernel refused it.")
	case Nothing:
		t.line("  The kernel has no table of ours in this network namespace: nothing is programmed here.")
	default:
		t.line("  Whether the kernel agrees is not known (see the end).")
	}
	if len(k.Deviations) > 0 && k.State == Agrees {
		t.line("  Its tables are not just as we write them, which makes no difference to connections:")
	} else if len(k.Deviations) > 0 && k.State == Differs {
		t.line("  In its tables:")
	}
	if k.State == Agrees || k.State == Differs {
		t.list(k.Deviations)
	}
}

// list writes lines, a few or all.
func (t *text) list(lines []string) {
	for _, line := range lines[:t.shown(len(lines))] {
		t.line("    %s", line)
	}
	t.rest(len(lines))
}
