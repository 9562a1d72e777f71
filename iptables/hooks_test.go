package iptables_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/view"
)

func hooked(t *testing.T, text string) *iptables.Reading {
	t.Helper()
	dump, err := iptables.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return iptables.InterpretHooked(dump)
}

// Where everything is hooked, as every release of kube-proxy does it, a walk from the
// base chains finds the same as one that begins at kube-proxy's chains.
func TestEveryReleaseIsHooked(t *testing.T) {
	files, _ := filepath.Glob("testdata/generations/*")
	files = append(files, "testdata/kube-proxy-1.37-ipv4.txt", "testdata/kube-proxy-1.37-ipv6.txt", "testdata/dns-default-listing.txt")
	compared := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "KUBE-SERVICES") {
			continue
		}
		dump, err := iptables.Parse(strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		want, got := iptables.Interpret(dump), hooked(t, string(text))
		for _, d := range view.Compare(want.View, got.View) {
			t.Errorf("%s: %s", file, d.Text("from its chains", "from the hooks"))
		}
		if len(got.Unhooked) > 0 {
			t.Errorf("%s: %v", file, got.Unhooked)
		}
		compared += len(got.View)
	}
	if compared < 30 {
		t.Errorf("only %d frontends were compared", compared)
	}
}

// Each rule of a base chain that leads to kube-proxy's is missed, and so is one behind a
// rule that ends all connections.
func TestLostHooksAreMissed(t *testing.T) {
	full, err := os.ReadFile("testdata/kube-proxy-1.37-ipv4.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := hooked(t, string(full))
	lines := strings.Split(string(full), "\n")
	bases := []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	removed := 0
	for i, line := range lines {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "-A" || !slices.Contains(bases, words[1]) || strings.HasSuffix(line, "KUBE-FIREWALL") || strings.HasSuffix(line, "KUBE-NODEPORTS") ||
			words[1] == "FORWARD" && strings.HasSuffix(line, "KUBE-EXTERNAL-SERVICES") {
			continue // packets to these frontends don't notice
		}
		removed++
		for what, text := range map[string]string{
			"without":            strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "\n"),
			"with all before it": strings.Join(slices.Insert(slices.Clone(lines), i, "-A "+words[1]+" -j ACCEPT"), "\n"),
		} {
			got := hooked(t, text)
			if len(got.Unhooked) == 0 && len(view.Compare(want.View, got.View)) == 0 {
				t.Errorf("%s %q: nothing is missed", what, line)
			}
		}
	}
	if removed < 8 {
		t.Errorf("only %d rules were removed", removed)
	}
}

// A kernel's chains have no lines: one that is empty is there all the same, and a NodePort
// without endpoints goes on to the table filter.
func TestEmptyChainsOfAKernel(t *testing.T) {
	d, err := iptables.Parse(strings.NewReader(`*filter
:INPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "a/b has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Tables {
		for _, c := range d.Tables[i].Chains {
			c.Line = 0
		}
	}
	if reading := iptables.InterpretHooked(d); len(reading.View) != 1 {
		t.Errorf("connections meet %v, with %v", reading.View, reading.Warnings)
	}
}
