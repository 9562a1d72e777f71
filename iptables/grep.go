package iptables

import (
	"slices"
	"strings"
)

// grep is a command in a listing, such as "# iptables-save | grep NAME", and whether
// the lines under it are what it would print.
type grep struct {
	pattern string
	line    int
	// strangers are the lines without the pattern: the first, the last, and what
	// they are of.
	first, last int
	of          []string
}

// prompt reads a line that is a command typed at a shell's prompt.
func (g *grep) prompt(p *parser, text string) bool {
	at := strings.Index(text, "iptables")
	if six := strings.Index(text, "ip6tables"); six >= 0 && (at < 0 || six < at) {
		at = six
	}
	before := ""
	if at > 0 {
		before = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text[:at]), "sudo"))
	}
	if at < 0 || before == "" || !strings.ContainsAny(before[len(before)-1:], "#$>%") {
		return false
	}
	p.passed()
	g.end(p)
	p.dump.prompts = append(p.dump.prompts, Warning{p.number, text[at:]})
	g.line, g.pattern = p.number, pattern(text[at:])
	return true
}

// pattern is what a command greps for, empty if that is not simple.
func pattern(command string) string {
	command, _, _ = strings.Cut(command, ">>")
	stages := strings.Split(command, "|")
	if len(stages) != 2 {
		return ""
	}
	fields := strings.Fields(stages[1])
	if len(fields) != 2 || fields[0] != "grep" && fields[0] != "fgrep" && fields[0] != "egrep" {
		return ""
	}
	found := strings.Trim(fields[1], `"'`)
	if strings.ContainsAny(found, `\^$*+?[]{}()`) || strings.HasPrefix(found, "-") {
		return ""
	}
	return found
}

// see looks at a line that is under the command.
func (g *grep) see(p *parser, text string) {
	if g.pattern == "" || strings.Contains(text, g.pattern) {
		return
	}
	if g.first == 0 {
		g.first = p.number
	}
	g.last = p.number
	if !strings.HasPrefix(g.pattern, PrefixEndpoint) && !strings.HasPrefix(g.pattern, PrefixService) {
		return
	}
	for _, w := range strings.Fields(text) {
		if strings.HasPrefix(w, g.pattern[:len(PrefixEndpoint)]) && len(g.of) < 3 && !slices.Contains(g.of, w) {
			g.of = append(g.of, p.rules.keep.string(w))
		}
	}
}

// end tells of the lines that are not the command's.
func (g *grep) end(p *parser) {
	if g.first > 0 {
		of := ""
		if len(g.of) > 0 {
			of = "; they are of " + strings.Join(g.of, ", ")
		}
		p.warn(g.line, "the command greps for %s, which its output in lines %d to %d does not have%s", g.pattern, g.first, g.last, of)
	}
	*g = grep{}
}
