package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// columns is how many there are for a line.
const columns = 100

// page is where the demo prints to; its lines fit the columns.
type page struct {
	out  io.Writer
	bold bool
}

func newPage(out *os.File) *page {
	return &page{out: out, bold: term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (p *page) heading(text string) {
	if p.bold {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintf(p.out, "\n%s\n\n", text)
}

// text prints lines, indented a little.
func (p *page) text(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintln(p.out, fold(strings.TrimRight("  "+line, " ")))
	}
}

// fold goes on below, a little further in, with what is too long for a line.
func fold(line string) string {
	at := strings.LastIndexByte(line[:min(len(line), columns)], ' ')
	indent := len(line) - len(strings.TrimLeft(line, " ")) + 4
	if len(line) <= columns || at <= indent {
		return line
	}
	return line[:at] + "\n" + fold(strings.Repeat(" ", indent)+line[at+1:])
}

func percent(share float64) string { return fmt.Sprintf("%.2f %%", 100*share) }
