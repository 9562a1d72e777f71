package iptables

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

func parseFile(t testing.TB, name string) (*Dump, string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parseText(t, string(text)), string(text)
}

func parseText(t testing.TB, text string) *Dump {
	t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	d, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// parseRule parses one rule.
func parseRule(t testing.TB, line string) Rule {
	t.Helper()
	d := parseText(t, line)
	if len(d.Warnings) > 0 {
		t.Fatalf("%s: %v", line, d.Warnings)
	}
	return d.Tables[0].Chains[0].Rules[0]
}

// What iptables-save printed comes out as it went in.
func TestDumpsPrintAsTheyWere(t *testing.T) {
	for _, name := range []string{"testdata/kube-proxy-1.37-ipv4.txt", "testdata/kube-proxy-1.37-ipv6.txt"} {
		d, text := parseFile(t, name)
		if got := d.String(); got != text {
			t.Errorf("%s: %s", name, firstDifference(text, got))
		}
		if len(d.Warnings) > 0 {
			t.Errorf("%s: %v", name, d.Warnings)
		}
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return "want: " + a[i] + "\ngot:  " + strings.Join(b[min(i, len(b)):min(i+1, len(b))], "")
		}
	}
	return "more lines than there were"
}

// Rules that are spelled as people, older programs and kube-proxy itself spell them
// print as iptables-save prints them.
func TestSpellings(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"as kube-proxy writes it", `-A KUBE-SERVICES -m comment --comment "a/b:p cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-X`,
			`-A KUBE-SERVICES -d 172.30.0.41/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-X`},
		{"marks by operation", `-A M -j MARK --or-mark 0x4000`, `-A M -j MARK --set-xmark 0x4000/0x4000`},
		{"a mark taken off", `-A M -j MARK --xor-mark 0x4000`, `-A M -j MARK --set-xmark 0x4000/0x0`},
		{"a mark masked", `-A M -j MARK --and-mark 0xffffbfff`, `-A M -j MARK --set-xmark 0x0/0x4000`},
		{"a mark set", `-A M -j MARK --set-mark 0x1/0x2`, `-A M -j MARK --set-xmark 0x1/0x3`},
		{"ten digits", `-A S -m statistic --mode random --probability 0.1666666667 -j E`, `-A S -m statistic --mode random --probability 0.16666666651 -j E`},
		{"five digits, as before 1.18", `-A S -m statistic --mode random --probability 0.33333 -j E`, `-A S -m statistic --mode random --probability 0.33332999982 -j E`},
		{"negation behind the option", `-A S -s ! 10.0.0.0/8 -p ! tcp -i ! eth0 -j E`, `-A S ! -s 10.0.0.0/8 ! -i eth0 ! -p tcp -j E`},
		{"a port negated behind the option", `-A S -p tcp -m tcp --dport ! 80 -j E`, `-A S -p tcp -m tcp ! --dport 80 -j E`},
		{"long options", `-A S --source 10.0.0.1 --destination 10.0.0.2 --protocol udp --match udp --destination-port 53 --jump E`, `-A S -s 10.0.0.1/32 -d 10.0.0.2/32 -p udp -m udp --dport 53 -j E`},
		{"a dotted mask", `-A S -s 10.0.0.0/255.255.0.0 -j E`, `-A S -s 10.0.0.0/16 -j E`},
		{"a mask that is no prefix", `-A S -s 10.0.0.1/255.0.0.255 -j E`, `-A S -s 10.0.0.1/255.0.0.255 -j E`},
		{"ports without a module", `-A S -p tcp --dport 80 -j E`, `-A S -p tcp -m tcp --dport 80 -j E`},
		{"a range of ports", `-A S -p tcp -m tcp --sport 1024: --dport :79 -j E`, `-A S -p tcp -m tcp --sport 1024:65535 --dport 0:79 -j E`},
		{"a plain comment", `-A S -m comment --comment "plain" -j E`, `-A S -m comment --comment plain -j E`},
		{"a comment with quotes", `-A S -m comment --comment "it's \"so\" \\ so" -j E`, `-A S -m comment --comment "it\'s \"so\" \\ so" -j E`},
		{"an empty comment", `-A S -m comment --comment "" -j E`, `-A S -m comment --comment "" -j E`},
		{"an option in a comment", `-A S -m comment --comment "-j DROP" -j E`, `-A S -m comment --comment "-j DROP" -j E`},
		{"counters", `[12:3400] -A S -j E`, `[12:3400] -A S -j E`},
		{"counters as iptables -S -v has them", `-A S -c 12 3400 -j E`, `[12:3400] -A S -j E`},
		{"blanks and a note behind", `-A S -j E   >> [1] here`, `-A S -j E`},
		{"no target", `-A S -m comment --comment "only counts"`, `-A S -m comment --comment "only counts"`},
		{"goto", `-A S -g E`, `-A S -g E`},
		{"fragments", `-A S ! -f -j E`, `-A S ! -f -j E`},
		{"a module of others", `-A S -m physdev ! --physdev-is-bridged -m mark --mark 0x1 -j E`, `-A S -m physdev ! --physdev-is-bridged -m mark --mark 0x1 -j E`},
		{"two blanks in a module of others", `-A S -m nfacct --nfacct-name  counter -j DROP`, `-A S -m nfacct --nfacct-name  counter -j DROP`},
		{"flags of TCP", `-A S -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN SYN -j E`, `-A S -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN SYN -j E`},
		{"several ports", `-A S -p tcp -m multiport --dports 80,443 -j E`, `-A S -p tcp -m multiport --dports 80,443 -j E`},
		{"a set", `-A S -m set --match-set cali40all-ipam-pools src -m set ! --match-set cali40masq-ipam-pools dst -j E`, `-A S -m set --match-set cali40all-ipam-pools src -m set ! --match-set cali40masq-ipam-pools dst -j E`},
		{"every second packet", `-A S -m statistic --mode nth --every 2 --packet 0 -j E`, `-A S -m statistic --mode nth --every 2 --packet 0 -j E`},
		{"a target of others", `-A S -j LOG --log-prefix "it is -j DROP: " --log-level 4`, `-A S -j LOG --log-prefix "it is -j DROP: " --log-level 4`},
		{"states", `-A S -m conntrack ! --ctstate DNAT,ESTABLISHED,RELATED -j E`, `-A S -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j E`},
		{"the older module of states", `-A S -m state --state NEW -j E`, `-A S -m state --state NEW -j E`},
		{"a recent client", `-A S -m recent --name KUBE-SEP-X --rcheck --seconds 10800 --reap -j E`, `-A S -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-X --rsource -j E`},
		{"DNAT to ranges", `-A S -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90/100 --random --persistent`, `-A S -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90/100 --random --persistent`},
		{"DNAT to several, as before Linux 2.6.11", `-A S -j DNAT --to-destination 10.0.0.1 --to-destination 10.0.0.2`, `-A S -j DNAT --to-destination 10.0.0.1 --to-destination 10.0.0.2`},
		{"DNAT to a port", `-A S -p tcp -j DNAT --to-destination :8080`, `-A S -p tcp -j DNAT --to-destination :8080`},
		{"DNAT in IPv6", `-A S -p tcp -j DNAT --to-destination [fd00::1]:80`, `-A S -p tcp -j DNAT --to-destination [fd00::1]:80`},
		{"DNAT in IPv6 without a port", `-A S -j DNAT --to-destination fd00::1`, `-A S -j DNAT --to-destination fd00::1`},
		{"what an older iptables-save can't print", `-A S -p tcp -j DNAT [unsupported revision]`, `-A S -p tcp -j DNAT [unsupported revision]`},
		{"masquerade", `-A S -j MASQUERADE --to-ports 1024-2048 --random-fully`, `-A S -j MASQUERADE --to-ports 1024-2048 --random-fully`},
		{"reject", `-A S -p tcp -j REJECT --reject-with tcp-reset`, `-A S -p tcp -j REJECT --reject-with tcp-reset`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := parseRule(t, c.in)
			chain, _, _ := strings.Cut(strings.TrimPrefix(c.in[strings.Index(c.in, "-A "):], "-A "), " ")
			if got := r.Text(chain); got != c.out {
				t.Errorf("\nin:   %s\nwant: %s\ngot:  %s", c.in, c.out, got)
			}
			if again := parseRule(t, c.out); again.Text(chain) != c.out {
				t.Errorf("not stable: %s", again.Text(chain))
			}
		})
	}
}

// What kube-proxy's rules are made of is typed.
func TestRuleValues(t *testing.T) {
	r := parseRule(t, `-A KUBE-SVC-X ! -s 10.254.0.0/16 -d 10.96.1.3/32 -i eth+ -p tcp -m comment --comment "kinds/affinity:http cluster IP" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-Y --mask 255.255.255.255 --rsource -m addrtype ! --src-type LOCAL -m tcp --dport 80 -j KUBE-SEP-Y`)
	want := Rule{
		Line:        1,
		Source:      Address{Not: true, Prefix: netip.MustParsePrefix("10.254.0.0/16")},
		Destination: Address{Prefix: netip.MustParsePrefix("10.96.1.3/32")},
		In:          Interface{Name: "eth+"},
		Protocol:    Protocol{Name: "tcp"},
		Matches: []Match{
			Comment("kinds/affinity:http cluster IP"),
			Recent{Action: "rcheck", Seconds: 10800, Reap: true, Name: "KUBE-SEP-Y", Mask: "255.255.255.255"},
			AddrType{Source: "LOCAL", SourceNot: true},
			Ports{Module: "tcp", Destination: PortRange{Set: true, From: 80, To: 80}},
		},
		Target: Jump{To: "KUBE-SEP-Y"},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("want %+v\ngot  %+v", want, r)
	}
	dnat, _ := parseRule(t, `-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination [fd00::1]:8080 --persistent`).Target.(DNAT)
	if dnat.One() != netip.MustParseAddrPort("[fd00::1]:8080") || !dnat.Persistent {
		t.Errorf("DNAT is %+v", dnat)
	}
	if ranged, _ := parseRule(t, `-A S -j DNAT --to-destination 10.0.0.1-10.0.0.2`).Target.(DNAT); ranged.One().IsValid() {
		t.Errorf("a range of addresses is taken for one: %+v", ranged)
	}
}

// A listing as people paste it, with prompts, notes and prose, is read, and says
// what is wrong with it.
func TestListing(t *testing.T) {
	d, _ := parseFile(t, "testdata/dns-default-listing.txt")
	if !d.Listing || len(d.Tables) != 1 {
		t.Fatalf("%d tables, listing %t", len(d.Tables), d.Listing)
	}
	var got []string
	for _, w := range d.Warnings {
		got = append(got, w.String())
	}
	want := []string{
		"line 22: the command greps for KUBE-SEP-2GYGZVZWX5UVIMQH, which its output in lines 24 to 26 does not have; they are of KUBE-SEP-E7N2MVG6CMQUL637",
		"line 38: chain KUBE-SEP-2GYGZVZWX5UVIMQH is declared twice, first in line 23",
		"line 47: no rule; it is passed over",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("want %q\ngot  %q", want, got)
	}
	c := d.Tables[0].Chain("KUBE-SVC-BGNS3J6UB7MMLVDO")
	if len(c.Rules) != 12 || c.Rules[4].Note != ">> 5" {
		t.Errorf("%d rules, %+v", len(c.Rules), c.Rules)
	}
}

// Text around rules, and rules that are none, are named by their lines.
func TestOddLines(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"prose", "one\n\ntwo\n-A S -j E\nthree\n", "line 1: no rules until line 3; they are passed over|line 5: no rule; it is passed over"},
		{"an option without a value", "-A S -j\n", "line 1: not understood, and passed over: -j has no value: -A S -j"},
		{"an address that is none", "-A S -s x -j E\n", "line 1: not understood, and passed over: -s x is not an address: -A S -s x -j E"},
		{"no chain", "-A\n", "line 1: not understood, and passed over: -A names no chain: -A"},
		{"a dump cut short", "*nat\n:S - [0:0]\n-A S -j E\n", "line 4: the dump ends inside table nat: there is no COMMIT"},
		{"a table twice", "*nat\nCOMMIT\n*nat\nCOMMIT\n", "line 3: table nat is there a second time; its rules are taken together"},
		{"a line without an end", "*nat\n" + strings.Repeat("x", 1<<20) + "\nCOMMIT\n", "line 2: longer than 65536 bytes, which is no rule; it is passed over"},
		{"a listing as iptables -S has it", "-P INPUT ACCEPT\n-N KUBE-X\n-A INPUT -j KUBE-X\n", ""},
		{"commands for a prompt", "# iptables-save -t nat\n-A S -j E\n", ""},
		{"a grep of something else", "$ sudo iptables-save | grep 'KUBE-SEP-A'\n-A KUBE-SEP-A -j E\n-A KUBE-SEP-B -j E\n", "line 1: the command greps for KUBE-SEP-A, which its output in lines 3 to 3 does not have; they are of KUBE-SEP-B"},
		{"a grep of a pattern", "$ iptables-save | grep -v 'KUBE-SEP-A'\n-A KUBE-SEP-B -j E\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, w := range parseText(t, c.in).Warnings {
				got = append(got, w.String())
			}
			if strings.Join(got, "|") != c.want {
				t.Errorf("want %q\ngot  %q", c.want, strings.Join(got, "|"))
			}
		})
	}
}

// A million lines that are no rules are not a million warnings.
func TestWarningsAreBounded(t *testing.T) {
	d := parseText(t, strings.Repeat("-A S -j E\nx\n", 2*maxWarnings))
	if n := len(d.Warnings); n != maxWarnings+1 || d.Warnings[n-1].Text != "1000 more warnings like these" {
		t.Errorf("%d warnings, the last: %v", n, d.Warnings[n-1])
	}
}
