package iptables

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pasted is what a listing of two Services is pasted from.
const pasted = `-A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X -m comment --comment "a/b:p -> 10.1.1.1:80" -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m comment --comment a/b:p -m tcp -j DNAT --to-destination 10.1.1.1:80
`

// A listing is read whatever a terminal, a mail, a log or a document has made of it.
func TestPasted(t *testing.T) {
	number := 0
	for _, c := range []struct {
		name string
		line func(string) string
	}{
		{"as it is", func(s string) string { return s }},
		{"indented", func(s string) string { return "    " + s }},
		{"tabs", func(s string) string { return "\t\t" + s }},
		{"quoted", func(s string) string { return "> > " + s }},
		{"commented", func(s string) string { return "  // " + s }},
		{"a list", func(s string) string { return "- " + s }},
		{"a list of code in a mail", func(s string) string { return "> - `" + s + "`" }},
		{"commands", func(s string) string { return "iptables -t nat " + s }},
		{"commands at a prompt", func(s string) string { return "root@node:~# sudo /usr/sbin/iptables-legacy -w 5 -t nat " + s }},
		{"commands quoted", func(s string) string { return "> $ iptables -w -t nat " + s }},
		{"journald", func(s string) string { return "Nov 23 04:10:08 node-1 kube-proxy[812]: " + s }},
		{"klog", func(s string) string { return "I1123 04:10:08.123456       1 proxier.go:820] " + s }},
		{"RFC 3339", func(s string) string { return "2026-11-23T04:10:08.1Z stderr F: " + s }},
		{"cat -n", func(s string) string { number++; return fmt.Sprintf("%6d\t%s", number, s) }},
		{"grep -n", func(s string) string { number++; return fmt.Sprintf("%d:%s", number, s) }},
		{"grep -H", func(s string) string { return "node-1.txt:" + s }},
		{"coloured", func(s string) string { return strings.ReplaceAll(s, "KUBE", "\x1b[01;31m\x1b[KKUBE\x1b[m\x1b[K") }},
		{"CRLF", func(s string) string { return s + "\r" }},
		{"escaped", func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }},
		{"smart", func(s string) string {
			return strings.Replace(strings.Replace(s, ` "`, " “", 1), `" `, "” ", 1)
		}},
		{"HTML", func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, `"`, "&quot;"), ">", "&gt;")
		}},
		{"single quotes", func(s string) string { return strings.ReplaceAll(s, `"`, "'") }},
		{"no quotes", func(s string) string { return strings.ReplaceAll(s, `"`, "") }},
		{"quotes cut at the end", func(s string) string { return strings.Replace(s, `" -`, " -", 1) }},
		{"quotes cut at the start", func(s string) string { return strings.Replace(s, ` "`, " ", 1) }},
		{"typography", func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, " --", " –"), "-A ", "–A\u00a0")
		}},
		{"continued", func(s string) string { return strings.ReplaceAll(s, " -m ", " \\\n  -m ") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var text strings.Builder
			for line := range strings.Lines(pasted) {
				text.WriteString(c.line(strings.TrimSuffix(line, "\n")) + "\n")
			}
			d := parseText(t, text.String())
			if got, want := d.Lines(), parseText(t, pasted).Lines(); !slices.Equal(got, want) {
				t.Errorf("%s\nis\n%s\nwant\n%s\n%v", &text, strings.Join(got, "\n"), strings.Join(want, "\n"), d.Warnings)
			}
		})
	}
}

// What can't be read of a pasted text is named for what it is.
func TestPastedWarnings(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"behind other text", "then I added -A KUBE-SVC-X -j KUBE-SEP-Y by hand\n", "line 1: looks like a rule behind other text"},
		{"commented out", "# -A KUBE-SVC-X -j KUBE-SEP-Y\n", "line 1: looks like a rule behind other text"},
		{"iptables -L", "Chain KUBE-SERVICES (2 references)\n pkts bytes target     prot opt in     out     source               destination\n", "line 1: this is a listing of iptables -L"},
		{"nft", "table ip kube-proxy {\n}\n", "line 1: this is a listing of nft"},
		{"ipvsadm", "IP Virtual Server version 1.2.1 (size=4096)\n", "line 1: this is a listing of ipvsadm"},
		{"legacy", "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n", "line 1: this node has rules in iptables-legacy, too"},
		{"incompatible", "# Table `nat' is incompatible, use 'nft' tool.\n", "line 1: this iptables can't show a table"},
		{"IPVS", "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT\n", "line 1: these are rules of kube-proxy in IPVS mode"},
	} {
		if got := Interpret(parseText(t, c.text)); !warned(got.Warnings, c.want) || len(got.View) > 0 {
			t.Errorf("%s: nothing says %q; there is %q", c.name, c.want, got.Warnings)
		}
	}
	d, err := Parse(strings.NewReader(pasted + "-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.1.1.1:8"))
	if err != nil || len(d.Table("").Chain("KUBE-SEP-Y").Rules) != 1 || !warned(d.Warnings, "line 4: the text ends in the middle of this line") {
		t.Errorf("a line that was cut: %v %v\n%s", err, d.Warnings, d)
	}
}

// A rule at the end of a text without a newline counts where it can't be half of one.
func TestLastLine(t *testing.T) {
	for text, want := range map[string]int{
		pasted + "-A KUBE-NODEPORTS -p tcp -m tcp --dport 80 -j KUBE-SVC-X":            1,
		pasted + "-A KUBE-NODEPORTS -p tcp -m tcp --dport 80 -j KUBE-SVC":              0,
		pasted + "-A KUBE-NODEPORTS -p tcp -m tcp --dport 8":                           0,
		"*nat\n" + pasted + "-A KUBE-NODEPORTS -p tcp -m tcp --dport 80 -j KUBE-SVC-X": 0,
	} {
		d, err := Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		rules := 0
		if c := d.Tables[0].Chain("KUBE-NODEPORTS"); c != nil {
			rules = len(c.Rules)
		}
		if rules != want || warned(d.Warnings, "in the middle of this line") == (want == 1) {
			t.Errorf("%d rules, want %d: %v\n%s", rules, want, d.Warnings, text)
		}
	}
}

func warned(warnings []Warning, part string) bool {
	return slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(w.String(), part) })
}
