package nftscript_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/iptables/nftscript"
)

// translated is a dump as a script, and its warnings.
func translated(t *testing.T, text string) (script string, warnings []string) {
	t.Helper()
	d, err := iptables.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	list, err := nftscript.Write(&b, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		warnings = append(warnings, w.String())
	}
	return b.String(), warnings
}

// dump has rules of the nat chain KUBE-SERVICES, and of others, which lead to two
// endpoints.
func dump(rules string) string {
	var b strings.Builder
	b.WriteString("*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SEP-A - [0:0]\n:KUBE-SEP-B - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n")
	b.WriteString("-A PREROUTING -j KUBE-SERVICES\n")
	b.WriteString("-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.1.0.1:80\n-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.1.0.2:80\n")
	return b.String() + rules + "\nCOMMIT\n"
}

// chain are the rules of a chain in a script.
func chain(t *testing.T, script, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?s)\tchain ` + name + ` \{\n(.*?)\t\}\n`).FindStringSubmatch(script)
	if found == nil {
		t.Fatalf("there is no chain %s in\n%s", name, script)
	}
	return strings.TrimSpace(strings.ReplaceAll(found[1], "\t\t", ""))
}

// Each kind of condition and target means in nft what it means in iptables.
func TestRules(t *testing.T) {
	for _, tc := range []struct{ rule, want, warning string }{
		{"-s 10.0.0.0/8 ! -d 10.1.0.1/32 -j RETURN", "ip saddr 10.0.0.0/8 ip daddr != 10.1.0.1 return", ""},
		{"-s 10.0.0.1/255.0.0.255 -j RETURN", "ip saddr & 255.0.0.255 == 10.0.0.1 return", ""},
		{"-s 0.0.0.0/0 -j RETURN", "return", ""},
		{"-i eth0 ! -o cali+ -j RETURN", `iifname "eth0" oifname != "cali*" return`, ""},
		{"-p udp -m udp --sport 53 ! --dport 1:1024 -j RETURN", "udp sport 53 udp dport != 1-1024 return", ""},
		{"-p sctp -m sctp --dport 3868 -j KUBE-SVC-A", "sctp dport 3868 jump KUBE-SVC-A", ""},
		{"! -p tcp -j RETURN", "meta l4proto != tcp return", ""},
		{"-p tcp -m tcp --dport 80 -g KUBE-SVC-A", "tcp dport 80 goto KUBE-SVC-A", ""},
		{"-p nonsense -j RETURN", `# left out, protocol "nonsense" has no translation: -p nonsense -j RETURN`, `line 11: protocol "nonsense" has no translation: left out: -p nonsense -j RETURN`},
		{"-p tcp -m tcp --dport 90:80 -j RETURN", "# left out, a range of ports that ends before it begins has no translation: -p tcp -m tcp --dport 90:80 -j RETURN",
			"line 11: a range of ports that ends before it begins has no translation: left out: -p tcp -m tcp --dport 90:80 -j RETURN"},
		{"-p tcp -m tcp --dport 80 -j REJECT", "# left out, -j REJECT has no place in table nat: -p tcp -m tcp --dport 80 -j REJECT",
			"line 11: -j REJECT has no place in table nat: left out: -p tcp -m tcp --dport 80 -j REJECT"},
		{"-p 47 -j RETURN", "meta l4proto 47 return", ""},
		{"-m addrtype --dst-type LOCAL -j RETURN", "fib daddr type local return", ""},
		{"-m addrtype ! --src-type LOCAL,BROADCAST -j RETURN", "fib saddr type != { local, broadcast } return", ""},
		{"-m addrtype --dst-type THROW -j RETURN", "# left out, type of address THROW has no translation: -m addrtype --dst-type THROW -j RETURN",
			"line 11: type of address THROW has no translation: left out: -m addrtype --dst-type THROW -j RETURN"},
		{"-m mark --mark 0x4000/0x4000 -j RETURN", "meta mark & 0x00004000 == 0x00004000 return", ""},
		{"-m mark ! --mark 0x1 -j RETURN", "meta mark != 0x00000001 return", ""},
		{"-j MARK --set-xmark 0x4000/0x4000", "meta mark set meta mark | 0x00004000", ""},
		{"-j MARK --set-xmark 0x4000/0x0", "meta mark set meta mark ^ 0x00004000", ""},
		{"-j MARK --set-xmark 0x0/0x4000", "meta mark set meta mark & 0xffffbfff", ""},
		{"-j MARK --set-xmark 0x7/0xffffffff", "meta mark set 0x00000007", ""},
		{"-j MARK --set-xmark 0x1/0xff", "meta mark set meta mark & 0xffffff00 ^ 0x00000001", ""},
		{"-m conntrack --ctstate NEW -j RETURN", "ct state new return", ""},
		{"-m state ! --state RELATED,ESTABLISHED -j RETURN", "ct state != { related, established } return", ""},
		{"-m conntrack ! --ctstate ESTABLISHED,SNAT,DNAT -j RETURN", "ct state != established ct status & (snat|dnat) == 0 return", ""},
		{"-m conntrack --ctstate ESTABLISHED,DNAT -j RETURN", "ct state established return\nct status & dnat != 0 return", ""},
		{"-m conntrack --ctstate ESTABLISHED,DNAT -j MARK --set-xmark 0x1/0x0", "# left out, a choice of conditions, and a target that may not be done twice: -m conntrack --ctstate ESTABLISHED,DNAT -j MARK --set-xmark 0x1/0x0",
			"line 11: a choice of conditions, and a target that may not be done twice: left out: -m conntrack --ctstate ESTABLISHED,DNAT -j MARK --set-xmark 0x1/0x0"},
		{"-m statistic --mode random ! --probability 0.25 -j RETURN", "numgen random mod 2147483648 >= 536870912 return", ""},
		{`-m comment --comment "a \"b\"" -j RETURN`, `return comment "a 'b'"`, ""},
		{"-m comment --comment counts", `counter comment "counts"`, ""},
		{"-m nfacct --nfacct-name x -j RETURN", "counter return", "line 11: an object of nfacct becomes a counter of its own: --nfacct-name x"},
		{"-p tcp -j DNAT --to-destination 10.1.0.1-10.1.0.4:80-90 --random --persistent", "meta l4proto tcp dnat to 10.1.0.1-10.1.0.4:80-90 random persistent", ""},
		{"-j DNAT --to-destination 10.1.0.1", "dnat to 10.1.0.1", ""},
		{"-p tcp -j MASQUERADE --to-ports 1024-2048 --random", "# left out, -j MASQUERADE has no place behind PREROUTING: -p tcp -j MASQUERADE --to-ports 1024-2048 --random",
			"line 11: -j MASQUERADE has no place behind PREROUTING: left out: -p tcp -j MASQUERADE --to-ports 1024-2048 --random"},
		{"-m set --match-set x dst -j RETURN", "# left out, -m set has no translation: -m set --match-set x dst -j RETURN",
			"line 11: -m set has no translation: left out: -m set --match-set x dst -j RETURN"},
		{"-j NFLOG --nflog-group 1", "# left out, -j NFLOG has no translation: -j NFLOG --nflog-group 1",
			"line 11: -j NFLOG has no translation: left out: -j NFLOG --nflog-group 1"},
		{"-i a;b -j RETURN", `# left out, interface "a;b" has no translation: -i a;b -j RETURN`, `line 11: interface "a;b" has no translation: left out: -i a;b -j RETURN`},
		{"-i eth0.5 -p tcp -m tcp --dport 80 -j KUBE-SVC-A;drop", `# left out, chain KUBE-SVC-A;drop is not one of kube-proxy's: -i eth0.5 -p tcp -m tcp --dport 80 -j KUBE-SVC-A;drop`,
			"line 11: chain KUBE-SVC-A;drop is not one of kube-proxy's: left out: -i eth0.5 -p tcp -m tcp --dport 80 -j KUBE-SVC-A;drop"},
		{"-j DOCKER", "# left out, chain DOCKER is not one of kube-proxy's: -j DOCKER",
			"line 11: chain DOCKER is not one of kube-proxy's: left out: -j DOCKER"},
	} {
		script, warnings := translated(t, dump("-A KUBE-SERVICES "+tc.rule))
		if got := chain(t, script, "KUBE-SERVICES"); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.rule, got, tc.want)
		}
		if got := strings.Join(warnings, "\n"); got != tc.warning {
			t.Errorf("%s: warnings %q, want %q", tc.rule, got, tc.warning)
		}
		loads(t, script)
	}
}

func loads(t *testing.T, script string) {
	t.Helper()
	if testing.Short() {
		return
	}
	ns := testbed.NewTestNamespace(t)
	if _, err := ns.RunInput(strings.NewReader(script), "nft", "-f", "-"); err != nil {
		t.Errorf("%v\n%s", err, script)
	}
}

// A cascade of probabilities becomes one random number where no packet comes back
// from an endpoint, and is tried rule by rule where one could.
func TestCascades(t *testing.T) {
	const to = "-A KUBE-SERVICES -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n"
	first := func(p string) string {
		return "-A KUBE-SVC-A -m statistic --mode random --probability " + p + " -j KUBE-SEP-A\n"
	}
	const rest = "-A KUBE-SVC-A -j KUBE-SEP-B\n"
	for _, tc := range []struct{ name, rules, want string }{
		{"even", to + first("0.50000000000") + rest, "numgen random mod 2 vmap { 0 : goto KUBE-SEP-A, 1 : goto KUBE-SEP-B }"},
		{"even, in five digits", to + first("0.33333") + first("0.5") + rest, "numgen random mod 3 vmap { 0 : goto KUBE-SEP-A, 1 : goto KUBE-SEP-A, 2 : goto KUBE-SEP-B }"},
		{"by hand", to + first("0.25") + rest, "# shares of 65536: none is off by more than 0 of itself\nnumgen random mod 65536 vmap { 0-16383 : goto KUBE-SEP-A, 16384-65535 : goto KUBE-SEP-B }"},
		{"a share that is small", to + first("0.0001") + rest, "# shares of 16777216: none is off by more than 0.00017 of itself\nnumgen random mod 16777216 vmap { 0-1677 : goto KUBE-SEP-A, 1678-16777215 : goto KUBE-SEP-B }"},
		{"without a rest, which goes on", to + first("0.5") + first("0.5") + "-A KUBE-SVC-A -j RETURN\n", "# shares of 65536: none is off by more than 0 of itself\nnumgen random mod 65536 vmap { 0-32767 : goto KUBE-SEP-A, 32768-49151 : goto KUBE-SEP-A }\nreturn"},
		{"packets of other protocols come, too", to + "-A KUBE-SERVICES -p udp -m udp --dport 80 -j KUBE-SVC-A\n" + first("0.5") + rest, "numgen random mod 2147483648 < 1073741824 jump KUBE-SEP-A\njump KUBE-SEP-B"},
		{"packets come back from an endpoint", to + "-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-MARK-MASQ\n" + rest, "numgen random mod 2147483648 < 1073741824 jump KUBE-MARK-MASQ\njump KUBE-SEP-B"},
		{"other conditions", to + "-A KUBE-SVC-A -s 10.0.0.1/32 -m statistic --mode random --probability 0.5 -j KUBE-SEP-A\n" + rest, "ip saddr 10.0.0.1 numgen random mod 2147483648 < 1073741824 jump KUBE-SEP-A\njump KUBE-SEP-B"},
	} {
		script, warnings := translated(t, dump(tc.rules))
		if got := chain(t, script, "KUBE-SVC-A"); got != tc.want || len(warnings) > 0 {
			t.Errorf("%s:\n%s\nwant\n%s\nwarnings %q", tc.name, got, tc.want, warnings)
		}
		loads(t, script)
	}
}

// Clients' lists become sets that keep them as long as the list is asked back.
func TestAffinity(t *testing.T) {
	script, warnings := translated(t, dump("-A KUBE-SERVICES -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n"+
		"-A KUBE-SVC-A -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j KUBE-SEP-A\n"+
		"-A KUBE-SVC-A -p tcp -m recent --set --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j DNAT --to-destination 10.1.0.1:80"))
	if len(warnings) > 0 || !strings.Contains(script, "set KUBE-SEP-A {\n\t\ttypeof ip saddr\n") {
		t.Errorf("%q\n%s", warnings, script)
	}
	want := "ip saddr @KUBE-SEP-A jump KUBE-SEP-A\nmeta l4proto tcp update @KUBE-SEP-A { ip saddr timeout 10800s }\nmeta l4proto tcp dnat to 10.1.0.1:80"
	if got := chain(t, script, "KUBE-SVC-A"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	loads(t, script)
}

// What is called from a built-in chain is; rules of others stay where they are, and
// with them a policy that they go with.
func TestBuiltInChains(t *testing.T) {
	const filter = `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-SERVICES -m mark --mark 0x1 -j ACCEPT
COMMIT
`
	script, warnings := translated(t, filter+dump("-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A"))
	for name, want := range map[string]string{
		"filter-FORWARD":       "type filter hook forward priority 0; policy accept;\njump filter-KUBE-SERVICES",
		"filter-OUTPUT":        "type filter hook output priority 0; policy drop;\nct state new jump filter-KUBE-SERVICES",
		"filter-KUBE-SERVICES": "ip daddr 10.96.0.1 tcp dport 80 reject\nmeta mark == 0x00000001 accept",
		"nat-PREROUTING":       "type nat hook prerouting priority -100; policy accept;\njump KUBE-SERVICES",
		"KUBE-SERVICES":        "ip daddr 10.96.0.2 tcp dport 80 jump KUBE-SVC-A",
	} {
		if got := chain(t, script, name); got != want {
			t.Errorf("chain %s is\n%s\nwant\n%s", name, got, want)
		}
	}
	const want = "rules of others, which stay in iptables: 1\nline 3: the policy DROP of FORWARD in filter stays in iptables, as rules of others do that it goes with (line 6)\nline 10: -j ACCEPT does not spare packets the rules of others, which stay in iptables"
	if got := strings.Join(warnings, "\n"); got != want {
		t.Errorf("warnings\n%s\nwant\n%s", got, want)
	}
	loads(t, script)
}

// Real dumps translate without a word, and load.
func TestRealDumps(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script, warnings := translated(t, string(text))
		for _, w := range warnings {
			if strings.Contains(w, "has no translation") {
				t.Errorf("%s: %s", file, w)
			}
		}
		loads(t, script)
	}
}

// Whatever a dump says, it is translated or named, and nothing else happens.
func FuzzWrite(f *testing.F) {
	// Short ones: the fuzzer takes long ones apart for minutes.
	for _, rule := range []string{
		"-p tcp -m statistic --mode random --probability 0 -j KUBE-SVC-A\n-A KUBE-SVC-A -j KUBE-SVC-A",
		"-p tcp -j KUBE-SVC-A\n-A KUBE-SVC-A -m statistic --mode random --probability 0.3 -j KUBE-SEP-A\n-A KUBE-SVC-A -j KUBE-SEP-B",
		"-d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n-A KUBE-SERVICES -d 10.96.0.2/32 -p udp -m udp --dport 80 -j KUBE-SVC-A",
		"! -s 10.0.0.1/255.0.0.255 -i eth+ -m conntrack --ctstate NEW,DNAT -m mark --mark 0x1/0x3 -m addrtype --dst-type LOCAL -j RETURN",
		"-m recent --rcheck --seconds 10 --name KUBE-SEP-A --rsource -j KUBE-SEP-A\n-A KUBE-SEP-A -m recent --set --name KUBE-SEP-A --rsource -j MARK --set-xmark 0x1/0x2",
	} {
		f.Add(dump("-A KUBE-SERVICES " + rule))
	}
	f.Add("-A KUBE-SERVICES -d 10.96.0.1/32 -p udp -m udp --dport 53 -j KUBE-SVC-A >> 1\n-A KUBE-SERVICES -d 10.96.0.1/32 -p udp -m udp --dport 53 -j KUBE-SVC-A")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := iptables.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		if _, err := nftscript.Write(&b, d); err != nil && b.Len() > 0 {
			t.Errorf("%v, and a script", err)
		}
	})
}
