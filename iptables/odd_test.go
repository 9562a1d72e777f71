package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/view"
)

// endpoints are the chains of two.
const endpoints = `-A KUBE-SEP-A -s 10.0.0.1/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.0.0.2:80
`

// portalLine leads to a Service's chain.
const portalLine = `-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
`

// Rules that someone changed, cut off or made up: what they mean, and what is said of
// them.
func TestOddRules(t *testing.T) {
	for _, c := range []struct{ name, rules, view, warning string }{
		{
			"uneven shares",
			portalLine + endpoints + `-A KUBE-SVC-X -m statistic --mode random --probability 0.25 -j KUBE-SEP-A
-A KUBE-SVC-X -j KUBE-SEP-B`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.1:80=0.25 10.0.0.2:80=0.75", "",
		},
		{
			"a cascade without an end",
			portalLine + endpoints + `-A KUBE-SVC-X -m statistic --mode random --probability 0.25 -j KUBE-SEP-A`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.1:80=0.25",
			"line 1: 75 % of the connections to 10.96.0.1:80/tcp find no endpoint: the last rule of the cascade has a probability",
		},
		{
			"rules behind the end of a cascade",
			portalLine + endpoints + "-A KUBE-SVC-X -j KUBE-SEP-A\n-A KUBE-SVC-X -j KUBE-SEP-B",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.1:80=1", "",
		},
		{
			"goto, return and chains in between",
			portalLine + endpoints + `-A KUBE-SVC-X -p udp -j DROP
-A KUBE-SVC-X -g KUBE-Y
-A KUBE-SVC-X -j KUBE-SEP-B
-A KUBE-Y -j KUBE-Z
-A KUBE-Y -j KUBE-SEP-A
-A KUBE-Z -m statistic --mode random --probability 0.5 -j RETURN
-A KUBE-Z -j KUBE-SEP-B`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.1:80=0.5 10.0.0.2:80=0.5", "",
		},
		{
			"a circle",
			portalLine + "-A KUBE-SVC-X -j KUBE-SVC-X", "",
			"line 2: chains lead to each other in a circle, or 16 deep, by way of KUBE-SVC-X",
		},
		{
			"too many ways",
			"*nat\n" + portalLine + "-A KUBE-SVC-X -j KUBE-A0\n" + manyWays(12) + "COMMIT\n", "",
			"chains lead to each other in too many ways, among them ",
		},
		{
			"an endpoint's chain that is missing, told by the comment",
			portalLine + `-A KUBE-SVC-X -m comment --comment "a/b:p -> 10.0.0.7:80" -j KUBE-SEP-C`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.7:80=1",
			"line 2: chain KUBE-SEP-C is not in the dump; 10.0.0.7:80 is taken, as the comment says",
		},
		{
			"DNAT that an older iptables-save can't print, told by the comment",
			portalLine + `-A KUBE-SVC-X -m comment --comment "a/b:p -> 10.0.0.7:80" -j KUBE-SEP-C
-A KUBE-SEP-C -p tcp -m tcp -j DNAT [unsupported revision]`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.7:80=1",
			"line 3: -j DNAT [unsupported revision] in chain KUBE-SEP-C does not say where to; 10.0.0.7:80 is taken, as the comment of the rule before says",
		},
		{
			"DNAT to a range",
			portalLine + "-A KUBE-SVC-X -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80", "",
			"line 2: -j DNAT --to-destination 10.0.0.1-10.0.0.9:80 in chain KUBE-SVC-X can't be carried over; connections that get there have no endpoint",
		},
		{
			"a match that nobody knows",
			portalLine + endpoints + "-A KUBE-SVC-X -m limit --limit 5/min -j KUBE-SEP-A\n-A KUBE-SVC-X -j KUBE-SEP-B",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"line 5: -m limit --limit 5/min in chain KUBE-SVC-X is not understood; the rule is passed over",
		},
		{
			"a source that is neither pods nor a range",
			portalLine + endpoints + "-A KUBE-SVC-X -s 10.9.0.0/16 -j KUBE-SEP-A\n-A KUBE-SVC-X -j KUBE-SEP-B",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"line 5: -s 10.9.0.0/16 in chain KUBE-SVC-X is neither pods nor a source range; the rule is passed over",
		},
		{
			"an address with bits beyond its mask",
			strings.Replace(portalLine, "/32", "/3", 1) + endpoints + "-A KUBE-SVC-X -j KUBE-SEP-B",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"line 1: -d 10.96.0.1/3 is no network: 10.96.0.1 has bits beyond the first 3; the single address is taken",
		},
		{
			"a network as a frontend",
			strings.Replace(portalLine, "10.96.0.1/32", "10.96.0.0/16", 1), "",
			"line 1: -d 10.96.0.0/16 is no single address; the rule is passed over: a/b:p cluster IP",
		},
		{
			"a chain of an endpoint under another's name",
			portalLine + endpoints + `-A KUBE-SVC-X -m comment --comment "a/b:p -> 10.0.0.9:80" -j KUBE-SEP-B`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"line 4: chain KUBE-SEP-B leads to 10.0.0.2:80, but line 5 says it is 10.0.0.9:80",
		},
		{
			"an endpoint that has another name by its hash",
			portalLine + endpoints + `-A KUBE-SVC-X -j KUBE-SEP-B`,
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"line 4: chain KUBE-SEP-B leads to 10.0.0.2:80, whose chain for a/b:p would be " + EndpointChain("a/b:p", 6, netip.MustParseAddrPort("10.0.0.2:80")),
		},
		{
			"external IPs before 1.18",
			strings.ReplaceAll(`-A KUBE-SERVICES MATCH -j KUBE-MARK-MASQ
-A KUBE-SERVICES MATCH -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j KUBE-SVC-X
-A KUBE-SERVICES MATCH -m addrtype --dst-type LOCAL -j KUBE-SVC-X
-A KUBE-SVC-X -j KUBE-SEP-B
`, "MATCH", `-d 192.0.2.1/32 -p tcp -m comment --comment "a/b: external IP" -m tcp --dport 80`) + endpoints,
			"192.0.2.1:80/tcp a/b balanced 10.0.0.2:80=1 masquerade=all",
			"line 1: connections from the node itself to 192.0.2.1:80/tcp are not taken, unlike others",
		},
		{
			"a probability that is negated",
			portalLine + endpoints + "-A KUBE-SVC-X -m statistic --mode random ! --probability 0.25 -j KUBE-SEP-A\n-A KUBE-SVC-X -j KUBE-SEP-B",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.1:80=0.75 10.0.0.2:80=0.25", "",
		},
		{
			"marked to be dropped",
			portalLine + `-A KUBE-SVC-X -m comment --comment "a/b:p has no local endpoints" -j KUBE-MARK-DROP`,
			"10.96.0.1:80/tcp a/b:p dropped", "",
		},
		{
			"the policy Local before 1.15, with all endpoints on this node",
			endpoints + `-A KUBE-NODEPORTS -s 127.0.0.0/8 -p tcp -m comment --comment "a/b:p" -m tcp --dport 30080 -j KUBE-MARK-MASQ
-A KUBE-NODEPORTS -p tcp -m comment --comment "a/b:p" -m tcp --dport 30080 -j KUBE-XLB-X
-A KUBE-XLB-X -s 10.244.0.0/16 -j KUBE-SVC-X
-A KUBE-XLB-X -j KUBE-SEP-A
-A KUBE-SVC-X -j KUBE-SEP-A`,
			"0.0.0.0:30080/tcp a/b:p balanced 10.0.0.1:80=1 local masquerade=off-cluster", "",
		},
		{
			"a real table with a rule twice, which counts twice",
			"*nat\n" + portalLine + endpoints + strings.Repeat("-A KUBE-SVC-X -m statistic --mode random --probability 0.5 -j KUBE-SEP-A\n", 2) + "-A KUBE-SVC-X -j KUBE-SEP-B\nCOMMIT\n",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.1:80=0.75 10.0.0.2:80=0.25", "",
		},
		{
			"others' DNAT before kube-proxy's",
			"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.9.9.9\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment \"a/b:p has no endpoints\" -m tcp --dport 80 -j REJECT\nCOMMIT\n",
			"10.96.0.2:80/tcp a/b:p rejected",
			"line 3: this rule of PREROUTING may take connections before KUBE-SERVICES sees them: -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.9.9.9",
		},
		{
			"no way to kube-proxy's rules",
			"*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n" + portalLine + endpoints + "-A KUBE-SVC-X -j KUBE-SEP-B\nCOMMIT\n",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"line 2: PREROUTING does not lead to KUBE-SERVICES: connections that come that way do not reach the Services",
		},
		{
			"marks that mean something else",
			"*nat\n" + portalLine + endpoints + "-A KUBE-SVC-X -j KUBE-SEP-B\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n-A KUBE-POSTROUTING -m mark --mark 0x8000/0x8000 -j MASQUERADE\nCOMMIT\n",
			"10.96.0.1:80/tcp a/b:p balanced 10.0.0.2:80=1",
			"chain KUBE-POSTROUTING does not masquerade connections with the mark 0x4000, which KUBE-MARK-MASQ sets",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Interpret(parseText(t, c.rules))
			if text := viewText(got.View); text != c.view {
				t.Errorf("want %s\ngot  %s", c.view, text)
			}
			if c.warning != "" && !slices.ContainsFunc(got.Warnings, func(w Warning) bool { return strings.Contains(w.String(), c.warning) }) {
				t.Errorf("nothing says %q; there is %q", c.warning, got.Warnings)
			}
		})
	}
}

// manyWays are chains of which each leads to the next eight times.
func manyWays(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(fmt.Sprintf("-A KUBE-A%d -j KUBE-A%d\n", i, i+1), 8))
	}
	return b.String() + fmt.Sprintf("-A KUBE-A%d -j RETURN\n", n)
}

// viewText is a view in a line for each frontend.
func viewText(v view.View) string {
	var all []string
	for key, p := range maps.All(v) {
		text := fmt.Sprintf("%s %s %s", key, p.Service, p.Fate)
		for _, e := range p.Endpoints {
			text += fmt.Sprintf(" %s=%.9g", e.AddrPort, e.Share)
		}
		if p.LocalOnly {
			text += " local"
		}
		if p.Masquerade != view.None {
			text += " masquerade=" + p.Masquerade.String()
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
