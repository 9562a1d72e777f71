package iptables

import "slices"

// Base chains of the tables nat and filter.
const (
	basePrerouting  = "PREROUTING"
	baseInput       = "INPUT"
	baseForward     = "FORWARD"
	baseOutput      = "OUTPUT"
	basePostrouting = "POSTROUTING"
)

// hooked are chains that kube-proxy has base chains lead to, in every release that has
// them. What else it has them lead to shows in what connections meet.
var hooked = []struct {
	filter   bool
	from, to string
}{
	{false, basePostrouting, chainPostrouting},
	{true, baseForward, chainForward},
	{true, baseInput, chainExternalServices},
	{true, baseOutput, chainServices},
	{true, baseInput, chainProxyFirewall},
	{true, baseForward, chainProxyFirewall},
	{true, baseOutput, chainProxyFirewall},
}

// InterpretHooked is Interpret for those who ask what connections meet now: where the
// base chains are in the dump with their policies, rules are walked from there, and what
// base chains should lead to and don't is in Unhooked.
func InterpretHooked(d *Dump) *Reading {
	if d.Listing {
		d = Complete(d)
	}
	return interpret(d, true)
}

// whole is the base chain of a name, if connections are to be walked from there: a
// listing that lacks lines shows no policy.
func (in *interpreter) whole(t *Table, name string) *Chain {
	if c := t.Chain(name); in.fromHooks && c != nil && c.Policy != "" && c.Policy != "-" {
		return c
	}
	return nil
}

// findUnhooked finds what base chains do not lead to.
func (in *interpreter) findUnhooked() {
	in.masquerades = true
	for _, h := range hooked {
		t := in.nat
		if h.filter {
			t = in.filter
		}
		from, to := in.whole(t, h.from), t.Chain(h.to)
		if from == nil || to == nil || len(to.Rules) == 0 || leads(from, h.to) {
			continue
		}
		in.masquerades = in.masquerades && h.from != basePostrouting
		in.Unhooked = append(in.Unhooked, Unhooked{from.Name, to.Name})
	}
}

// leads reports whether every new connection gets from a base chain to another: no rule
// before ends all of them.
func leads(from *Chain, to string) bool {
	for i := range from.Rules {
		r := &from.Rules[i]
		if r.Jump() == to {
			return r.ofAll()
		}
		if t, ok := r.Target.(Jump); ok && r.ofAll() && (t.To == Accept || t.To == Drop || t.To == Return || t.Goto) {
			return false
		}
	}
	return false
}

// ofAll reports whether a rule is for every new connection.
func (r *Rule) ofAll() bool {
	return r.Protocol.Name == "" && r.Source.IsZero() && r.Destination.IsZero() && r.In.Name == "" && r.Out.Name == "" &&
		!slices.ContainsFunc(r.Matches, func(m Match) bool {
			switch m := m.(type) {
			case Comment:
				return false
			case Conntrack:
				return m.States&New == 0 || m.Not
			}
			return true
		})
}

// base lets flows through a base chain: to kube-proxy's chains, as long as nobody's rule
// ends every connection before. Other rules of others are left alone.
func (w *walker) base(c *Chain, flows []flow, to ...string) []flow {
	for i := range c.Rules {
		r := &c.Rules[i]
		switch t, ok := r.Target.(Jump); {
		case ok && slices.Contains(to, t.To):
			table := w.nat
			if w.inFilter {
				table = w.filter
			}
			if next := table.Chain(t.To); next == nil || len(next.Rules) == 0 {
				continue
			}
			on, returned := w.rule(c, r, flows, func(taken flow) (_, _ []flow) { return w.jump(r, t, taken, "") })
			flows = join(append(on, returned...))
		case ok && r.ofAll() && t.To == Drop:
			w.finish(flows, dropped)
			return nil
		case ok && r.ofAll() && (t.To == Accept || t.To == Return || t.Goto):
			return flows
		}
	}
	return flows
}

// throughNat lets a connection through the table nat, from the hook if that is known.
func (w *walker) throughNat(first string) []flow {
	left := []flow{{share: 1}}
	hook := basePrerouting
	if w.from == fromNode {
		hook = baseOutput
	}
	if c := w.whole(w.nat, hook); c != nil && w.nat.Chain(chainServices) != nil {
		return w.base(c, left, chainServices)
	}
	if c := w.nat.Chain(first); c != nil {
		left = w.chain(c, left, "")
	}
	return left
}

// throughFilter are the chains of the table filter that connections without an
// endpoint get to.
func (w *walker) throughFilter(left []flow, nodePort bool) []flow {
	w.inFilter = true
	defer func() { w.inFilter = false }()
	hook := baseForward
	switch {
	case w.from == fromNode:
		hook = baseOutput
	case nodePort:
		hook = baseInput
	}
	names := []string{chainProxyFirewall, chainServices, chainExternalServices}
	if c := w.whole(w.filter, hook); c != nil {
		return w.base(c, left, names...)
	}
	for _, name := range names {
		// Those to the node itself don't get to KUBE-SERVICES.
		if c := w.filter.Chain(name); c != nil && !(nodePort && name == chainServices) {
			left = w.chain(c, left, "")
		}
	}
	return left
}
