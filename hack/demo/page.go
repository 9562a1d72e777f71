package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// page is where the demo prints to; its lines fit 100 columns.
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
		fmt.Fprintln(p.out, strings.TrimRight("  "+line, " "))
	}
}

func percent(share float64) string { return fmt.Sprintf("%.2f %%", 100*share) }
