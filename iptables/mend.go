package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Mend gives the rules of a text as kube-proxy wrote them. An older iptables leaves
// conditions out of what a newer one has made, and a listing of one Service is without the
// rules that do not name it: kube-proxy writes some rules never, and others always. Each
// rule that is left out, changed or supplied is in the Warnings. It is not for rules that
// were read from a kernel, which has what it has.
func Mend(d *Dump) *Dump {
	m := &mender{Dump: &Dump{Tables: slices.Clone(d.Tables), Trailing: d.Trailing, Warnings: slices.Clone(d.Warnings), Listing: d.Listing}}
	for i := range m.Tables {
		t := &m.Tables[i]
		if m.Listing && t.Name == "" {
			once, warnings := Once(t)
			*t, m.Warnings = *once, append(m.Warnings, warnings...)
		}
		m.table(t)
	}
	return m.Dump
}

type mender struct{ *Dump }

func (m *mender) warn(line int, format string, args ...any) {
	m.Warnings = append(m.Warnings, Warning{line, fmt.Sprintf(format, args...)})
}

// table mends a table in place: its chains are copies where they change.
func (m *mender) table(t *Table) {
	said := endpointsSaid(t)
	chains := t.Chains
	t.Chains, t.index = nil, map[string]*Chain{}
	for _, c := range chains {
		mended := m.chain(c, said)
		t.Chains = append(t.Chains, mended)
		t.index[c.Name] = mended
	}
	if m.Listing && t.Name == "" {
		m.supply(t)
	}
	m.supplyNodePorts(t, chains)
}

// endpointsSaid are the endpoints of chains, by the comments of rules that lead there.
func endpointsSaid(t *Table) map[string]netip.AddrPort {
	said := map[string]netip.AddrPort{}
	for _, c := range t.Chains {
		for i := range c.Rules {
			r := &c.Rules[i]
			if !strings.HasPrefix(r.Jump(), PrefixEndpoint) {
				continue
			}
			if _, text, ok := strings.Cut(r.Comment(), " -> "); ok {
				if at, err := netip.ParseAddrPort(text); err == nil {
					said[r.Jump()] = at
				}
			}
		}
	}
	return said
}

// chain is a chain without the rules that have lost a condition, and with what can be
// told of the rest.
func (m *mender) chain(c *Chain, said map[string]netip.AddrPort) *Chain {
	if !strings.HasPrefix(c.Name, "KUBE-") {
		return c
	}
	mended := *c
	mended.Rules = nil
	masquerades := slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Jump() == Return && !r.unconditional() })
	for i := range c.Rules {
		r := c.Rules[i]
		if lost := lacks(c.Name, &r, masquerades); lost != "" {
			m.warn(r.Line, "this rule of %s has lost its %s, as when an older iptables lists what a newer one made; kube-proxy writes none like it, and it is left out: %s", c.Name, lost, r.Text(c.Name))
			continue
		}
		if strings.HasPrefix(c.Name, PrefixEndpoint) {
			m.endpoint(c, &r, said)
		}
		mended.Rules = append(mended.Rules, r)
	}
	if strings.HasPrefix(c.Name, PrefixService) || strings.HasPrefix(c.Name, PrefixLocal) || strings.HasPrefix(c.Name, PrefixBalancer) {
		m.cascade(&mended)
	}
	return &mended
}

// dispatches are the chains whose rules are each for one frontend.
var dispatches = []string{chainServices, chainNodePorts, chainExternalServices, chainProxyFirewall}

// lacks is the condition that a rule lacks, if it is one that kube-proxy does not write.
func lacks(chain string, r *Rule, masquerades bool) string {
	switch {
	case slices.Contains(dispatches, chain):
		return lacksInDispatch(r)
	case chain == chainPostrouting && r.unconditional() && (r.Jump() == Return || isMasquerade(r) && !masquerades):
		return "--mark"
	case (chain == "KUBE-FIREWALL" || chain == "KUBE-FORWARD") && r.unconditional() && (r.Jump() == Drop || r.Jump() == Accept):
		return "conditions"
	case strings.HasPrefix(chain, PrefixExternal) || strings.HasPrefix(chain, PrefixBalancer):
		switch comment := r.Comment(); {
		case !r.unconditional():
		case strings.Contains(comment, " LOCAL traffic "), strings.HasSuffix(comment, "LOCAL traffic"):
			return "--src-type"
		case strings.HasPrefix(comment, "pod traffic for "), strings.HasPrefix(comment, "Redirect pods trying to reach external loadbalancer"):
			return "-s"
		}
	}
	return ""
}

func lacksInDispatch(r *Rule) string {
	_, known := protocolOf(r.Protocol)
	jump := r.Jump()
	leads := jump == Drop || isReject(r)
	for _, prefix := range []string{PrefixService, PrefixLocal, PrefixExternal, PrefixFirewall, PrefixBalancer, PrefixEndpoint} {
		leads = leads || strings.HasPrefix(jump, prefix)
	}
	switch {
	case jump == chainNodePorts && r.unconditional():
		return "--dst-type"
	case !r.hasPort() && (known && (leads || jump == chainMarkMasq || jump == chainMarkDrop) || leads && !r.Destination.IsZero()):
		return "--dport"
	case !known && leads && r.hasPort():
		return "-p"
	}
	return ""
}

func isReject(r *Rule) bool { _, is := r.Target.(Reject); return is }

func isMasquerade(r *Rule) bool { _, is := r.Target.(Masquerade); return is }

func (r *Rule) hasPort() bool {
	return slices.ContainsFunc(r.Matches, func(m Match) bool {
		p, is := m.(Ports)
		return is && p.Destination.Set || isOther(m, "multiport")
	})
}

func isOther(m Match, module string) bool {
	o, is := m.(Other)
	return is && o.Module == module
}

// unconditional reports whether a rule is for every packet that gets to it.
func (r *Rule) unconditional() bool {
	return r.Source.IsZero() && r.Destination.IsZero() && r.In.Name == "" && r.Out.Name == "" && r.Protocol.Name == "" &&
		!slices.ContainsFunc(r.Matches, func(m Match) bool { _, comment := m.(Comment); return !comment })
}

// endpoint mends a rule that does not say where to, where the rule before said so.
func (m *mender) endpoint(c *Chain, r *Rule, said map[string]netip.AddrPort) {
	to, known := said[c.Name]
	if !known {
		return
	}
	switch target := r.Target.(type) {
	case DNAT:
		// An older iptables may print it as ":0".
		if len(target.To) > 0 && target.To[0] != (Destinations{}) {
			return
		}
	case OtherTarget:
		if target.Name != "DNAT" {
			return
		}
	default:
		return
	}
	m.warn(r.Line, "%s in chain %s does not say where to; %s is taken, as the comment of the rule before says", strings.TrimSpace(string(r.Target.append(nil))), c.Name, to)
	r.Target = DNAT{To: []Destinations{{From: to.Addr(), To: to.Addr(), FromPort: to.Port(), ToPort: to.Port()}}}
}

// cascade gives rules that have lost their probability that which kube-proxy writes. Of
// two rules for one endpoint, the first is for clients that are known.
func (m *mender) cascade(c *Chain) {
	last := map[string]int{}
	for i := range c.Rules {
		if jump := c.Rules[i].Jump(); strings.HasPrefix(jump, PrefixEndpoint) {
			last[jump] = i
		}
	}
	var rules []Rule
	left := len(last)
	for i, r := range c.Rules {
		jump := r.Jump()
		at, leads := last[jump]
		switch {
		case leads && at != i && r.unconditional():
			m.warn(r.Line, "this rule of %s has lost its -m recent: kube-proxy leads to %s again in line %d; it is left out", c.Name, jump, c.Rules[at].Line)
			continue
		case leads && at == i:
			if left > 1 && r.unconditional() {
				m.warn(r.Line, "this rule of %s has lost its --probability, as others follow it; it is 1/%d, as kube-proxy writes it", c.Name, left)
				r.Matches = append(slices.Clone(r.Matches), Statistic{Probability: OneIn(left)})
			}
			left--
		}
		rules = append(rules, r)
	}
	c.Rules = rules
}
