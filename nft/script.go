package nft

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Contents is a table with all of its elements.
type Contents struct {
	*Table
	Elements map[*Set][]Element
}

// WriteScript writes a script that makes the tables what contents say,
// whatever they held before, in one transaction of nft -f.
func WriteScript(w io.Writer, contents ...Contents) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# For %s\n", loader(contents))
	for _, c := range contents {
		// Adding first lets the delete succeed where there is no such table.
		fmt.Fprintf(b, "add table %s\ndelete table %s\n", c.ID(), c.ID())
	}
	for _, c := range contents {
		fmt.Fprintln(b)
		c.write(b)
	}
	return b.Flush()
}

// loader is which nft loads a script with such contents, of those that were tried.
func loader(contents []Contents) string {
	text := "nft 0.9.8 or newer"
	for _, c := range contents {
		for _, s := range c.Sets {
			if slices.ContainsFunc(s.Key, func(f Field) bool { _, ok := f.(Random); return ok }) {
				text = "nft 1.0.6 or newer"
			}
		}
	}
	for _, c := range contents {
		for _, chain := range c.Chains {
			for _, r := range chain.Rules {
				if c.Family == IPv6 && slices.ContainsFunc(r.Statements, remembersData) {
					return "nft 1.1.3 or newer: 1.0.6 aborts at the rules for IPv6 session affinity"
				}
			}
		}
	}
	return text
}

func remembersData(s Statement) bool {
	r, ok := s.(Remember)
	return ok && len(r.Data) > 0
}

// String is the table as nft lists it.
func (c Contents) String() string {
	var s strings.Builder
	b := bufio.NewWriter(&s)
	c.write(b)
	_ = b.Flush()
	return s.String()
}

func (c Contents) write(b *bufio.Writer) {
	fmt.Fprintf(b, "table %s {\n", c.ID())
	if c.Owned {
		b.WriteString("\tflags owner\n")
	}
	if c.Comment != "" {
		fmt.Fprintf(b, "\tcomment %q\n", c.Comment)
	}
	for i, s := range c.Sets {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "\t%s %s {\n%s", s.Kind(), s.Name, s.schema(c.Family, "\t\t"))
		for i, e := range c.Elements[s] {
			if i == 0 {
				b.WriteString("\t\telements = { ")
			} else {
				b.WriteString(",\n\t\t\t     ")
			}
			b.WriteString(s.Text(c.Family, e))
		}
		if len(c.Elements[s]) > 0 {
			b.WriteString(" }\n")
		}
		b.WriteString("\t}\n")
	}
	for _, chain := range c.Chains {
		fmt.Fprintf(b, "\n\tchain %s {\n", chain.Name)
		if chain.Base != nil {
			fmt.Fprintf(b, "\t\t%s\n", chain.header())
		}
		for _, r := range chain.Rules {
			fmt.Fprintf(b, "\t\t%s\n", r.Text(c.Family))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
}
