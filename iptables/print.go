package iptables

import (
	"bufio"
	"io"
	"strings"
)

// WriteTo writes the dump as iptables-save prints it.
func (d *Dump) WriteTo(w io.Writer) (int64, error) {
	out := &counter{to: w}
	b := bufio.NewWriter(out)
	for i := range d.Tables {
		d.Tables[i].write(b)
	}
	for _, line := range d.Trailing {
		_, _ = b.WriteString(line + "\n")
	}
	err := b.Flush() // also says what went wrong before
	return out.n, err
}

type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

func (t *Table) write(b *bufio.Writer) {
	for _, line := range t.Comments {
		_, _ = b.WriteString(line + "\n")
	}
	if t.Name != "" {
		_, _ = b.WriteString("*" + t.Name + "\n")
	}
	var line []byte
	for _, c := range t.Chains {
		policy := c.Policy
		if policy == "" {
			policy = "-"
		}
		line = append(append(append(append(line[:0], ':'), c.Name...), ' '), policy...)
		line = append(c.Counters.append(append(line, ' ')), '\n')
		_, _ = b.Write(line)
	}
	for _, c := range t.Chains {
		for i := range c.Rules {
			line = append(c.Rules[i].Append(line[:0], c.Name), '\n')
			_, _ = b.Write(line)
		}
	}
	if t.Name != "" {
		_, _ = b.WriteString("COMMIT\n")
	}
}

// Append writes the rule, as one of a chain, as iptables-save prints it.
func (r *Rule) Append(b []byte, chain string) []byte {
	if r.Counters != nil {
		b = append(r.Counters.append(b), ' ')
	}
	b = append(append(b, "-A "...), chain...)
	b = r.Source.append(b, " -s ")
	b = r.Destination.append(b, " -d ")
	b = r.In.append(b, " -i ")
	b = r.Out.append(b, " -o ")
	if r.Protocol.Name != "" {
		b = append(append(not(b, r.Protocol.Not), " -p "...), r.Protocol.Name...)
	}
	for _, m := range r.Matches {
		b = m.append(b)
	}
	if r.Target != nil {
		b = r.Target.append(b)
	}
	return b
}

// Text is the rule, as one of a chain, as iptables-save prints it.
func (r *Rule) Text(chain string) string { return string(r.Append(nil, chain)) }

func (a Address) append(b []byte, option string) []byte {
	if a.IsZero() {
		return b
	}
	b = append(not(b, a.Not), option...)
	if a.Mask != "" {
		return append(append(a.Prefix.Addr().AppendTo(b), '/'), a.Mask...)
	}
	return a.Prefix.AppendTo(b)
}

func (i Interface) append(b []byte, option string) []byte {
	if i.Name == "" {
		return b
	}
	return append(append(not(b, i.Not), option...), i.Name...)
}

// plain are the characters that need no quotes.
const plain = "_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// appendQuoted writes a text as iptables-save does: between quotes unless it is
// quite plain.
func appendQuoted(b []byte, text string) []byte {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
		return append(b, text...)
	}
	b = append(b, '"')
	for i := range len(text) {
		switch text[i] {
		case '"', '\\', '\'':
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return append(b, '"')
}
