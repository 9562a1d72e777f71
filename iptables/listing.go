package iptables

import (
	"slices"
	"strings"
)

// listing adds what a listing of some Services' rules lacks of those that kube-proxy
// always has: they name no Service, so that a grep for one does not find them.
func (c *completer) listing() {
	nat := c.Table("nat")
	if nat == nil || !slices.ContainsFunc(nat.Chains, func(chain *Chain) bool { return strings.HasPrefix(chain.Name, "KUBE-") }) {
		return
	}
	c.external(nat)
	if nat.Chain(chainNodePorts) != nil {
		c.jump(nat, chainServices, chainNodePorts, AddrType{Destination: "LOCAL"})
	}
	if nat.Chain(chainServices) != nil {
		c.jump(nat, basePrerouting, chainServices)
		c.jump(nat, baseOutput, chainServices)
	}
	c.chain(nat, chainMarkMasq, Rule{Target: SetMark{DefaultMark, DefaultMark}})
	c.chain(nat, chainPostrouting, postrouting(c.bit(nat))...)
	c.jump(nat, basePostrouting, chainPostrouting)
	if leadsFrom(nat, chainMarkDrop) {
		c.chain(nat, chainMarkDrop, Rule{Target: SetMark{dropMark, dropMark}})
		filter := c.table("filter")
		c.chain(filter, chainFirewall, Rule{Matches: []Match{Mark{Value: dropMark, Mask: dropMark}}, Target: Jump{To: Drop}})
	}
	c.order(c.Table("nat"), basePrerouting, baseOutput, basePostrouting)
	c.filter()
}

// filter adds the hooks of the table filter.
func (c *completer) filter() {
	filter := c.Table("filter")
	if filter == nil {
		return
	}
	first := Conntrack{Module: "conntrack", States: New}
	for _, hook := range []struct {
		name, to string
		only     []Match
	}{
		{baseInput, chainProxyFirewall, []Match{first}}, {baseForward, chainProxyFirewall, []Match{first}}, {baseOutput, chainProxyFirewall, []Match{first}},
		{baseInput, chainNodePorts, nil},
		{baseInput, chainExternalServices, []Match{first}}, {baseForward, chainExternalServices, []Match{first}},
		{baseForward, chainServices, []Match{first}}, {baseOutput, chainServices, []Match{first}},
		{baseInput, chainFirewall, nil}, {baseOutput, chainFirewall, nil},
		{baseForward, chainForward, nil},
	} {
		if to := filter.Chain(hook.to); to != nil && len(to.Rules) > 0 {
			c.jump(filter, hook.name, hook.to, hook.only...)
		}
	}
	c.order(filter, baseInput, baseForward, baseOutput)
}

// isHook reports whether a chain is one that the kernel calls.
func isHook(name string) bool {
	return slices.Contains([]string{basePrerouting, baseInput, baseForward, baseOutput, basePostrouting}, name)
}

// jump adds a rule that leads from one chain to another, unless there is one.
func (c *completer) jump(t *Table, from, to string, matches ...Match) {
	if chain := t.Chain(from); chain != nil && slices.ContainsFunc(chain.Rules, func(r Rule) bool { return r.Jump() == to }) {
		return
	}
	chain := t.Add(from)
	chain.Rules = append(chain.Rules, Rule{Matches: matches, Target: Jump{To: to}})
	c.warn(0, "the listing is without the jump from %s to %s: it is as kube-proxy has it", from, to)
}

// chain adds a chain, unless there is one with rules.
func (c *completer) chain(t *Table, name string, rules ...Rule) {
	if chain := t.Chain(name); chain == nil || len(chain.Rules) == 0 {
		t.Add(name).Rules = rules
		c.warn(0, "the listing is without chain %s: it is as kube-proxy has it", name)
	}
}

// leadsFrom reports whether a rule leads to a chain.
func leadsFrom(t *Table, to string) bool {
	return slices.ContainsFunc(t.Chains, func(chain *Chain) bool {
		return slices.ContainsFunc(chain.Rules, func(r Rule) bool { return r.Jump() == to })
	})
}

// external adds the last rule of the chains for clients from outside, which has no
// comment: it leads to the endpoints on this node under the policy Local.
func (c *completer) external(t *Table) {
	for _, chain := range slices.Clone(t.Chains) {
		hash, ok := strings.CutPrefix(chain.Name, PrefixExternal)
		if !ok || len(chain.Rules) == 0 {
			continue
		}
		all, local := false, false
		for i := range chain.Rules {
			r := &chain.Rules[i]
			all = all || bare(r) && r.Jump() != chainMarkMasq
			local = local || !bare(r) && IsServiceChain(r.Jump())
		}
		if all {
			continue
		}
		to := PrefixService + hash
		if local {
			to = PrefixLocal + hash
		}
		if t.Chain(to) == nil {
			c.warn(chain.Rules[0].Line, "the listing is without the last rule of chain %s, and without chain %s: it has no endpoints for clients from outside", chain.Name, to)
			continue
		}
		chain.Rules = append(chain.Rules, Rule{Target: Jump{To: to}})
		c.warn(chain.Rules[0].Line, "the listing is without the last rule of chain %s, which has no comment: it is as kube-proxy has it, -j %s", chain.Name, to)
	}
}

// order puts hooks in the order in which packets meet them, before all other chains.
func (c *completer) order(t *Table, hooks ...string) {
	rank := func(chain *Chain) int {
		if i := slices.Index(hooks, chain.Name); i >= 0 {
			return i
		}
		return len(hooks)
	}
	slices.SortStableFunc(t.Chains, func(a, b *Chain) int { return rank(a) - rank(b) })
}
