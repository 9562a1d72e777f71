package nftscript

import (
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// fixed are the chains that kube-proxy always makes, and the kubelet for it.
var fixed = map[string]bool{
	"KUBE-SERVICES": true, "KUBE-EXTERNAL-SERVICES": true, "KUBE-NODEPORTS": true,
	"KUBE-POSTROUTING": true, "KUBE-MARK-MASQ": true, "KUBE-MARK-DROP": true,
	"KUBE-FORWARD": true, "KUBE-FIREWALL": true, "KUBE-PROXY-FIREWALL": true,
}

// isOurChain reports whether a chain is one of those, or of a Service.
func isOurChain(name string) bool {
	return fixed[name] || isWord(name) && iptables.IsServiceChain(name)
}

// isWord says that nft takes a text for one name or number, wherever it stands: a
// dump is not trusted to have no more in it.
func isWord(text string) bool {
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", c) {
			return false
		}
	}
	return text != ""
}

// isOurs says that a rule of a built-in chain leads to one of those.
func isOurs(r *iptables.Rule) bool {
	j, ok := r.Target.(iptables.Jump)
	return ok && isOurChain(j.To)
}

// newTranslator picks what is kube-proxy's out of a dump.
func newTranslator(d *iptables.Dump) *translator {
	family, _ := d.Family()
	d = iptables.Complete(d)
	t := &translator{is6: family == 6, sets: map[string]uint32{}, mapsOf: map[string]int{}, names: map[[2]string]string{}}
	t.warnings = append(t.warnings, d.Warnings...)
	others := 0
	for i := range d.Tables {
		from := &d.Tables[i]
		tab := table{name: from.Name, chains: map[string]*iptables.Chain{}}
		for _, c := range from.Chains {
			_, builtIn := hooks[tab.name+" "+c.Name]
			switch {
			case builtIn:
				own := *c
				own.Rules = nil
				for j := range c.Rules {
					if isOurs(&c.Rules[j]) {
						own.Rules = append(own.Rules, c.Rules[j])
					} else {
						others++
					}
				}
				if len(own.Rules) > 0 {
					tab.others = tab.others || len(own.Rules) < len(c.Rules)
					own.Rules = c.Rules // those of others are passed over, but tell the policy
					tab.put(&own)
				}
			case isOurChain(c.Name):
				tab.put(c)
			default:
				others += len(c.Rules)
			}
		}
		if len(tab.order) > 0 {
			t.tables = append(t.tables, tab)
		}
	}
	if others > 0 {
		t.warn(0, "rules of others, which stay in iptables: %d", others)
	}
	for i := range t.tables {
		t.complete(&t.tables[i])
		t.called(&t.tables[i])
		t.tables[i].reach = reached(&t.tables[i])
	}
	t.nameChains()
	t.clients()
	return t
}

func (tab *table) put(c *iptables.Chain) {
	tab.chains[c.Name] = c
	tab.order = append(tab.order, c)
}

// complete adds the chains that rules lead to and that are not there.
func (t *translator) complete(tab *table) {
	for _, c := range tab.order {
		for i := range c.Rules {
			j, ok := c.Rules[i].Target.(iptables.Jump)
			if !ok || tab.chains[j.To] != nil || isVerdict(j.To) || !isOurChain(j.To) {
				continue
			}
			t.warn(c.Rules[i].Line, "there is no chain %s: it is left empty", j.To)
			tab.put(&iptables.Chain{Name: j.To})
		}
	}
}

func isVerdict(name string) bool {
	return name == iptables.Accept || name == iptables.Drop || name == iptables.Return
}

// clients finds how long each list of -m recent is asked back.
func (t *translator) clients() {
	for i := range t.tables {
		for _, c := range t.tables[i].order {
			for j := range c.Rules {
				for _, m := range c.Rules[j].Matches {
					r, ok := m.(iptables.Recent)
					if !ok || r.Action != "rcheck" || r.Seconds == 0 {
						continue
					}
					if before := t.sets[r.Name]; before != 0 && before != r.Seconds {
						t.warn(c.Rules[j].Line, "list %s is asked back %d seconds here and %d elsewhere: clients are kept for the longer time", r.Name, r.Seconds, before)
					}
					t.sets[r.Name] = max(t.sets[r.Name], r.Seconds)
				}
			}
		}
	}
}
