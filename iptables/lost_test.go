package iptables_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// mended is a listing after Mend, as rules, and what Mend says of it.
func mended(t *testing.T, text string) (rules string, warnings []string) {
	t.Helper()
	d, err := iptables.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	before := d.String()
	m := iptables.Complete(d)
	if d.String() != before {
		t.Error("the dump that was given has changed")
	}
	for _, w := range m.Warnings[len(d.Warnings):] {
		warnings = append(warnings, w.String())
	}
	for line := range strings.Lines(m.String()) {
		if strings.HasPrefix(line, "-A ") {
			rules += line
		}
	}
	return strings.TrimSpace(rules), warnings
}

const serves = `
-A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment "a/b cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.1.1.1:80`

// Rules that have lost a condition are left out, and named.
func TestLostConditions(t *testing.T) {
	for _, tc := range []struct{ rule, lost string }{
		{`-A KUBE-NODEPORTS -p tcp -m comment --comment "a/b" -j KUBE-SVC-X`, "--dport"},
		{`-A KUBE-NODEPORTS -p udp -j KUBE-EXT-X`, "--dport"},
		{`-A KUBE-SERVICES -d 10.0.0.9/32 -p tcp -m comment --comment "a/b cluster IP" -j KUBE-SVC-X`, "--dport"},
		{`-A KUBE-SERVICES -d 10.0.0.9/32 -p tcp -m comment --comment "a/b has no endpoints" -j REJECT --reject-with icmp-port-unreachable`, "--dport"},
		{`-A KUBE-SERVICES -d 10.0.0.9/32 -j KUBE-SVC-X`, "--dport"},
		{`-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.0.0.9/32 -p tcp -j KUBE-MARK-MASQ`, "--dport"},
		{`-A KUBE-EXTERNAL-SERVICES -p tcp -m addrtype --dst-type LOCAL -j DROP`, "--dport"},
		{`-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -j KUBE-NODEPORTS`, "-d or -m addrtype"},
		{`-A KUBE-POSTROUTING -j RETURN`, "--mark"},
		{`-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE`, "--mark"},
		{`-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -j DROP`, "--mark or --ctstate"},
		{`-A KUBE-FORWARD -j DROP`, "--mark or --ctstate"},
		{`-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -j ACCEPT`, "--mark or --ctstate"},
		{`-A KUBE-EXT-X -m comment --comment "pod traffic for a/b external destinations" -j KUBE-SVC-X`, "-s"},
		{`-A KUBE-EXT-X -m comment --comment "route LOCAL traffic for a/b external destinations" -j KUBE-SVC-X`, "-m addrtype --src-type"},
		{`-A KUBE-EXT-X -m comment --comment "masquerade LOCAL traffic for a/b external destinations" -j KUBE-MARK-MASQ`, "-m addrtype --src-type"},
	} {
		rules, warnings := mended(t, tc.rule+serves)
		named := slices.ContainsFunc(warnings, func(w string) bool {
			return strings.HasPrefix(w, "line 1: ") && strings.Contains(w, "has lost its "+tc.lost) && strings.HasSuffix(w, tc.rule)
		})
		if strings.Contains(rules, tc.rule) || !named {
			t.Errorf("%s\nleft\n%s\nwith the warnings\n%s", tc.rule, rules, strings.Join(warnings, "\n"))
		}
	}
}

// What kube-proxy writes is left as it is.
func TestWholeRulesStay(t *testing.T) {
	var paths []string
	err := filepath.WalkDir("testdata", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) == ".txt" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("there is no dump to read")
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := iptables.Parse(strings.NewReader(string(text)))
		if err != nil || d.Listing {
			continue
		}
		if _, warnings := mended(t, string(text)); len(warnings) > 0 {
			t.Errorf("%s:\n%s", path, strings.Join(warnings, "\n"))
		}
	}
}

// What an endpoint's rules have lost is put right where the rest says what it was.
func TestLostParts(t *testing.T) {
	for _, tc := range []struct{ name, text, want, warning string }{
		{"a destination", `-A KUBE-SVC-X -m comment --comment "a/b -> 10.1.1.2:80" -j KUBE-SEP-Z
-A KUBE-SEP-Z -p tcp -m tcp -j DNAT [unsupported revision]` + strings.ReplaceAll(serves, "-A KUBE-SVC-X -j KUBE-SEP-Y\n", ""),
			"-A KUBE-SEP-Z -p tcp -m tcp -j DNAT --to-destination 10.1.1.2:80", "line 2: -j DNAT [unsupported revision] in chain KUBE-SEP-Z does not say where to"},
	} {
		rules, warnings := mended(t, tc.text)
		if !strings.Contains(rules+"\n", tc.want+"\n") || !strings.Contains(strings.Join(warnings, "\n"), tc.warning) {
			t.Errorf("%s:\n%s\nbecame\n%s\nwith the warnings\n%s", tc.name, tc.text, rules, strings.Join(warnings, "\n"))
		}
	}
}
