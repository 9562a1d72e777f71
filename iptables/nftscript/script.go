package nftscript

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft/layout"
)

// Write writes the script, which replaces the table of that family in one
// transaction, and gives the dump's warnings, and what the script does not carry
// over.
func Write(w io.Writer, d *iptables.Dump) ([]iptables.Warning, error) {
	if _, err := d.Family(); err != nil {
		return d.Warnings, err
	}
	t := newTranslator(d)
	if len(t.tables) == 0 {
		return t.warnings, errors.New("there is no chain of kube-proxy's, such as KUBE-SERVICES, with a rule that leads there: these are not the rules of kube-proxy in iptables mode")
	}
	for i := range t.tables {
		t.table(&t.tables[i])
	}
	text := t.text()
	slices.SortStableFunc(t.warnings, func(a, b iptables.Warning) int { return cmp.Compare(a.Line, b.Line) })
	_, err := io.WriteString(w, text)
	return t.warnings, err
}

// translator turns the chains of one dump into those of one nftables table.
type translator struct {
	is6      bool
	tables   []table
	warnings []iptables.Warning
	// sets are those of clients, by name, with the seconds that they are kept.
	sets map[string]uint32
	maps []verdictMap
	// mapsOf counts the maps of each chain.
	mapsOf map[string]int
	// names are those of chains in the script, by table and chain.
	names map[[2]string]string
	out   []chain
}

// table is a table of iptables with what of it is kube-proxy's.
type table struct {
	name   string
	chains map[string]*iptables.Chain
	order  []*iptables.Chain
	reach  reach
	// called are the hooks that lead to each chain; refused are jumps that no kernel takes.
	called  map[string]map[string]bool
	refused map[*iptables.Rule]string
	// others says that built-in chains have rules of others, too.
	others bool
}

// chain is a chain of the script.
type chain struct {
	name, header string
	rules        []string
}

func (t *translator) warn(line int, format string, args ...any) {
	t.warnings = append(t.warnings, iptables.Warning{Line: line, Text: fmt.Sprintf(format, args...)})
}

// family is nft's word for the addresses of the dump.
func (t *translator) family() string {
	if t.is6 {
		return "ip6"
	}
	return "ip"
}

// addressType is nft's word for the type of an address of the dump.
func (t *translator) addressType() string {
	if t.is6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

func (t *translator) text() string {
	var b strings.Builder
	id := t.family() + " " + layout.TableName
	fmt.Fprintf(&b, "add table %s\ndelete table %s\n\ntable %s {\n", id, id, id)
	b.WriteString("\tcomment \"Service traffic, translated from iptables by kube-verdict\"\n")
	for _, m := range t.maps {
		fmt.Fprintf(&b, "\tmap %s {\n\t\ttype %s . inet_proto . inet_service : verdict\n\t\telements = { %s }\n\t}\n\n",
			m.name, t.addressType(), strings.Join(m.elements, ",\n\t\t\t     "))
	}
	names := make([]string, 0, len(t.sets))
	for name := range t.sets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "\tset %s {\n\t\ttypeof %s saddr\n\t\tsize 65535\n\t\tflags dynamic,timeout\n\t}\n\n", name, t.family())
	}
	for i, c := range t.out {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.header != "" {
			fmt.Fprintf(&b, "\t\t%s\n", c.header)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// table translates one table.
func (t *translator) table(tab *table) {
	for _, c := range tab.order {
		out := chain{name: t.name(tab, c.Name)}
		if hook, ok := hooks[tab.name+" "+c.Name]; ok {
			out.header = fmt.Sprintf("%s policy %s;", hook, t.policy(tab, c))
		}
		out.rules = t.rules(tab, c)
		t.out = append(t.out, out)
	}
}

// hooks are where iptables calls its chains, and its priorities.
var hooks = map[string]string{
	"raw PREROUTING":     "type filter hook prerouting priority -300;",
	"raw OUTPUT":         "type filter hook output priority -300;",
	"mangle PREROUTING":  "type filter hook prerouting priority -150;",
	"mangle INPUT":       "type filter hook input priority -150;",
	"mangle FORWARD":     "type filter hook forward priority -150;",
	"mangle OUTPUT":      "type route hook output priority -150;",
	"mangle POSTROUTING": "type filter hook postrouting priority -150;",
	"nat PREROUTING":     "type nat hook prerouting priority -100;",
	"nat INPUT":          "type nat hook input priority 100;",
	"nat OUTPUT":         "type nat hook output priority -100;",
	"nat POSTROUTING":    "type nat hook postrouting priority 100;",
	"filter INPUT":       "type filter hook input priority 0;",
	"filter FORWARD":     "type filter hook forward priority 0;",
	"filter OUTPUT":      "type filter hook output priority 0;",
}

// policy is that of a built-in chain, unless it is there for rules that stay in
// iptables.
func (t *translator) policy(tab *table, c *iptables.Chain) string {
	if c.Policy != iptables.Drop {
		return "accept"
	}
	for i := range c.Rules {
		if !isOurs(&c.Rules[i]) {
			t.warn(c.Line, "the policy DROP of %s in %s stays in iptables, as rules of others do that it goes with (line %d)", c.Name, tab.name, c.Rules[i].Line)
			return "accept"
		}
	}
	return "drop"
}

// name is a chain's name in the script.
func (t *translator) name(tab *table, chain string) string {
	return t.names[[2]string{tab.name, chain}]
}

// nameChains gives the chains their names. Those of nat keep theirs; where another
// table has a chain of the same name, that one has the table's in front, as the
// built-in ones have.
func (t *translator) nameChains() {
	taken := map[string]bool{}
	for _, nat := range []bool{true, false} {
		for i := range t.tables {
			tab := &t.tables[i]
			if (tab.name == "nat") != nat {
				continue
			}
			for _, c := range tab.order {
				name := c.Name
				if _, builtIn := hooks[tab.name+" "+c.Name]; builtIn || taken[name] {
					name = tab.name + "-" + name
				}
				taken[name] = true
				t.names[[2]string{tab.name, c.Name}] = name
			}
		}
	}
}
