package iptables

import (
	"fmt"
	"slices"
	"strings"
)

// Complete is a dump as its readers take it: rules that an older iptables printed
// without a part of them are left out, the rules of a listing are in the tables nat and
// filter, and what kube-proxy always has and the listing lacks is there. The warnings
// name each of these. A dump that is complete stays as it is.
func Complete(d *Dump) *Dump {
	if d.complete {
		return d
	}
	c := &completer{Dump: &Dump{complete: true, Trailing: d.Trailing, Warnings: slices.Clone(d.Warnings), Listing: d.Listing, prompts: d.prompts, cut: d.cut}}
	c.line4, c.line6 = d.families()
	for i := range d.Tables {
		from := &d.Tables[i]
		if d.Listing && from.Name == "" {
			once, warnings := Once(from)
			c.Warnings = append(c.Warnings, warnings...)
			c.table("nat").Comments = append(c.table("nat").Comments, from.Comments...)
			c.split(once)
			continue
		}
		to := c.table(from.Name)
		to.Line, to.Comments = from.Line, append(to.Comments, from.Comments...)
		for _, chain := range from.Chains {
			own := to.Add(chain.Name)
			own.Line, own.Policy, own.Counters = chain.Line, chain.Policy, chain.Counters
			own.Rules = append(own.Rules, chain.Rules...)
		}
	}
	for i := range c.Tables {
		c.ipvs(&c.Tables[i])
		c.mend(&c.Tables[i])
	}
	if d.Listing {
		c.listing()
	}
	return c.Dump
}

type completer struct{ *Dump }

func (c *completer) warn(line int, format string, args ...any) {
	c.Warnings = append(c.Warnings, Warning{line, fmt.Sprintf(format, args...)})
}

// table is the table of a name, made if there is none.
func (c *completer) table(name string) *Table {
	if t := c.Table(name); t != nil {
		return t
	}
	c.Tables = append(c.Tables, Table{Name: name})
	return &c.Tables[len(c.Tables)-1]
}

// split gives the rules of a listing to the tables that kube-proxy writes them to. Those
// that a whole table has already are not repeated.
func (c *completer) split(listing *Table) {
	for _, chain := range listing.Chains {
		had := map[string]bool{}
		for i := range c.Tables {
			if whole := c.Tables[i].Chain(chain.Name); whole != nil {
				for j := range whole.Rules {
					had[whole.Rules[j].Text(chain.Name)] = true
				}
			}
		}
		if len(chain.Rules) == 0 {
			c.declared(chain, "nat")
		}
		for _, r := range chain.Rules {
			name := "nat"
			if isOfFilter(chain.Name, &r) {
				name = "filter"
			}
			if to := c.declared(chain, name); len(had) == 0 || !had[r.Text(chain.Name)] {
				to.Rules = append(to.Rules, r)
			}
		}
	}
}

// declared is a listing's chain in one of the tables.
func (c *completer) declared(chain *Chain, table string) *Chain {
	to := c.table(table).Add(chain.Name)
	if to.Line == 0 {
		to.Line, to.Policy = chain.Line, chain.Policy
	}
	return to
}

// isOfFilter reports whether kube-proxy writes a rule to the table filter.
func isOfFilter(chain string, r *Rule) bool {
	jump := r.Jump()
	_, reject := r.Target.(Reject)
	switch chain {
	case chainExternalServices, chainProxyFirewall, chainForward, chainFirewall, baseForward:
		return true
	case baseInput:
		return strings.HasPrefix(jump, "KUBE-")
	case baseOutput:
		return jump == chainFirewall || jump == chainProxyFirewall || jump == chainServices && len(r.Matches) > 1
	case chainServices, chainNodePorts:
		return reject || jump == Drop || jump == Accept
	}
	return reject
}

// mend leaves out, or puts right, what an older iptables printed only in part.
func (c *completer) mend(t *Table) {
	said := endpointsSaid(t)
	for _, chain := range t.Chains {
		if !strings.HasPrefix(chain.Name, "KUBE-") {
			continue
		}
		kept := chain.Rules[:0:0]
		for _, r := range chain.Rules {
			if lost := lostPart(chain.Name, &r); lost != "" {
				c.warn(r.Line, "the rule has lost its %s, as when an older iptables lists what a newer one wrote; it is left out: list the rules with the iptables of kube-proxy's image: %s", lost, r.Text(chain.Name))
				continue
			}
			r.Matches = c.withoutBridge(&r)
			if strings.HasPrefix(chain.Name, PrefixEndpoint) {
				c.endpoint(chain, &r, said)
			}
			kept = append(kept, r)
		}
		chain.Rules = kept
		c.unreached(chain)
	}
	if t.Name == "nat" {
		c.marks(t, chainMarkMasq, DefaultMark)
		c.marks(t, chainMarkDrop, dropMark)
		c.masquerade(t)
	}
}

// ipvs names the mode of kube-proxy that has its Services elsewhere.
func (c *completer) ipvs(t *Table) {
	for _, chain := range t.Chains {
		for i := range chain.Rules {
			for _, m := range chain.Rules[i].Matches {
				if o, ok := m.(Other); ok && strings.HasPrefix(chain.Name, "KUBE-") && strings.HasPrefix(o.Text, "--match-set KUBE-") {
					c.warn(chain.Rules[i].Line, "these are rules of kube-proxy in IPVS mode, which has its Services in IPVS and in sets: look at \"ipvsadm -ln\" and \"ipset list\"")
					return
				}
			}
		}
	}
}

// dropMark is kube-proxy's mark for packets to drop, until 1.27.
const dropMark = 1 << 15

// lostPart is the option without which kube-proxy never writes such a rule, empty if
// it has all of them.
func lostPart(chain string, r *Rule) string {
	switch chain {
	case chainServices, chainNodePorts, chainExternalServices, chainProxyFirewall:
		return lostAddress(chain, r)
	case chainFirewall, chainForward:
		if j := r.Jump(); (j == Drop || j == Accept) && bare(r) {
			return "--mark or --ctstate"
		}
	}
	if strings.HasPrefix(chain, PrefixExternal) || strings.HasPrefix(chain, PrefixBalancer) {
		return lostClient(r)
	}
	return ""
}

// lostClient is what a rule for pods, or for this node, lacks, by its comment.
func lostClient(r *Rule) string {
	switch comment := r.Comment(); {
	case !bare(r):
	case strings.Contains(comment, " LOCAL traffic "), strings.HasSuffix(comment, "LOCAL traffic"):
		return "-m addrtype --src-type"
	case strings.HasPrefix(comment, "pod traffic for "), strings.HasPrefix(comment, "Redirect pods trying to reach external loadbalancer"):
		return "-s"
	}
	return ""
}

// lostAddress is what a rule of a chain that dispatches lacks.
func lostAddress(chain string, r *Rule) string {
	jump := r.Jump()
	if jump == chainNodePorts {
		if bare(r) {
			return "-d or -m addrtype"
		}
		return ""
	}
	_, reject := r.Target.(Reject)
	if !reject && jump != Drop && jump != Accept && jump != chainMarkMasq && jump != chainMarkDrop && serviceOf(r.Comment()) == "" && !IsServiceChain(jump) {
		return ""
	}
	if slices.ContainsFunc(r.Matches, func(m Match) bool { _, other := m.(Other); return other && !isBridge(m) }) {
		return "" // told as what it is
	}
	ported := slices.ContainsFunc(r.Matches, func(m Match) bool { p, ok := m.(Ports); return ok && p.Destination.Set })
	switch {
	case !ported && (r.Protocol.Name != "" || chain == chainNodePorts || IsServiceChain(jump) || serviceOf(r.Comment()) != ""):
		return "--dport"
	case ported && r.Destination.IsZero() && chain != chainNodePorts && !hasAddrType(r) && serviceOf(r.Comment()) != "":
		return "-d or -m addrtype"
	}
	return ""
}

// IsServiceChain reports whether a chain is one of a Service's, by its name.
func IsServiceChain(chain string) bool {
	for _, prefix := range []string{PrefixService, PrefixLocal, PrefixExternal, PrefixFirewall, PrefixEndpoint, PrefixBalancer} {
		if strings.HasPrefix(chain, prefix) {
			return true
		}
	}
	return false
}

// bare reports whether a rule is for every packet, or for all of a protocol.
func bare(r *Rule) bool {
	for _, m := range r.Matches {
		if _, comment := m.(Comment); !comment {
			if p, ok := m.(Ports); !ok || p.Destination.Set || p.Source.Set {
				return false
			}
		}
	}
	return r.Source.IsZero() && r.Destination.IsZero() && r.In.Name == "" && r.Out.Name == ""
}

// isBridge reports whether a match is that of releases until 1.17 on packets that do not
// come by a bridge's port.
func isBridge(m Match) bool {
	o, ok := m.(Other)
	return ok && o.Module == "physdev" && o.Text == "! --physdev-is-in"
}

func (c *completer) withoutBridge(r *Rule) []Match {
	if !slices.ContainsFunc(r.Matches, isBridge) {
		return r.Matches
	}
	c.warn(r.Line, "-m physdev ! --physdev-is-in is taken as true: no packet comes by a port of a bridge")
	return slices.DeleteFunc(slices.Clone(r.Matches), isBridge)
}

// unreached names the rules for endpoints that no connection gets to.
func (c *completer) unreached(chain *Chain) {
	taken := 0
	for i := range chain.Rules {
		r := &chain.Rules[i]
		if !strings.HasPrefix(r.Jump(), PrefixEndpoint) {
			continue
		}
		if taken > 0 {
			c.warn(r.Line, "no connection gets to %s: line %d takes all; one of them may have lost its -m statistic", r.Jump(), taken)
		} else if bare(r) {
			taken = r.Line
		}
	}
}

// marks puts a chain right that sets no mark.
func (c *completer) marks(t *Table, name string, bit uint32) {
	chain := t.Chain(name)
	if chain == nil || len(chain.Rules) == 0 {
		return
	}
	_, sets := chain.Rules[0].Target.(SetMark)
	if other, ok := chain.Rules[0].Target.(OtherTarget); sets || ok && other.Name != "MARK" || chain.Rules[0].Jump() != "" {
		return
	}
	c.warn(chain.Rules[0].Line, "the rule has lost its mark; chain %s is taken as kube-proxy has it", name)
	chain.Rules = []Rule{{Line: chain.Rules[0].Line, Target: SetMark{bit, bit}}}
}

// masquerade puts KUBE-POSTROUTING right where it masquerades, or spares, packets
// without regard to their mark.
func (c *completer) masquerade(t *Table) {
	chain := t.Chain(chainPostrouting)
	if chain == nil {
		return
	}
	guarded := false
	for i := range chain.Rules {
		r := &chain.Rules[i]
		_, masquerades := r.Target.(Masquerade)
		marked := slices.ContainsFunc(r.Matches, func(m Match) bool { _, ok := m.(Mark); return ok })
		guarded = guarded || marked && r.Jump() == Return
		if (masquerades && !guarded || r.Jump() == Return) && !marked && bare(r) {
			c.warn(r.Line, "the rule has lost its --mark, or one before it is not in the listing; chain %s is taken as kube-proxy has it: %s", chain.Name, r.Text(chain.Name))
			chain.Rules = postrouting(c.bit(t))
			return
		}
	}
}

// bit is the mark that KUBE-MARK-MASQ sets.
func (c *completer) bit(t *Table) uint32 {
	if chain := t.Chain(chainMarkMasq); chain != nil && len(chain.Rules) > 0 {
		if m, ok := chain.Rules[0].Target.(SetMark); ok && m.Value != 0 {
			return m.Value
		}
	}
	return DefaultMark
}

// postrouting is what kube-proxy has there.
func postrouting(bit uint32) []Rule {
	return []Rule{
		{Matches: []Match{Mark{Not: true, Value: bit, Mask: bit}}, Target: Jump{To: Return}},
		{Target: SetMark{bit, 0}},
		{Target: Masquerade{RandomFully: true}},
	}
}
