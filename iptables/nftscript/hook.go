package nftscript

import (
	"fmt"
	"slices"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// maxJumps is how many chains the kernel follows from one to the next.
const maxJumps = 16

// called finds the hooks that lead to each chain, and leaves out the jumps that the
// kernel refuses: those that close a circle, or that go too deep.
func (t *translator) called(tab *table) {
	tab.called, tab.refused = map[string]map[string]bool{}, map[*iptables.Rule]string{}
	depth := map[string]int{}
	var visit func(chain, hook string, path []string)
	visit = func(chain, hook string, path []string) {
		if tab.called[chain] == nil {
			tab.called[chain] = map[string]bool{}
		}
		// Again only for another hook, or by a longer way than before.
		if tab.called[chain][hook] && depth[chain] >= len(path) {
			return
		}
		tab.called[chain][hook] = true
		depth[chain] = max(depth[chain], len(path))
		path = append(path, chain)
		for i := range tab.chains[chain].Rules {
			r := &tab.chains[chain].Rules[i]
			j, ok := r.Target.(iptables.Jump)
			if !ok || tab.chains[j.To] == nil {
				continue
			}
			switch {
			case slices.Contains(path, j.To):
				tab.refused[r] = "the chains lead to each other in a circle"
			case len(path) >= maxJumps:
				tab.refused[r] = fmt.Sprintf("more than %d chains lead to each other", maxJumps)
			default:
				visit(j.To, hook, path)
			}
		}
	}
	for _, c := range tab.order {
		if _, builtIn := hooks[tab.name+" "+c.Name]; builtIn {
			visit(c.Name, c.Name, nil)
		}
	}
	for _, c := range tab.order {
		if tab.called[c.Name] == nil {
			visit(c.Name, "", nil)
		}
	}
}

// allowed are the tables and hooks in which the kernel takes a target.
var allowed = map[string]struct{ tables, hooks []string }{
	"DNAT":       {[]string{"nat"}, []string{"PREROUTING", "OUTPUT"}},
	"MASQUERADE": {[]string{"nat"}, []string{"POSTROUTING"}},
	"REJECT":     {[]string{"filter"}, []string{"INPUT", "FORWARD", "OUTPUT"}},
}

// misplaced is why the kernel refuses a target in a chain, empty if it does not.
func (tab *table) misplaced(chain string, target iptables.Target) string {
	name := ""
	switch target.(type) {
	case iptables.DNAT:
		name = "DNAT"
	case iptables.Masquerade:
		name = "MASQUERADE"
	case iptables.Reject:
		name = "REJECT"
	default:
		return ""
	}
	if !slices.Contains(allowed[name].tables, tab.name) {
		return fmt.Sprintf("-j %s has no place in table %s", name, tab.name)
	}
	for hook := range tab.called[chain] {
		if hook != "" && !slices.Contains(allowed[name].hooks, hook) {
			return fmt.Sprintf("-j %s has no place behind %s", name, hook)
		}
	}
	return ""
}
