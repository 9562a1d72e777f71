package iptables

import (
	"slices"
	"strings"
)

// Lines are the chains and rules of a dump in an order that does not depend on that
// of tables and of Services, which is another one each time that kube-proxy writes
// them. The rules of one Service port keep theirs. Counters, policies and comment
// lines are left out.
func (d *Dump) Lines() []string {
	var all []string
	tables := slices.Clone(d.Tables)
	slices.SortStableFunc(tables, func(a, b Table) int { return strings.Compare(a.Name, b.Name) })
	for i := range tables {
		all = append(all, "*"+tables[i].Name)
		for _, c := range tables[i].Chains {
			all = append(all, ":"+c.Name)
			rules := slices.Clone(c.Rules)
			switch c.Name {
			case chainServices, chainNodePorts, chainExternalServices, chainProxyFirewall:
				slices.SortStableFunc(rules, func(a, b Rule) int { return strings.Compare(dispatched(&a), dispatched(&b)) })
			}
			for i := range rules {
				rules[i].Counters = nil
				all = append(all, rules[i].Text(c.Name))
			}
		}
	}
	return all
}

// dispatched is the Service port that a rule is for, with its protocol; the last
// rule of KUBE-SERVICES, which is for none, stays the last.
func dispatched(r *Rule) string {
	if name := serviceOf(r.Comment()); name != "" {
		return name + " " + r.Protocol.Name
	}
	return "~"
}
