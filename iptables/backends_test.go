package iptables

import (
	"os"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// What the programs of both backends print of real rules, kube-proxy's and others',
// prints as it was.
func TestBackendsPrintAsTheyDo(t *testing.T) {
	for _, family := range []struct{ program, rules string }{
		{"iptables", "testdata/backends/rules-ipv4.txt"}, {"ip6tables", "testdata/backends/rules-ipv6.txt"},
	} {
		for _, backend := range []string{"legacy", "nft"} {
			t.Run(family.program+"-"+backend, func(t *testing.T) {
				ns := testbed.NewTestNamespace(t)
				rules, err := os.Open(family.rules)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = rules.Close() }()
				program := family.program + "-" + backend
				if _, err := ns.RunInput(rules, program+"-restore"); err != nil {
					t.Fatal(err)
				}
				for _, args := range [][]string{nil, {"-c"}} {
					text, err := ns.Run(program+"-save", args...)
					if err != nil {
						t.Fatal(err)
					}
					d := parseText(t, text)
					if got := d.String(); got != text {
						t.Errorf("%v: %s", args, firstDifference(text, got))
					}
					if len(d.Warnings) > 0 {
						t.Errorf("%v: %v", args, d.Warnings)
					}
					if args == nil {
						allTyped(t, d)
					}
				}
			})
		}
	}
}

// allTyped looks at kube-proxy's chains: what they have is understood.
func allTyped(t *testing.T, d *Dump) {
	t.Helper()
	rules := 0
	for i := range d.Tables {
		for _, c := range d.Tables[i].Chains {
			for _, r := range c.Rules {
				for _, m := range r.Matches {
					if o, is := m.(Other); is && strings.HasPrefix(c.Name, "KUBE-") && o.Text != "--mode nth --every 3 --packet 0" {
						t.Errorf("not understood in %s: %+v", c.Name, o)
					}
				}
				if o, is := r.Target.(OtherTarget); is && o.Name != "LOG" {
					t.Errorf("not understood in %s: %+v", c.Name, o)
				}
				rules++
			}
		}
	}
	if rules < 8 {
		t.Errorf("only %d rules were loaded", rules)
	}
}
