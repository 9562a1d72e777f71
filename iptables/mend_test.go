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
	m := iptables.Mend(d)
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
		{`-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -j KUBE-NODEPORTS`, "--dst-type"},
		{`-A KUBE-POSTROUTING -j RETURN`, "--mark"},
		{`-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE`, "--mark"},
		{`-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -j DROP`, "conditions"},
		{`-A KUBE-FORWARD -j DROP`, "conditions"},
		{`-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -j ACCEPT`, "conditions"},
		{`-A KUBE-EXT-X -m comment --comment "pod traffic for a/b external destinations" -j KUBE-SVC-X`, "-s"},
		{`-A KUBE-EXT-X -m comment --comment "route LOCAL traffic for a/b external destinations" -j KUBE-SVC-X`, "--src-type"},
		{`-A KUBE-EXT-X -m comment --comment "masquerade LOCAL traffic for a/b external destinations" -j KUBE-MARK-MASQ`, "--src-type"},
	} {
		rules, warnings := mended(t, tc.rule+serves)
		named := slices.ContainsFunc(warnings, func(w string) bool {
			return strings.HasPrefix(w, "line 1: ") && strings.Contains(w, "has lost its "+tc.lost+", ") && strings.HasSuffix(w, tc.rule)
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

// Where kube-proxy has one way to write what is missing, it is supplied.
func TestWhatListingsLack(t *testing.T) {
	for _, tc := range []struct{ name, text, want, warning string }{
		{"the way to NodePorts", `-A KUBE-NODEPORTS -p tcp -m comment --comment "a/b" -m tcp --dport 30080 -j KUBE-SVC-X` + serves,
			"-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", "from KUBE-SERVICES to KUBE-NODEPORTS is missing"},
		{"the way to endpoints on this node", `-A KUBE-EXT-X -m addrtype --src-type LOCAL -j KUBE-SVC-X
-A KUBE-SVL-X -m comment --comment "a/b -> 10.1.1.1:80" -j KUBE-SEP-Y` + serves,
			"-A KUBE-EXT-X -j KUBE-SVL-X", "line 1: the listing lacks the rule that leads from KUBE-EXT-X to KUBE-SVL-X"},
		{"whether there are endpoints on this node", `-A KUBE-EXT-X -m addrtype --src-type LOCAL -j KUBE-SVC-X` + serves,
			"", "line 1: the listing does not show what KUBE-EXT-X does with traffic from outside"},
		{"what drops", "-A KUBE-FW-X -j KUBE-MARK-DROP" + serves,
			"-A KUBE-MARK-DROP -j DROP", "without chain KUBE-MARK-DROP"},
		{"a destination", `-A KUBE-SVC-X -m comment --comment "a/b -> 10.1.1.2:80" -j KUBE-SEP-Z
-A KUBE-SEP-Z -p tcp -m tcp -j DNAT [unsupported revision]` + strings.ReplaceAll(serves, "-A KUBE-SVC-X -j KUBE-SEP-Y\n", ""),
			"-A KUBE-SEP-Z -p tcp -m tcp -j DNAT --to-destination 10.1.1.2:80", "line 2: -j DNAT [unsupported revision] in chain KUBE-SEP-Z does not say where to"},
		{"a probability", `-A KUBE-SVC-X -m comment --comment "a/b -> 10.1.1.2:80" -j KUBE-SEP-Z` + serves,
			`-A KUBE-SVC-X -m comment --comment "a/b -> 10.1.1.2:80" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-Z`, "line 1: this rule of KUBE-SVC-X has lost its --probability"},
	} {
		rules, warnings := mended(t, tc.text)
		if !strings.Contains(rules+"\n", tc.want) || !strings.Contains(strings.Join(warnings, "\n"), tc.warning) {
			t.Errorf("%s:\n%s\nbecame\n%s\nwith the warnings\n%s", tc.name, tc.text, rules, strings.Join(warnings, "\n"))
		}
	}

	// Rules for clients that are known, in front of the same ones for all.
	rules, warnings := mended(t, `-A KUBE-SVC-X -m comment --comment "a/b -> 10.1.1.1:80" -j KUBE-SEP-Y`+serves)
	if strings.Count(rules, "-j KUBE-SEP-Y") != 1 || len(warnings) != 1 || !strings.Contains(warnings[0], "line 1: this rule of KUBE-SVC-X has lost its -m recent") {
		t.Errorf("rules\n%s\nwarnings %q", rules, warnings)
	}

	// A whole dump has what it has: without the jump, no packet gets to a NodePort.
	whole := "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-SVC-X" + serves + "\nCOMMIT\n"
	if rules, warnings := mended(t, whole); strings.Contains(rules, "-j KUBE-NODEPORTS") || len(warnings) > 0 {
		t.Errorf("rules\n%s\nwarnings %q", rules, warnings)
	}
}

func TestFamilies(t *testing.T) {
	for _, tc := range []struct {
		text      string
		four, six int
	}{
		{"# Generated by ip6tables-save v1.8.9 on x\n*nat\n:KUBE-NODEPORTS - [0:0]\n-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-X\nCOMMIT\n", 0, 2},
		{"# Generated by iptables-nft-save v1.8.9 on x\n*nat\n:KUBE-NODEPORTS - [0:0]\nCOMMIT\n", 2, 0},
		{"-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-X\n", 0, 0},
		{"-A KUBE-SERVICES -d 10.0.0.1/32 -j X\n-A KUBE-SERVICES -d fd00::1/128 -j X\n", 1, 2},
		{"-A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination [fd00::1]:80\n", 0, 1},
		{"-A KUBE-SERVICES -p tcp -m tcp --dport 1 -j REJECT --reject-with icmp6-port-unreachable\n", 0, 1},
		{"-A KUBE-SERVICES -p tcp -m tcp --dport 1 -j REJECT --reject-with tcp-reset\n", 0, 0},
	} {
		d, err := iptables.Parse(strings.NewReader(tc.text))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := d.Families(), (iptables.Families{Line4: tc.four, Line6: tc.six}); got != want {
			t.Errorf("%s\nhas %+v, want %+v", tc.text, got, want)
		}
	}
}
