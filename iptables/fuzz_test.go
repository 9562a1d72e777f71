package iptables

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seeds are short dumps to start from.
func seeds(f *testing.F) {
	f.Helper()
	names, err := filepath.Glob("testdata/backends/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range append(names, "testdata/dns-default-listing.txt") {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
		for line := range strings.Lines(string(text)) {
			f.Add(line)
		}
	}
}

// Whatever the text, it is read, and what was understood of it prints as something
// that is read as the same.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		first := parseText(t, text).String()
		second := parseText(t, first).String()
		if first != second {
			t.Errorf("printed once:\n%q\ntwice:\n%q", first, second)
		}
	})
}
