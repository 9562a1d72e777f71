package nftscript

import (
	"fmt"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// match is a match as alternatives, any of which will do, each of statements that
// have to hold together; or why there is none.
func (t *translator) match(r *iptables.Rule, m iptables.Match, of string) (alternatives [][]string, why string) {
	one := func(statements ...string) ([][]string, string) { return [][]string{statements}, "" }
	switch m := m.(type) {
	case iptables.Comment:
		return one()
	case iptables.Ports:
		if m.Source.From > m.Source.To || m.Destination.From > m.Destination.To {
			return nil, "a range of ports that ends before it begins has no translation"
		}
		return one(append(ports(of, "sport", m.Source), ports(of, "dport", m.Destination)...)...)
	case iptables.AddrType:
		return addrType(m)
	case iptables.Statistic:
		op := "<"
		if m.Not {
			op = ">="
		}
		return one(fmt.Sprintf("numgen random mod %d %s %d", uint32(iptables.Always), op, uint32(m.Probability)))
	case iptables.Recent:
		return t.recent(r.Line, m)
	case iptables.Conntrack:
		return conntrack(m)
	case iptables.Mark:
		return one(mark(m))
	case iptables.Other:
		if m.Has("nfacct") {
			t.warn(r.Line, "an object of nfacct becomes a counter of its own: %s", m.Text)
			return one("counter")
		}
		if m.Module == "" {
			return nil, fmt.Sprintf("option %q has no translation", m.Text)
		}
		return nil, fmt.Sprintf("-m %s has no translation", m.Module)
	}
	return nil, fmt.Sprintf("%T has no translation", m)
}

func ports(of, name string, p iptables.PortRange) []string {
	if !p.Set {
		return nil
	}
	value := fmt.Sprint(p.From)
	if p.To != p.From {
		value = fmt.Sprintf("%d-%d", p.From, p.To)
	}
	if of == "" {
		of = "th"
	}
	return []string{fmt.Sprintf("%s %s %s%s", of, name, isNot(p.Not), value)}
}

// fibTypes are nft's words for iptables' types of addresses.
var fibTypes = map[string]string{
	"UNSPEC": "unspec", "UNICAST": "unicast", "LOCAL": "local", "BROADCAST": "broadcast", "ANYCAST": "anycast",
	"MULTICAST": "multicast", "BLACKHOLE": "blackhole", "UNREACHABLE": "unreachable", "PROHIBIT": "prohibit",
}

func addrType(m iptables.AddrType) ([][]string, string) {
	var statements []string
	for _, side := range []struct {
		field, types string
		not          bool
	}{{"saddr", m.Source, m.SourceNot}, {"daddr", m.Destination, m.DestinationNot}} {
		if side.types == "" {
			continue
		}
		var types []string
		for name := range strings.SplitSeq(side.types, ",") {
			word := fibTypes[name]
			if word == "" {
				return nil, fmt.Sprintf("type of address %s has no translation", name)
			}
			types = append(types, word)
		}
		value := types[0]
		if len(types) > 1 {
			value = "{ " + strings.Join(types, ", ") + " }"
		}
		statements = append(statements, fmt.Sprintf("fib %s type %s%s", side.field, isNot(side.not), value))
	}
	return [][]string{statements}, ""
}

// recent is a set of clients with a time-out in place of a list.
func (t *translator) recent(line int, m iptables.Recent) ([][]string, string) {
	seconds := t.sets[m.Name]
	full := m.Mask == "" || m.Mask == "255.255.255.255" || m.Mask == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	switch {
	case !isWord(m.Name):
		return nil, fmt.Sprintf("nft has no set of the name %q", m.Name)
	case m.ByDestination, !full, m.HitCount > 0, m.TTL:
		return nil, "only lists of whole source addresses have a translation, without --hitcount and --rttl"
	case seconds == 0 && m.Action == "set" && !m.Not:
		t.warn(line, "list %s is not kept: no rule has --rcheck --seconds for it, which would say for how long", m.Name)
		return [][]string{nil}, ""
	case seconds == 0:
		return nil, fmt.Sprintf("list %s has no --rcheck --seconds, which would say for how long clients are kept", m.Name)
	case m.Action == "rcheck" && m.Seconds > 0:
		return [][]string{{fmt.Sprintf("%s saddr %s@%s", t.family(), isNot(m.Not), m.Name)}}, ""
	case m.Action == "set" && !m.Not:
		return [][]string{{fmt.Sprintf("update @%s { %s saddr timeout %ds }", m.Name, t.family(), seconds)}}, ""
	}
	return nil, fmt.Sprintf("--%s has no translation", m.Action)
}

// conntrack has states, and the two that are none but say what was translated.
func conntrack(m iptables.Conntrack) ([][]string, string) {
	var states, status []string
	for name := range strings.SplitSeq(m.States.String(), ",") {
		switch name {
		case "SNAT", "DNAT":
			status = append(status, strings.ToLower(name))
		default:
			states = append(states, strings.ToLower(name))
		}
	}
	var all [][]string
	if len(states) > 0 {
		value := states[0]
		if len(states) > 1 {
			value = "{ " + strings.Join(states, ", ") + " }"
		}
		all = append(all, []string{fmt.Sprintf("ct state %s%s", isNot(m.Not), value)})
	}
	if len(status) > 0 {
		op := "!="
		if m.Not {
			op = "=="
		}
		bits := strings.Join(status, "|")
		if len(status) > 1 {
			bits = "(" + bits + ")"
		}
		all = append(all, []string{fmt.Sprintf("ct status & %s %s 0", bits, op)})
	}
	if m.Not && len(all) == 2 { // neither
		all = [][]string{{all[0][0], all[1][0]}}
	}
	return all, ""
}

func mark(m iptables.Mark) string {
	op := "=="
	if m.Not {
		op = "!="
	}
	if m.Mask == 1<<32-1 {
		return fmt.Sprintf("meta mark %s 0x%08x", op, m.Value)
	}
	return fmt.Sprintf("meta mark & 0x%08x %s 0x%08x", m.Mask, op, m.Value)
}
