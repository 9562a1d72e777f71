package nftscript

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// rules are the rules of a chain.
func (t *translator) rules(tab *table, c *iptables.Chain) []string {
	var out []string
	_, builtIn := hooks[tab.name+" "+c.Name]
	for i := 0; i < len(c.Rules); {
		r := &c.Rules[i]
		if builtIn && !isOurs(r) {
			i++
			continue
		}
		if n, m := t.frontends(tab, c, i); n > 0 {
			out = append(out, m)
			i += n
			continue
		}
		if n, cascade := tab.cascade(c.Name, c.Rules[i:]); n > 0 {
			var chains []string
			for j := range n {
				chains = append(chains, t.name(tab, c.Rules[i+j].Target.(iptables.Jump).To))
			}
			rule, remark := spread(chains, cascade)
			if remark != "" {
				out = append(out, remark)
			}
			out = append(out, rule+comment(serviceOf(r.Comment())))
			i += n
			continue
		}
		texts, why := t.rule(tab, c.Name, r)
		if why != "" {
			t.warn(r.Line, "%s: left out: %s", why, text(r))
			texts = []string{"# left out, " + why + ": " + text(r)}
		}
		out = append(out, texts...)
		i++
	}
	return out
}

// serviceOf is the Service port in a comment of kube-proxy's about one endpoint.
func serviceOf(comment string) string {
	name, _, _ := strings.Cut(comment, " -> ")
	return name
}

// text is a rule as iptables-save has it, without its chain.
func text(r *iptables.Rule) string { return strings.TrimPrefix(r.Text(""), "-A  ") }

// maxComment is the length of a comment that nft takes.
const maxComment = 127

func comment(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ReplaceAll(text, `"`, "'")
	if len(text) > maxComment {
		text = strings.ToValidUTF8(text[:maxComment-3], "") + "..."
	}
	return ` comment "` + text + `"`
}

// verdictMap is a map of frontends.
type verdictMap struct {
	name     string
	elements []string
}

// frontends puts rules that are for one address, protocol and port each, one after
// another, into a map: the number of the rules, and the rule that looks it up.
// Each packet is for one of them at most, so that their order is of no matter.
func (t *translator) frontends(tab *table, c *iptables.Chain, from int) (int, string) {
	m := verdictMap{name: t.name(tab, c.Name)}
	seen := map[string]bool{}
	for i := from; i < len(c.Rules); i++ {
		key, ok := frontend(&c.Rules[i])
		j, isJump := c.Rules[i].Target.(iptables.Jump)
		if !ok || !isJump || seen[key] || !isVerdict(j.To) && tab.chains[j.To] == nil || tab.refused[&c.Rules[i]] != "" {
			break
		}
		seen[key] = true
		m.elements = append(m.elements, key+comment(c.Rules[i].Comment())+" : "+t.verdict(tab, j))
	}
	if len(m.elements) < 2 {
		return 0, ""
	}
	if t.mapsOf[m.name]++; t.mapsOf[m.name] > 1 {
		m.name = fmt.Sprintf("%s-%d", m.name, t.mapsOf[m.name])
	}
	t.maps = append(t.maps, m)
	return len(m.elements), fmt.Sprintf("%s daddr . meta l4proto . th dport vmap @%s", t.family(), m.name)
}

// frontend is the address, protocol and port that a rule is for, if it is for one
// of each and nothing else.
func frontend(r *iptables.Rule) (string, bool) {
	of := protocol(r)
	if r.Destination.IsZero() || r.Destination.Not || r.Destination.Mask != "" || !r.Destination.Prefix.IsSingleIP() || of == "" {
		return "", false
	}
	port := uint16(0)
	rest := *r
	rest.Destination, rest.Matches = iptables.Address{}, nil
	for _, m := range r.Matches {
		if p, ok := m.(iptables.Ports); ok && port == 0 && !p.Source.Set && p.Destination.One() != 0 {
			port = p.Destination.One()
			continue
		}
		rest.Matches = append(rest.Matches, m)
	}
	return fmt.Sprintf("%s . %s . %d", r.Destination.Prefix.Addr(), of, port), port != 0 && plain(&rest, false)
}

// verdict is where a jump leads.
func (t *translator) verdict(tab *table, j iptables.Jump) string {
	switch {
	case isVerdict(j.To):
		return strings.ToLower(j.To)
	case j.Goto:
		return "goto " + t.name(tab, j.To)
	}
	return "jump " + t.name(tab, j.To)
}

// rule is one rule, mostly in one line, or why there is none.
func (t *translator) rule(tab *table, in string, r *iptables.Rule) (lines []string, why string) {
	var parts []string
	never := false
	for _, a := range []struct {
		iptables.Address
		name string
	}{{r.Source, "saddr"}, {r.Destination, "daddr"}} {
		if a.IsZero() {
			continue
		}
		if a.Prefix.Bits() == 0 && a.Mask == "" {
			never = never || a.Not
			continue
		}
		parts = append(parts, t.address(a.name, a.Address))
	}
	for _, i := range []struct {
		iptables.Interface
		name string
	}{{r.In, "iifname"}, {r.Out, "oifname"}} {
		if i.Name != "" && !isWord(strings.TrimSuffix(i.Name, "+")) && i.Name != "+" {
			return nil, fmt.Sprintf("interface %q has no translation", i.Name)
		}
		if i.Name == "+" {
			never = never || i.Not
		} else if i.Name != "" {
			parts = append(parts, fmt.Sprintf("%s %s%q", i.name, isNot(i.Not), wildcard(i.Name)))
		}
	}
	if never {
		return []string{"# for no packet: " + text(r)}, ""
	}
	of := protocol(r)
	if name := r.Protocol.Name; name != "" && !isProtocol(name) {
		return nil, fmt.Sprintf("protocol %q has no translation", name)
	}
	if name := r.Protocol.Name; name != "" && name != "all" && name != "0" && !toPort(r, of) {
		parts = append(parts, fmt.Sprintf("meta l4proto %s%s", isNot(r.Protocol.Not), name))
	}
	line := func(matches []string, end string) string {
		return strings.Join(append(append(append([]string(nil), parts...), matches...), end), " ")
	}
	either := [][]string{nil} // rules that differ in one match: any of them will do
	chance := false
	for _, m := range r.Matches {
		alternatives, why := t.match(r, m, of)
		if why != "" {
			return nil, why
		}
		_, random := m.(iptables.Statistic)
		chance = chance || random
		if set, ok := m.(iptables.Recent); ok && set.Action == "set" && len(alternatives[0]) > 0 {
			if chance {
				return nil, "-m recent --set behind a probability has no translation"
			}
			// By itself: nft does not go on in a rule that finds the set full.
			for _, before := range either {
				lines = append(lines, line(before, alternatives[0][0]))
			}
			continue
		}
		if len(alternatives) > 1 && !once(r.Target) {
			return nil, "a choice of conditions, and a target that may not be done twice"
		}
		var all [][]string
		for _, before := range either {
			for _, a := range alternatives {
				all = append(all, append(append([]string(nil), before...), a...))
			}
		}
		either = all
	}
	if why = tab.misplaced(in, r.Target); why == "" {
		why = tab.refused[r]
	}
	if why != "" {
		return nil, why
	}
	target, why := t.target(tab, r, of)
	if why != "" {
		return nil, why
	}
	for _, matches := range either {
		lines = append(lines, line(matches, target+comment(r.Comment())))
	}
	return lines, ""
}

// isProtocol reports whether nft knows a protocol by this name, or number.
func isProtocol(name string) bool {
	if _, err := strconv.ParseUint(name, 10, 8); err == nil {
		return true
	}
	return slices.Contains([]string{"all", "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "ipv6-icmp", "esp", "ah", "comp"}, name)
}

// toPort says that a match on ports implies the protocol.
func toPort(r *iptables.Rule, of string) bool {
	return of != "" && slices.ContainsFunc(r.Matches, func(m iptables.Match) bool {
		p, ok := m.(iptables.Ports)
		return ok && (p.Source.Set || p.Destination.Set)
	})
}

// once says that no packet gets to the rule after this one.
func once(target iptables.Target) bool {
	j, ok := target.(iptables.Jump)
	_, reject := target.(iptables.Reject)
	return ok && (isVerdict(j.To) || j.Goto) || reject
}

func isNot(not bool) string {
	if not {
		return "!= "
	}
	return ""
}

func wildcard(name string) string {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return prefix + "*"
	}
	return name
}

func (t *translator) address(name string, a iptables.Address) string {
	field := t.family() + " " + name
	switch {
	case a.Mask != "":
		op := "=="
		if a.Not {
			op = "!="
		}
		return fmt.Sprintf("%s & %s %s %s", field, a.Mask, op, and(a.Prefix.Addr(), a.Mask))
	case a.Prefix.IsSingleIP():
		return fmt.Sprintf("%s %s%s", field, isNot(a.Not), a.Prefix.Addr())
	}
	return fmt.Sprintf("%s %s%s", field, isNot(a.Not), a.Prefix.Masked())
}

// and is an address with only the bits of a mask.
func and(a netip.Addr, mask string) netip.Addr {
	b, m := a.AsSlice(), netip.MustParseAddr(mask).AsSlice()
	for i := range b {
		b[i] &= m[i]
	}
	masked, _ := netip.AddrFromSlice(b)
	return masked
}
