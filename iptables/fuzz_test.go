package iptables

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/view"
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

// Whatever the rules, interpreting them ends, and gives shares that are shares.
func FuzzInterpret(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		for key, port := range Interpret(parseText(t, text)).View {
			for _, list := range [][]view.Endpoint{port.Endpoints, port.Local} {
				total := 0.0
				for _, e := range list {
					if total += e.Share; e.Share < 0 || e.Share > 1+1e-9 || !e.IsValid() {
						t.Errorf("%s: endpoint %v", key, e)
					}
				}
				if total > 1+1e-9 {
					t.Errorf("%s: the shares of %v add up to %g", key, list, total)
				}
			}
		}
	})
}
