package explain

import (
	"fmt"
	"slices"
	"strings"
)

// port writes one Service port.
func (t *text) port(number int, r *Report, p *Port) {
	name := p.Name
	if name == "" {
		name = "(unnamed)"
	}
	t.heading("%d. Port %s, %d/%s, over %s", number, name, p.Port, p.Protocol, p.Family)
	t.frontends(p)
	for i := range p.Cascades {
		t.cascade(r, p, &p.Cascades[i])
	}
	t.endpoints(p)
	t.elements(r, p)
	t.chains(r, p)
}

func (t *text) frontends(p *Port) {
	if len(p.Frontends) == 0 {
		t.line("  It is reached at no address.")
		return
	}
	rows := [][]string{}
	for _, f := range p.Frontends {
		rows = append(rows, []string{f.Kind, f.Address, f.Chains[0] + " " + f.Match + " -> " + strings.Join(f.Chains[1:], " -> ")})
	}
	t.table(rows)
	t.line("")
	for _, m := range met(p.Frontends) {
		t.line("  A connection to %s meets %s.", strings.Join(m.addresses, ", "), m.meets)
	}
	if p.Connections != nil {
		t.line("  The kernel has counted %s since these elements were written.", count(int(*p.Connections), "connection"))
	}
}

// meeting is what connections to some frontends meet.
type meeting struct {
	meets     string
	addresses []string
}

// met groups frontends by what connections to them meet.
func met(frontends []Frontend) []meeting {
	var all []meeting
	for _, f := range frontends {
		i := slices.IndexFunc(all, func(m meeting) bool { return m.meets == f.Meets })
		if i < 0 {
			i = len(all)
			all = append(all, meeting{meets: f.Meets})
		}
		all[i].addresses = append(all[i].addresses, f.Address)
	}
	return all
}

func (t *text) cascade(r *Report, p *Port, c *Cascade) {
	t.line("")
	t.line("  %s: %s, tried from the top", c.Chain, c.For)
	if r.Definition.SessionAffinity == "ClientIP" {
		t.line("  Before these come as many rules that look for the client's last endpoint (-m recent).")
	}
	rows := [][]string{{"RULE", "PROBABILITY", "GET THIS FAR", "SHARE", "TO", "ENDPOINT", "POD"}}
	n := len(c.Rules)
	for i, rule := range c.Rules[:t.shown(n)] {
		probability := rule.Probability
		if probability == "" {
			probability = "(the rest)"
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), probability, rule.Reached, product(i, n), rule.Chain, rule.Endpoint, p.podOf(rule.Endpoint)})
	}
	t.table(rows)
	t.rest(n)
	t.line("  %s", truth(n))
}

func (p *Port) podOf(endpoint string) string {
	for i := range p.Endpoints {
		if e := &p.Endpoints[i]; e.Endpoint == endpoint && e.in() {
			return orDash(e.Name)
		}
	}
	return "-"
}

func (e *Endpoint) in() bool {
	return e.Cluster != nil && e.Cluster.In || e.Local != nil && e.Local.In
}

// endpoints says why each is in or out.
func (t *text) endpoints(p *Port) {
	t.line("")
	if len(p.Endpoints) == 0 {
		t.line("  No endpoint has this port.")
		return
	}
	if p.Hints != "none" {
		t.line("  Hints for the %s count: each ready endpoint has one, and one is meant for us.", p.Hints)
	}
	// Those that are out come first: it is them that are asked for.
	sorted := slices.Clone(p.Endpoints)
	slices.SortStableFunc(sorted, func(a, b Endpoint) int { return btoi(a.in()) - btoi(b.in()) })
	plain := slices.IndexFunc(sorted, func(e Endpoint) bool { return e.plain() })
	if t.wide || plain < 0 || p.kept() || p.Connections != nil {
		plain = len(sorted)
	}
	if plain > 0 {
		t.table(p.rows(sorted[:min(plain, t.shown(len(sorted)))]))
		t.rest(plain)
	}
	switch others := len(sorted) - plain; {
	case others == 0:
	case plain == 0:
		t.line("  Every endpoint is in: ready.")
	default:
		t.line("  %s more: in, ready.", count(others, "endpoint"))
	}
}

// plain says that there is nothing to tell of an endpoint: it is ready, and in
// wherever it could be.
func (e *Endpoint) plain() bool {
	ok := func(s *Standing) bool { return s == nil || s.Reason == "Ready" }
	return ok(e.Cluster) && ok(e.Local)
}

// kept says that session affinity keeps clients at an endpoint.
func (p *Port) kept() bool {
	return slices.ContainsFunc(p.Endpoints, func(e Endpoint) bool { return e.Clients > 0 })
}

// rows are endpoints in columns.
func (p *Port) rows(endpoints []Endpoint) [][]string {
	header := []string{"ENDPOINT", "POD", "IN OR OUT, AND WHY"}
	clients, connections := p.kept(), p.Connections != nil
	if clients {
		header = append(header, "CLIENTS KEPT")
	}
	if connections {
		header = append(header, "CONNECTIONS")
	}
	rows := [][]string{header}
	for _, e := range endpoints {
		row := []string{e.Endpoint, orDash(e.Name), e.standing()}
		if clients {
			row = append(row, fmt.Sprint(e.Clients))
		}
		if connections {
			row = append(row, fmt.Sprint(*e.Connections))
		}
		rows = append(rows, row)
	}
	return rows
}

// standing is why an endpoint is in or out, by policy where they differ.
func (e *Endpoint) standing() string {
	one := func(s *Standing) string {
		if s.In {
			return "in: " + s.Why
		}
		return "out: " + s.Why
	}
	switch {
	case e.Local == nil:
		return one(e.Cluster)
	case e.Cluster == nil || *e.Cluster == *e.Local:
		return one(e.Local)
	}
	return fmt.Sprintf("policy Cluster %s; policy Local %s", one(e.Cluster), one(e.Local))
}

// elements shows where in our maps the port is.
func (t *text) elements(r *Report, p *Port) {
	if len(p.Elements) == 0 {
		return
	}
	t.line("")
	t.line("  In our maps (table %s):", p.Elements[0].Table)
	rows := [][]string{}
	for _, e := range p.Elements[:t.shown(len(p.Elements))] {
		row := []string{e.Set, e.Text}
		switch {
		case r.Kernel.State == Unknown || r.Kernel.State == Nothing:
		case e.Kernel == Yes:
			row = append(row, "in the kernel")
		case e.Kernel == Differs:
			row = append(row, "THE KERNEL HAS "+e.Held)
		default:
			row = append(row, "NOT IN THE KERNEL")
		}
		rows = append(rows, row)
	}
	t.table(rows)
	t.rest(len(p.Elements))
}

// chains shows the chains that the port has for itself.
func (t *text) chains(r *Report, p *Port) {
	if len(p.Chains) == 0 {
		return
	}
	t.line("")
	t.line("  Its own chains (table %s):", p.Chains[0].Table)
	for _, c := range p.Chains[:t.shown(len(p.Chains))] {
		note := map[string]string{Yes: "  (in the kernel)", Differs: "  (THE KERNEL HAS OTHER RULES)", Missing: "  (NOT IN THE KERNEL)"}[c.Kernel]
		if r.Kernel.State == Nothing {
			note = ""
		}
		t.line("  %s%s", c.Name, note)
		for _, rule := range c.Rules {
			t.line("    %s", rule)
		}
	}
	t.rest(len(p.Chains))
}
