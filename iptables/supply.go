package iptables

import (
	"slices"
	"strings"
)

// supply adds what a listing of one Service lacks, because it does not have its name.
func (m *mender) supply(t *Table) {
	for _, c := range slices.Clone(t.Chains) {
		hash, external := strings.CutPrefix(c.Name, PrefixExternal)
		if !external {
			continue
		}
		local := t.Chain(PrefixLocal + hash)
		switch {
		case t.leadsTo(PrefixLocal+hash) || !c.policyLocal():
		case local != nil && len(local.Rules) > 0:
			m.warn(c.line(), "the listing lacks the rule that leads from %s to %s, as it has no comment: it is taken as kube-proxy writes it", c.Name, local.Name)
			c.Rules = append(c.Rules, Rule{Target: Jump{To: local.Name}})
		default:
			m.warn(c.line(), "the listing does not show what %s does with traffic from outside: whether this node has endpoints is not known, and none are taken", c.Name)
		}
	}
	if t.leadsTo(chainMarkDrop) && t.Chain(chainMarkDrop) == nil {
		m.warn(0, "the listing is without chain %s: it drops, as kube-proxy has it", chainMarkDrop)
		c := t.Add(chainMarkDrop)
		c.Policy = "-"
		c.Rules = []Rule{{Target: Jump{To: Drop}}}
	}
}

// policyLocal reports whether a KUBE-EXT chain is one of the external policy Local: all that
// it leads to KUBE-SVC is for pods and for the node.
func (c *Chain) policyLocal() bool {
	return len(c.Rules) > 0 && !slices.ContainsFunc(c.Rules, func(r Rule) bool {
		return strings.HasPrefix(r.Jump(), PrefixService) && r.unconditional()
	})
}

// supplyNodePorts adds the way to the NodePorts where a text lacks it, or where it has lost
// its condition.
func (m *mender) supplyNodePorts(t *Table, before []*Chain) {
	nodePorts := t.Chain(chainNodePorts)
	if nodePorts == nil || t.Name != "" && t.Name != "nat" || t.leadsTo(chainNodePorts) ||
		!slices.ContainsFunc(nodePorts.Rules, func(r Rule) bool { return r.hasPort() }) {
		return
	}
	had := slices.ContainsFunc(before, func(c *Chain) bool {
		return slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Jump() == chainNodePorts })
	})
	if !m.Listing && !had {
		return // a whole dump without it: NodePorts are not reached
	}
	m.warn(0, "the rule that leads from %s to %s is missing: NodePorts are taken to be at all addresses of the node, as kube-proxy has them by default", chainServices, chainNodePorts)
	c := t.Add(chainServices)
	c.Rules = append(slices.Clone(c.Rules), Rule{Matches: []Match{AddrType{Destination: "LOCAL"}}, Target: Jump{To: chainNodePorts}})
}

func (t *Table) leadsTo(chain string) bool {
	return slices.ContainsFunc(t.Chains, func(c *Chain) bool {
		return slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Jump() == chain })
	})
}

// line is where a chain begins in the text, or its first rule.
func (c *Chain) line() int {
	if c.Line == 0 && len(c.Rules) > 0 {
		return c.Rules[0].Line
	}
	return c.Line
}
