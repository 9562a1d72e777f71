package iptables

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ruleParser reads rules. It is used again and again, so that a line costs no
// more than what its rule keeps.
type ruleParser struct {
	line  string
	words []word
	at    int
	parts []part
	keep  interner
}

// part are the words of a module or a target, which may have others between them.
type part struct {
	module string
	target bool
	goes   bool // -g
	words  []word
}

// interner keeps each string once: those of a rule are parts of its line, and would
// keep all of it.
type interner map[string]string

func (in interner) string(s string) string {
	if s == "" {
		return ""
	}
	if kept, ok := in[s]; ok {
		return kept
	}
	s = strings.Clone(s)
	in[s] = s
	return s
}

var errNoRule = errors.New("not a rule")

// rule reads a line such as "-A CHAIN -j ACCEPT", and says of which chain it is.
func (p *ruleParser) rule(line string) (string, Rule, error) {
	p.line, p.words, p.at, p.parts = line, split(p.words[:0], line), 0, p.parts[:0]
	var r Rule
	if len(p.words) > 0 && p.words[0].text[0] == '[' {
		c, ok := parseCounters(p.words[0].text)
		if !ok {
			return "", r, errNoRule
		}
		r.Counters = &c
		p.at++
	}
	if o := p.next(); o != "-A" && o != "--append" {
		return "", r, errNoRule
	}
	chain := p.next()
	if !isName(chain) {
		return "", r, errors.New("-A names no chain")
	}
	for p.at < len(p.words) {
		if err := p.option(&r); err != nil {
			return "", r, err
		}
	}
	p.build(&r)
	return p.keep.string(chain), r, nil
}

// next is the next word, empty at the end.
func (p *ruleParser) next() string {
	if p.at >= len(p.words) {
		return ""
	}
	p.at++
	return p.words[p.at-1].text
}

// value is the next word if an option may have it as its value; "not" is the older
// spelling of negation, with the ! behind the option.
func (p *ruleParser) value(option string, not *bool) (string, error) {
	if p.at < len(p.words) && p.words[p.at].text == "!" && !p.words[p.at].quoted {
		*not = !*not
		p.at++
	}
	if p.at >= len(p.words) {
		return "", fmt.Errorf("%s has no value", option)
	}
	return p.next(), nil
}

// name is a value that needs no quotes.
func (p *ruleParser) name(option string, not *bool) (string, error) {
	name, err := p.value(option, not)
	if err == nil && !isPlain(name) {
		return "", fmt.Errorf("%s %q is no name", option, name)
	}
	return name, err
}

// option reads one option of the rule, or one word of a module or a target.
func (p *ruleParser) option(r *Rule) error {
	first := p.at
	w := p.words[p.at]
	p.at++
	if strings.HasPrefix(w.text, ">>") && !w.quoted {
		r.Note = p.keep.string(strings.TrimSpace(p.line[w.start:]))
		p.at = len(p.words)
		return nil
	}
	not := false
	if w.text == "!" && !w.quoted && p.at < len(p.words) {
		not = true
		w = p.words[p.at]
		p.at++
	}
	if w.quoted || len(w.text) < 2 || w.text[0] != '-' {
		p.add(first)
		return nil
	}
	switch w.text {
	case "-s", "--source", "--src":
		return p.address(&r.Source, w.text, not)
	case "-d", "--destination", "--dst":
		return p.address(&r.Destination, w.text, not)
	case "-i", "--in-interface":
		return p.named(&r.In.Name, &r.In.Not, w.text, not)
	case "-o", "--out-interface":
		return p.named(&r.Out.Name, &r.Out.Not, w.text, not)
	case "-p", "--protocol", "--proto":
		return p.named(&r.Protocol.Name, &r.Protocol.Not, w.text, not)
	case "-m", "--match":
		name, err := p.name(w.text, &not)
		p.parts = append(p.parts, part{module: name})
		return err
	case "-j", "--jump", "-g", "--goto":
		name, err := p.name(w.text, &not)
		p.parts = append(p.parts, part{module: name, target: true, goes: w.text == "-g" || w.text == "--goto"})
		return err
	case "-c", "--set-counters":
		return p.counters(r)
	case "--dport", "--destination-port", "--sport", "--source-port":
		p.ports(r, first)
		return nil
	}
	p.add(first)
	return nil
}

// add gives the words since first to the last part.
func (p *ruleParser) add(first int) {
	if len(p.parts) == 0 {
		p.parts = append(p.parts, part{})
	}
	last := &p.parts[len(p.parts)-1]
	last.words = append(last.words, p.words[first:p.at]...)
}

// ports gives an option of ports, with its value, to the module that has them,
// which is that of the protocol if no one was named.
func (p *ruleParser) ports(r *Rule, first int) {
	if p.at < len(p.words) && p.words[p.at].text == "!" {
		p.at++
	}
	p.at = min(p.at+1, len(p.words))
	to := -1
	for i := range p.parts {
		if !p.parts[i].target && isTransport(p.parts[i].module) {
			to = i
		}
	}
	switch n := len(p.parts); {
	case n > 0 && (p.parts[n-1].target || !isKnown(p.parts[n-1].module)):
		to = n - 1 // who knows whose it is
	case to < 0 && r.Protocol.Name != "":
		p.parts = append(p.parts, part{module: r.Protocol.Name})
		to = n
	case to < 0:
		p.add(first)
		return
	}
	p.parts[to].words = append(p.parts[to].words, p.words[first:p.at]...)
}

func isTransport(module string) bool { return module == "tcp" || module == "udp" || module == "sctp" }

// isKnown says that a module has no options of ports.
func isKnown(module string) bool {
	switch module {
	case "comment", "addrtype", "statistic", "recent", "conntrack", "state", "mark":
		return true
	}
	return isTransport(module)
}

func (p *ruleParser) named(to *string, is *bool, option string, not bool) error {
	name, err := p.name(option, &not)
	*to, *is = p.keep.string(name), not
	return err
}

func (p *ruleParser) address(to *Address, option string, not bool) error {
	text, err := p.value(option, &not)
	if err != nil {
		return err
	}
	a, ok := parseAddress(text)
	if !ok {
		return fmt.Errorf("%s %s is not an address", option, text)
	}
	a.Not = not
	*to = a
	return nil
}

func parseAddress(text string) (Address, bool) {
	host, mask, masked := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return Address{}, false
	}
	if !masked {
		return Address{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, true
	}
	if bits, err := strconv.ParseUint(mask, 10, 8); err == nil && int(bits) <= addr.BitLen() {
		return Address{Prefix: netip.PrefixFrom(addr, int(bits))}, true
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != addr.BitLen() {
		return Address{}, false
	}
	for bits := range addr.BitLen() + 1 {
		full := netip.PrefixFrom(ones(m), bits).Masked().Addr()
		if full == m {
			return Address{Prefix: netip.PrefixFrom(addr, bits)}, true
		}
	}
	return Address{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Mask: m.String()}, true
}

// ones is the address with all bits set, of the same family.
func ones(like netip.Addr) netip.Addr {
	b := like.AsSlice()
	for i := range b {
		b[i] = 0xff
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// counters reads "-c PACKETS BYTES", as iptables -S -v has it.
func (p *ruleParser) counters(r *Rule) error {
	packets, err1 := strconv.ParseUint(p.next(), 10, 64)
	bytes, err2 := strconv.ParseUint(p.next(), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("-c wants packets and bytes: %w", err)
	}
	r.Counters = &Counters{packets, bytes}
	return nil
}

// parseCounters reads "[PACKETS:BYTES]".
func parseCounters(text string) (Counters, bool) {
	inner, ok1 := strings.CutPrefix(text, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	packets, bytes, ok3 := strings.Cut(inner, ":")
	p, err1 := strconv.ParseUint(packets, 10, 64)
	b, err2 := strconv.ParseUint(bytes, 10, 64)
	return Counters{p, b}, ok1 && ok2 && ok3 && err1 == nil && err2 == nil
}
