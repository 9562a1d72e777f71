package iptables

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// maxLine bounds what a line may have: iptables-restore takes no more than 10 KiB.
const maxLine = 64 << 10

// maxWarnings bounds the warnings of one dump.
const maxWarnings = 1000

// Parse reads a dump. Lines that are no part of one, such as a shell's prompts or
// the text around a listing, are passed over with a warning; an error is that the
// text could not be read.
func Parse(r io.Reader) (*Dump, error) {
	p := &parser{dump: &Dump{}, rules: ruleParser{keep: interner{}}}
	in := bufio.NewReaderSize(r, maxLine)
	for {
		text, err := in.ReadSlice('\n')
		p.number++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			p.warn(p.number, "longer than %d bytes, which is no rule; it is passed over", maxLine)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
		case err == nil || len(text) > 0:
			p.physical(string(bytes.TrimRight(text, " \t\r\n")), err == nil)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("line %d: %w", p.number, err)
		}
	}
	p.end()
	return p.dump, nil
}

// physical takes one line of the text. A backslash at its end joins the next to it. A
// rule without a newline is the rest of a text that was cut: its last word may be half
// of one.
func (p *parser) physical(text string, whole bool) {
	joined, more := strings.CutSuffix(text, "\\")
	if more && whole && len(p.joined)+len(text) < maxLine {
		p.joined += joined + " "
		p.continued++
		return
	}
	number := p.number
	text, p.number = p.joined+text, p.number-p.continued
	p.joined, p.continued = "", 0
	if text = unpasted(text); whole || p.ends(text) {
		p.line(text)
	} else {
		p.passed()
		p.warn(p.number, "the text ends in the middle of this line: it is left out: %s", shortened(text))
	}
	p.number = number
}

// parser is one run of Parse.
type parser struct {
	dump   *Dump
	rules  ruleParser
	number int
	// joined are lines before this one that end with a backslash; continued counts them.
	joined    string
	continued int
	// foreign are the kinds of foreign lines that were warned of.
	foreign uint
	// table is where rules go, nil outside of one.
	table    *Table
	comments []string
	// others are the first and last of the lines in a row that are no rules.
	others, last int
	grep         grep
	warnings     int
}

func (p *parser) warn(line int, format string, args ...any) {
	p.warnings++
	if p.warnings <= maxWarnings {
		p.dump.Warnings = append(p.dump.Warnings, Warning{line, fmt.Sprintf(format, args...)})
	}
}

// ends reports whether a line without a newline is whole. Nothing of a dump is, but for
// its end; in a listing a rule is whose target is known.
func (p *parser) ends(text string) bool {
	if text == "" || !strings.ContainsAny(text[:1], "-:[*") {
		return true
	}
	if p.table != nil && p.table.Name != "" {
		return false
	}
	_, r, err := p.rules.rule(text)
	switch t := r.Target.(type) {
	case Jump:
		return err == nil && (t.To == Accept || t.To == Drop || t.To == Return || t.To == chainMarkMasq || t.To == chainMarkDrop || p.dump.Table("").Chain(t.To) != nil)
	case Reject, Masquerade:
		return err == nil
	}
	return false
}

func (p *parser) line(text string) {
	if text == "" {
		return
	}
	switch first := text[0]; {
	case first == '#' && p.grep.prompt(p, text):
		return
	case first == '#' && !behind.MatchString(text) && p.others == 0:
		p.told(text)
		p.comments = append(p.comments, text)
		return
	case first == '*' && isName(text[1:]):
		p.passed()
		p.grep.end(p)
		p.begin(text[1:])
		return
	case text == "COMMIT":
		p.passed()
		p.table = nil
		return
	case first == ':' && p.chain(text[1:]), p.command(text):
		return
	case first == '-' || first == '[':
		chain, rule, err := p.rules.rule(text)
		if !errors.Is(err, errNoRule) && !sound(p.rules.words, text) {
			p.passed()
			p.warn(p.number, "its quotes or dashes are not those of iptables-save; it is read as it was before: %s", shortened(text))
			text = mended(text)
			chain, rule, err = p.rules.rule(text)
		}
		if err == nil {
			p.passed()
			p.grep.see(p, text)
			rule.Line = p.number
			c := p.current().Add(chain)
			c.Rules = append(c.Rules, rule)
			return
		}
		if !errors.Is(err, errNoRule) {
			p.passed()
			p.warn(p.number, "not understood, and passed over: %v: %s", err, shortened(text))
			return
		}
	}
	if p.grep.prompt(p, text) {
		return
	}
	if p.told(text) {
		return
	}
	if behind.MatchString(text) {
		p.passed()
		p.warn(p.number, "looks like a rule behind other text; it is passed over: %s", shortened(text))
		return
	}
	if p.others == 0 {
		p.others = p.number
		p.grep.end(p)
	}
	p.last = p.number
}

// begin starts a table. One that was there already goes on: some dumps are of
// several commands.
func (p *parser) begin(name string) {
	if t := p.dump.Table(name); t != nil {
		p.warn(p.number, "table %s is there a second time; its rules are taken together", name)
		p.table = t
		return
	}
	p.dump.Tables = append(p.dump.Tables, Table{Name: name, Line: p.number, Comments: p.comments})
	p.table, p.comments = &p.dump.Tables[len(p.dump.Tables)-1], nil
}

// current is the table that rules are of; without any it is that of a listing.
func (p *parser) current() *Table {
	if p.table == nil {
		p.dump.Listing = true
		if p.table = p.dump.Table(""); p.table == nil {
			p.dump.Tables = append(p.dump.Tables, Table{Line: p.number, Comments: p.comments})
			p.table, p.comments = &p.dump.Tables[len(p.dump.Tables)-1], nil
		}
	}
	return p.table
}

// chain reads "NAME POLICY [PACKETS:BYTES]".
func (p *parser) chain(text string) bool {
	fields := strings.Fields(text)
	if len(fields) < 2 || !isName(fields[0]) || !isPlain(fields[1]) {
		return false
	}
	var counters Counters
	if len(fields) > 2 {
		var ok bool
		if counters, ok = parseCounters(fields[2]); !ok {
			return false
		}
	}
	if len(fields) > 3 && !strings.HasPrefix(fields[3], ">>") {
		return false
	}
	p.passed()
	p.grep.see(p, text)
	p.declare(fields[0], fields[1], counters)
	return true
}

// command reads "-N CHAIN" and "-P CHAIN POLICY", as iptables -S has them.
func (p *parser) command(text string) bool {
	if !strings.HasPrefix(text, "-N ") && !strings.HasPrefix(text, "-P ") {
		return false
	}
	switch fields := strings.Fields(text); {
	case len(fields) < 2 || !isName(fields[1]):
		return false
	case fields[0] == "-N" && len(fields) == 2:
		p.passed()
		p.declare(fields[1], "-", Counters{})
	case fields[0] == "-P" && len(fields) > 2 && isPlain(fields[2]) && (len(fields) == 3 || len(fields) == 6 && fields[3] == "-c"):
		p.passed()
		p.declare(fields[1], fields[2], Counters{})
	default:
		return false
	}
	return true
}

func (p *parser) declare(name, policy string, counters Counters) {
	keep := p.rules.keep
	c := p.current().Add(keep.string(name))
	if c.Line != 0 {
		p.warn(p.number, "chain %s is declared twice, first in line %d", name, c.Line)
		return
	}
	c.Line, c.Policy, c.Counters = p.number, keep.string(policy), counters
}

// passed tells of the lines before this one that are no rules.
func (p *parser) passed() {
	switch {
	case p.others == 0:
		return
	case p.others == p.last:
		p.warn(p.others, "no rule; it is passed over")
	default:
		p.warn(p.others, "no rules until line %d; they are passed over", p.last)
	}
	p.others = 0
}

func (p *parser) end() {
	if p.joined != "" {
		p.physical("", false)
	}
	p.passed()
	p.grep.end(p)
	if p.table != nil && p.table.Name != "" {
		p.dump.cut = true
		p.warn(p.number, "the dump ends inside table %s: there is no COMMIT", p.table.Name)
	}
	p.dump.Trailing = p.comments
	if more := p.warnings - maxWarnings; more > 0 {
		p.dump.Warnings = append(p.dump.Warnings, Warning{Text: strconv.Itoa(more) + " more warnings like these"})
	}
}

// isName says that a text can be the name of a table or a chain.
func isName(text string) bool {
	return isPlain(text) && !strings.ContainsAny(text, "*:!") && text[0] != '-'
}

// isPlain says that a text is a word without anything that needs quotes.
func isPlain(text string) bool {
	return text != "" && text != "!" && !strings.ContainsAny(text, "\"'\\") &&
		!strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

func shortened(text string) string {
	if len(text) > 120 {
		return text[:120] + "..."
	}
	return text
}
