package iptables

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// findPods finds what tells pods: what rules that masquerade leave out, and what
// the policy Local treats apart.
func (in *interpreter) findPods() {
	if in.nat == nil {
		return
	}
	for _, c := range in.nat.Chains {
		if !strings.HasPrefix(c.Name, "KUBE-") || strings.HasPrefix(c.Name, PrefixEndpoint) || strings.HasPrefix(c.Name, PrefixFirewall) {
			continue
		}
		for i := range c.Rules {
			r := &c.Rules[i]
			masquerade := r.Jump() == chainMarkMasq
			outside := strings.HasPrefix(c.Name, PrefixExternal) || strings.HasPrefix(c.Name, PrefixBalancer)
			pods := outside && strings.HasPrefix(r.Jump(), PrefixService)
			if !r.Source.IsZero() && (masquerade && r.Source.Not || pods && !r.Source.Not) {
				if p := r.Source.Prefix.Masked(); !slices.Contains(in.PodCIDRs, p) {
					in.PodCIDRs = append(in.PodCIDRs, p)
				}
			}
			if r.In.Name != "" && (masquerade && r.In.Not || pods && !r.In.Not) && !slices.Contains(in.PodInterfaces, r.In.Name) {
				in.PodInterfaces = append(in.PodInterfaces, r.In.Name)
			}
		}
	}
	if n := len(in.PodCIDRs) + len(in.PodInterfaces); n > 1 {
		in.warn(0, "rules tell pods in %d ways (%v %v); each is taken for all pods", n, in.PodCIDRs, in.PodInterfaces)
	}
}

// checkMarks looks at what KUBE-MARK-MASQ and KUBE-POSTROUTING do. Everything else
// takes them at their names.
func (in *interpreter) checkMarks() {
	in.mark = DefaultMark
	c := in.nat.Chain(chainMarkMasq)
	if c == nil || len(c.Rules) == 0 {
		if in.nat.Chain(chainServices) != nil {
			in.warn(0, "chain %s is not in the dump; it is taken to masquerade, as its name says", chainMarkMasq)
		}
		return
	}
	if m, ok := c.Rules[0].Target.(SetMark); ok && m.Value != 0 && len(c.Rules) == 1 && len(c.Rules[0].Matches) == 0 {
		in.mark = m.Value
	} else {
		in.warn(c.Rules[0].Line, "chain %s does not just set a mark; it is taken to masquerade, as its name says", chainMarkMasq)
	}
	post := in.nat.Chain(chainPostrouting)
	if post == nil {
		in.warn(0, "chain %s is not in the dump; marked connections are taken to be masqueraded", chainPostrouting)
		return
	}
	masquerades := slices.ContainsFunc(post.Rules, func(r Rule) bool { _, ok := r.Target.(Masquerade); return ok })
	marked := slices.ContainsFunc(post.Rules, func(r Rule) bool {
		return slices.ContainsFunc(r.Matches, func(m Match) bool { k, ok := m.(Mark); return ok && k.Value == in.mark })
	})
	if !masquerades || !marked {
		in.warn(post.Line, "chain %s does not masquerade connections with the mark %#x, which %s sets", chainPostrouting, in.mark, chainMarkMasq)
	}
}

// checkHooks looks for the way to kube-proxy's rules, and for rules of others that
// come first.
func (in *interpreter) checkHooks() {
	for _, name := range []string{"PREROUTING", "OUTPUT"} {
		c := in.nat.Chain(name)
		if c == nil || c.Policy == "" || c.Policy == "-" {
			continue // a part of a dump
		}
		found := false
		for i := range c.Rules {
			r := &c.Rules[i]
			switch to := r.Target.(type) {
			case Jump:
				found = found || to.To == chainServices
				if to.To == Accept && !found {
					in.warn(r.Line, "this rule of %s accepts connections before %s sees them", name, chainServices)
				}
			case DNAT, OtherTarget:
				if !found {
					in.warn(r.Line, "this rule of %s may take connections before %s sees them: %s", name, chainServices, r.Text(name))
				}
			}
		}
		if !found && in.nat.Chain(chainServices) != nil {
			in.warn(c.Line, "%s does not lead to %s: connections that come that way do not reach the Services", name, chainServices)
		}
	}
}

// checkNames compares the names of chains with those that kube-proxy gives: a rule
// that stands in another's chain does not have its name.
func (in *interpreter) checkNames() {
	if in.nat == nil {
		return
	}
	for _, c := range in.nat.Chains {
		if !strings.HasPrefix(c.Name, PrefixService) && !strings.HasPrefix(c.Name, PrefixLocal) && c.Name != chainServices {
			continue
		}
		for i := range c.Rules {
			r := &c.Rules[i]
			if strings.HasPrefix(r.Jump(), PrefixEndpoint) {
				in.checkEndpoint(c, r)
			}
		}
	}
}

// checkEndpoint compares what a rule says of an endpoint's chain with what is in it.
func (in *interpreter) checkEndpoint(c *Chain, r *Rule) {
	chain := in.nat.Chain(r.Jump())
	if chain == nil {
		return
	}
	for i := range chain.Rules {
		t, ok := chain.Rules[i].Target.(DNAT)
		if !ok {
			continue
		}
		to := t.One()
		if _, said, ok := strings.Cut(r.Comment(), " -> "); ok && said != to.String() {
			in.warn(chain.Rules[i].Line, "chain %s leads to %s, but line %d says it is %s", chain.Name, to, r.Line, said)
		}
		protocol, ok := protocolOf(chain.Rules[i].Protocol)
		full := in.services()[c.Name]
		if !ok || full == "" || !to.IsValid() {
			continue
		}
		if want := EndpointChain(full, protocol, to); want != chain.Name && EndpointChain(full+":", protocol, to) != chain.Name {
			in.warn(chain.Rules[i].Line, "chain %s leads to %s, whose chain for %s would be %s", chain.Name, to, full, want)
		}
	}
}

// services are the Service ports of chains, by the comments of rules that lead
// there.
func (in *interpreter) services() map[string]string {
	if in.ofChain != nil {
		return in.ofChain
	}
	in.ofChain = map[string]string{}
	for _, c := range in.nat.Chains {
		for i := range c.Rules {
			r := &c.Rules[i]
			if to := r.Jump(); strings.HasPrefix(to, PrefixService) || strings.HasPrefix(to, PrefixLocal) {
				if name := serviceOf(r.Comment()); name != "" && in.ofChain[to] == "" {
					in.ofChain[to] = name
				}
			}
		}
	}
	return in.ofChain
}

// checkNotes tells of what people wrote behind rules: the share of an endpoint is
// not what its rule's probability seems to say.
func (in *interpreter) checkNotes() {
	if in.nat == nil {
		return
	}
	for _, c := range in.nat.Chains {
		if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return wordy(r.Note) }) {
			continue
		}
		var cascade []Probability
		var rules []*Rule
		for i := range c.Rules {
			r := &c.Rules[i]
			if !strings.HasPrefix(r.Jump(), PrefixEndpoint) || slices.ContainsFunc(r.Matches, func(m Match) bool { _, ok := m.(Recent); return ok }) {
				continue
			}
			p := Always
			for _, m := range r.Matches {
				if s, ok := m.(Statistic); ok {
					p = s.Probability
				}
			}
			cascade, rules = append(cascade, p), append(rules, r)
		}
		shares, _ := Shares(cascade)
		for i, r := range rules {
			if wordy(r.Note) {
				in.warn(r.Line, "the note %q is no part of the rule: of all new connections, %s gets %s", r.Note, r.Jump(), shareText(shares, i))
			}
		}
	}
}

// shareText is a share as people say it.
func shareText(shares []float64, i int) string {
	n := len(shares)
	for _, s := range shares {
		if s < 1/float64(n)-1e-6 || s > 1/float64(n)+1e-6 {
			return fmt.Sprintf("%.4g %%", 100*shares[i])
		}
	}
	return fmt.Sprintf("1/%d, as each of the %d endpoints does", n, n)
}

// wordy says that a note is more than a number.
func wordy(note string) bool {
	return strings.ContainsFunc(note, unicode.IsLetter)
}

// checkOthers tells which chains are not kube-proxy's, and are left alone.
func (in *interpreter) checkOthers(d *Dump) {
	for i := range d.Tables {
		t := &d.Tables[i]
		var names []string
		rules := 0
		for _, c := range t.Chains {
			if strings.HasPrefix(c.Name, "KUBE-") || isHook(c.Name) || c.Policy != "" && c.Policy != "-" || len(c.Rules) == 0 {
				continue
			}
			rules += len(c.Rules)
			if len(names) < 5 {
				names = append(names, c.Name)
			} else if len(names) == 5 {
				names = append(names, "...")
			}
		}
		if rules > 0 {
			in.warn(t.Line, "%d rules in chains of others are not looked at: %s", rules, strings.Join(names, ", "))
		}
	}
}

// findNodePorts finds at which addresses NodePorts are reached.
func (in *interpreter) findNodePorts() {
	c := in.nat.Chain(chainServices)
	if c == nil {
		return
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		switch {
		case r.Jump() != chainNodePorts:
		case hasAddrType(r):
			in.AllNodePortAddresses = true
		case !r.Destination.IsZero() && !r.Destination.Not && r.Destination.Prefix.IsSingleIP():
			in.NodePortAddresses = append(in.NodePortAddresses, r.Destination.Prefix.Addr())
		default:
			in.warn(r.Line, "at which addresses NodePorts are reached is not understood: %s", r.Text(chainServices))
		}
	}
}
