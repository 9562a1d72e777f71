package iptables

import (
	"net/netip"
	"strconv"
	"strings"
)

// build makes matches and the target of the parts that were collected.
func (p *ruleParser) build(r *Rule) {
	n := 0
	for i := range p.parts {
		if !p.parts[i].target {
			n++
		}
	}
	if n > 0 {
		r.Matches = make([]Match, 0, n)
	}
	for i := range p.parts {
		part := &p.parts[i]
		if part.target {
			p.target(r, part)
			continue
		}
		m := p.match(part)
		if m == nil {
			m = Other{p.keep.string(part.module), p.keep.string(p.text(part.words))}
		}
		r.Matches = append(r.Matches, m)
	}
}

// text is how the words were written.
func (p *ruleParser) text(words []word) string {
	if len(words) == 0 {
		return ""
	}
	together := true
	for i := 1; i < len(words); i++ {
		between := p.line[words[i-1].end:words[i].start]
		together = together && strings.TrimSpace(between) == ""
	}
	if together {
		return p.line[words[0].start:words[len(words)-1].end]
	}
	var all []string
	for _, w := range words {
		all = append(all, p.line[w.start:w.end])
	}
	return strings.Join(all, " ")
}

// options goes through the options of a part: their names, whether they are
// negated, and their values. It ends with false when one is not understood.
func options(words []word, each func(name string, not bool, value func() string) bool) bool {
	for i := 0; i < len(words); {
		not := false
		if words[i].text == "!" && !words[i].quoted {
			not = true
			i++
		}
		if i >= len(words) || words[i].quoted {
			return false
		}
		name := words[i].text
		i++
		if i < len(words) && words[i].text == "!" && !words[i].quoted && !not && i+1 < len(words) && !strings.HasPrefix(words[i+1].text, "--") {
			not = true
			i++
		}
		missing := false // or one that has to be kept as it was written
		value := func() string {
			if i >= len(words) {
				missing = true
				return ""
			}
			i++
			missing = missing || !isPlain(words[i-1].text)
			return words[i-1].text
		}
		if !each(name, not, value) || missing {
			return false
		}
	}
	return true
}

// match reads the options of a module, nil if it does not know all of them.
func (p *ruleParser) match(part *part) Match {
	switch part.module {
	case "comment":
		return p.comment(part.words)
	case "tcp", "udp", "sctp":
		return p.portsOf(part)
	case "addrtype":
		return p.addrType(part.words)
	case "statistic":
		return statistic(part.words)
	case "recent":
		return p.recent(part.words)
	case "conntrack", "state":
		return p.conntrack(part)
	case "mark":
		return mark(part.words)
	}
	return nil
}

func (p *ruleParser) comment(words []word) Match {
	if len(words) != 2 || words[0].text != "--comment" {
		return nil
	}
	return Comment(p.keep.string(words[1].text))
}

func (p *ruleParser) portsOf(part *part) Match {
	m := Ports{Module: p.keep.string(part.module)}
	ok := options(part.words, func(name string, not bool, value func() string) bool {
		to := &m.Destination
		switch name {
		case "--sport", "--source-port":
			to = &m.Source
		case "--dport", "--destination-port":
		default:
			return false
		}
		if to.Set {
			return false
		}
		to.Set, to.Not = true, not
		return to.parse(value())
	})
	if !ok {
		return nil
	}
	return m
}

func (p *PortRange) parse(text string) bool {
	from, to, isRange := strings.Cut(text, ":")
	if !isRange {
		to = from
	}
	if isRange && from == "" {
		from = "0"
	}
	if isRange && to == "" {
		to = "65535"
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	p.From, p.To = uint16(first), uint16(last)
	return err1 == nil && err2 == nil
}

func (p *ruleParser) addrType(words []word) Match {
	var m AddrType
	ok := options(words, func(name string, not bool, value func() string) bool {
		switch name {
		case "--src-type":
			m.Source, m.SourceNot = p.keep.string(value()), not
		case "--dst-type":
			m.Destination, m.DestinationNot = p.keep.string(value()), not
		default:
			return false
		}
		return true
	})
	if !ok {
		return nil
	}
	return m
}

func statistic(words []word) Match {
	var m Statistic
	random, given := false, false
	ok := options(words, func(name string, not bool, value func() string) bool {
		switch name {
		case "--mode":
			random = value() == "random"
			return random
		case "--probability":
			m.Not, given = not, true
			probability, ok := ParseProbability(value())
			m.Probability = probability
			return ok
		}
		return false
	})
	if !ok || !random || !given {
		return nil
	}
	return m
}

func (p *ruleParser) recent(words []word) Match {
	m := Recent{Name: "DEFAULT"}
	ok := options(words, func(name string, not bool, value func() string) bool {
		switch name {
		case "--set", "--rcheck", "--update", "--remove":
			if m.Action != "" {
				return false
			}
			m.Action, m.Not = p.keep.string(name[2:]), not
			return true
		case "--seconds":
			return number(value(), &m.Seconds) && !not
		case "--hitcount":
			return number(value(), &m.HitCount) && !not
		case "--reap":
			m.Reap = true
		case "--rttl":
			m.TTL = true
		case "--name":
			m.Name = p.keep.string(value())
		case "--mask":
			m.Mask = p.keep.string(value())
		case "--rsource":
			m.ByDestination = false
		case "--rdest":
			m.ByDestination = true
		default:
			return false
		}
		return !not
	})
	if !ok || m.Action == "" {
		return nil
	}
	return m
}

func (p *ruleParser) conntrack(part *part) Match {
	m := Conntrack{Module: p.keep.string(part.module)}
	ok := options(part.words, func(name string, not bool, value func() string) bool {
		if name != "--ctstate" && name != "--state" || m.States != 0 {
			return false
		}
		states, ok := parseStates(value())
		m.Not, m.States = not, states
		return ok
	})
	if !ok || m.States == 0 {
		return nil
	}
	return m
}

func mark(words []word) Match {
	var m Mark
	given := false
	ok := options(words, func(name string, not bool, value func() string) bool {
		var ok bool
		m.Not, given = not, true
		m.Value, m.Mask, ok = masked(value())
		return name == "--mark" && ok
	})
	if !ok || !given {
		return nil
	}
	return m
}

// masked reads VALUE or VALUE/MASK.
func masked(text string) (value, mask uint32, ok bool) {
	first, second, both := strings.Cut(text, "/")
	mask = 1<<32 - 1
	ok = number(first, &value)
	if both {
		ok = number(second, &mask) && ok
	}
	return value, mask, ok
}

func number(text string, to *uint32) bool {
	n, err := strconv.ParseUint(text, 0, 32)
	*to = uint32(n)
	return err == nil
}

// target reads the target of a rule.
func (p *ruleParser) target(r *Rule, part *part) {
	var t Target
	switch part.module {
	case "DNAT":
		t = dnat(part.words)
	case "MASQUERADE":
		t = p.masquerade(part.words)
	case "MARK":
		t = setMark(part.words)
	case "REJECT":
		t = p.reject(part.words)
	default:
		// What stands behind a chain's name and is no option is no part of the rule.
		if len(part.words) == 0 || !strings.HasPrefix(part.words[0].text, "-") && part.words[0].text != "!" {
			t = Jump{p.keep.string(part.module), part.goes}
			if len(part.words) > 0 {
				r.Note = p.keep.string(strings.TrimSpace(p.text(part.words) + " " + r.Note))
			}
		}
	}
	if t == nil {
		t = OtherTarget{p.keep.string(part.module), p.keep.string(p.text(part.words))}
	}
	r.Target = t
}

func dnat(words []word) Target {
	var t DNAT
	ok := options(words, func(name string, not bool, value func() string) bool {
		switch name {
		case "--to-destination":
			to, ok := parseDestinations(value())
			t.To = append(t.To, to)
			return ok && !not
		case "--random":
			t.Random = true
		case "--persistent":
			t.Persistent = true
		default:
			return false
		}
		return !not
	})
	if !ok || len(t.To) == 0 {
		return nil
	}
	return t
}

// parseDestinations reads "1.2.3.4-1.2.3.9:80-90/100", "[fd00::1]:80", ":80" and
// the like.
func parseDestinations(text string) (Destinations, bool) {
	var d Destinations
	addrs, ports := text, ""
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && text[0] == '[' {
		addrs, ports = inner, strings.TrimPrefix(rest, ":")
		if rest != "" && rest[0] != ':' {
			return d, false
		}
	} else if strings.Count(text, ":") == 1 {
		addrs, ports, _ = strings.Cut(text, ":")
	}
	if addrs != "" {
		from, to, isRange := strings.Cut(addrs, "-")
		if !isRange {
			to = from
		}
		var err1, err2 error
		d.From, err1 = netip.ParseAddr(from)
		d.To, err2 = netip.ParseAddr(to)
		if err1 != nil || err2 != nil || d.From.Zone() != "" || d.To.Zone() != "" {
			return d, false
		}
	}
	if ports == "" {
		return d, addrs != ""
	}
	return d, d.parsePorts(ports) && (addrs == "" || d.FromPort != 0)
}

func (d *Destinations) parsePorts(text string) bool {
	ports, base, based := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	d.FromPort, d.ToPort = uint16(first), uint16(last)
	if based {
		n, err := strconv.ParseUint(base, 10, 16)
		d.Base = uint16(n)
		if err != nil || n == 0 {
			return false
		}
	}
	return err1 == nil && err2 == nil && (d.FromPort != 0 || last == 0 && !based)
}

func (p *ruleParser) masquerade(words []word) Target {
	var t Masquerade
	ok := options(words, func(name string, not bool, value func() string) bool {
		switch name {
		case "--to-ports":
			t.ToPorts = p.keep.string(value())
		case "--random":
			t.Random = true
		case "--random-fully":
			t.RandomFully = true
		default:
			return false
		}
		return !not
	})
	if !ok {
		return nil
	}
	return t
}

func setMark(words []word) Target {
	if len(words) != 2 {
		return nil
	}
	v, m, ok := masked(words[1].text)
	if !ok {
		return nil
	}
	switch words[0].text {
	case "--set-xmark":
		return SetMark{v, m}
	case "--set-mark":
		return SetMark{v, m | v}
	case "--or-mark":
		return SetMark{v, v}
	case "--and-mark":
		return SetMark{0, ^v}
	case "--xor-mark":
		return SetMark{v, 0}
	}
	return nil
}

func (p *ruleParser) reject(words []word) Target {
	if len(words) == 0 {
		return Reject{}
	}
	if len(words) != 2 || words[0].text != "--reject-with" {
		return nil
	}
	return Reject{p.keep.string(words[1].text)}
}
