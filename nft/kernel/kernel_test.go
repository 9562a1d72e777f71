package kernel_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

func open(t *testing.T) (*kernel.Conn, *testbed.Namespace) {
	t.Helper()
	ns := testbed.NewTestNamespace(t)
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, ns
}

func commit(t *testing.T, conn *kernel.Conn, tx nft.Transaction) {
	t.Helper()
	if err := conn.Commit(tx); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, ns *testbed.Namespace, name string, args ...string) string {
	t.Helper()
	out, err := ns.Run(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sample has one of each kind of object and statement.
func sample(f nft.Family) (*nft.Table, map[*nft.Set][]nft.Element) {
	addr := "10.0.0.1"
	prefixes := []string{"10.1.0.0/16", "10.2.0.0/24", "10.3.0.7/32"}
	if f == nft.IPv6 {
		addr, prefixes = "fd00::1", []string{"fd00:1::/48", "fd00:2::7/128"}
	}
	frontend := []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}
	slot := func(n uint32) []nft.Field { return append(frontend[:3:3], nft.Random{Mod: n}) }
	ips := &nft.Set{Name: "ips", Key: []nft.Field{nft.DestAddr{}}, Comment: "with a comment"}
	ranges := &nft.Set{Name: "ranges", Key: []nft.Field{nft.SourceAddr{}}, Interval: true}
	pairs := &nft.Set{Name: "pairs", Key: []nft.Field{nft.SourceAddr{}, nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}}
	verdicts := &nft.Set{Name: "verdicts", Key: frontend, Verdicts: true, Counted: true}
	data := &nft.Set{Name: "data", Key: slot(1 << 16), Data: []nft.Field{nft.DestAddr{}, nft.DestPort{}}, Behind: true}
	sources := &nft.Set{Name: "sources", Key: append(frontend[:3:3], nft.SourceAddr{}), Interval: true}
	ids := &nft.Set{Name: "ids", Key: frontend, Data: []nft.Field{nft.Priority{}}}
	known := &nft.Set{Name: "known", Key: []nft.Field{nft.Priority{}, nft.DestAddr{}}}
	buckets := &nft.Set{Name: "buckets", Key: []nft.Field{nft.Priority{}}, Burst: 7}
	remembered := &nft.Set{Name: "remembered", Key: []nft.Field{nft.SourceAddr{}, nft.Priority{}}, Data: data.Data, Dynamic: true, Size: 1000}
	clients := &nft.Set{Name: "clients", Key: []nft.Field{nft.SourceAddr{}}, Dynamic: true, Size: 65535}
	many := make([]string, 2000) // several messages
	for i := range many {
		many[i] = []string{"end", "two"}[i%2]
	}
	rule := func(comment string, statements ...nft.Statement) nft.Rule {
		return nft.Rule{Statements: statements, Comment: comment}
	}
	var from []nft.Rule
	for bits := 1; bits <= 8*f.AddrLen(); bits++ {
		from = append(from, rule("", nft.From{Prefix: netip.PrefixFrom(netip.MustParseAddr(addr), bits).Masked()}, nft.Return{}))
	}
	t := &nft.Table{
		Family: f, Name: "sample", Comment: "a sample", Sets: []*nft.Set{ips, ranges, pairs, verdicts, data, sources, ids, known, buckets, remembered, clients},
		Chains: []*nft.Chain{
			{Name: "input", Base: &nft.Base{Type: "filter", Hook: nft.Input, Priority: -10}, Rules: []nft.Rule{
				rule("", nft.NewConnection{}, nft.Jump{Chain: "refuse"})}},
			{Name: "to", Base: &nft.Base{Type: "nat", Hook: nft.Prerouting, Priority: -105}, Rules: []nft.Rule{
				rule("only from outside", nft.InSet{Key: ips.Key, Set: "ips"}, nft.InSet{Key: ranges.Key, Set: "ranges", Not: true}, nft.Mark{Bits: 0x1000}),
				rule("", nft.Dispatch{Key: frontend, Map: "verdicts"})}},
			{Name: "from", Base: &nft.Base{Type: "nat", Hook: nft.Postrouting, Priority: 95}, Rules: []nft.Rule{
				rule("", nft.Marked{Bits: 0x1000}, nft.Mark{Bits: 0x1000, Flip: true}, nft.Masquerade{}),
				rule("", nft.Translated{}, nft.InSet{Key: pairs.Key, Set: "pairs"}, nft.Masquerade{})}},
			{Name: "refuse", Rules: []nft.Rule{rule("", nft.InSet{Key: ips.Key, Set: "ips"}, nft.Reject{})}},
			{Name: "source", Rules: []nft.Rule{
				rule("", nft.FromNode{}, nft.Goto{Chain: "refuse"}),
				rule("", nft.FromNode{Not: true}, nft.Incoming{Name: "cni0"}, nft.Drop{}),
				rule("", nft.Incoming{Name: "cali", Prefix: true, Not: true}, nft.Drop{}),
				rule("", nft.InSet{Key: sources.Key, Set: "sources", Not: true}, nft.Drop{})}},
			{Name: "sticky", Rules: []nft.Rule{
				rule("", nft.SetPriority{Key: frontend, Map: "ids"}),
				rule("", nft.Transport{Protocol: 132}, nft.TranslateTo{Key: remembered.Key, Map: "remembered"}),
				rule("", nft.SetPriority{}),
				rule("", nft.Limit{Rate: 7}, nft.Trace{})}},
			{Name: "learn", Rules: []nft.Rule{
				rule("", nft.Prioritized{Bits: 0xff << 20}, nft.ToNode{Not: true}, nft.Return{}),
				rule("", nft.InSet{Key: known.Key, Set: "known"}, nft.InSet{Key: buckets.Key, Set: "buckets"}, nft.ToNode{}, nft.Drop{})}},
			{Name: "end", Rules: []nft.Rule{
				rule("hairpin", nft.From{Prefix: netip.PrefixFrom(netip.MustParseAddr(addr), 8*f.AddrLen())}, nft.Jump{Chain: "refuse"}),
				rule("", nft.Remember{Map: "clients", Timeout: 3 * time.Hour, Key: clients.Key}),
				rule("ns/svc:dns", nft.Translate{Protocol: 17, To: netip.AddrPortFrom(netip.MustParseAddr(addr), 5353)})}},
			{Name: "six", Rules: []nft.Rule{
				rule("", nft.InSet{Key: clients.Key, Set: "clients"}, nft.Goto{Chain: "end"}),
				rule("its endpoints", nft.Spread{Over: []string{"end", "two", "end"}}),
				rule("", nft.Spread{Over: many}),
				rule("", nft.Goto{Chain: "end"})}},
			{Name: "choice", Rules: []nft.Rule{rule("", nft.Spread{Over: []string{"end", "two", "end"}})}},
			{Name: "choice2", Rules: []nft.Rule{rule("", nft.Spread{Over: []string{"end", "two"}})}},
			{Name: "from-where", Rules: from},
			{Name: "two", Rules: []nft.Rule{
				rule("", nft.TranslateTo{Key: slot(2), Map: "data"}),
				rule("", nft.Counter{}, nft.Drop{})}},
		},
	}
	ip := string(netip.MustParseAddr(addr).AsSlice())
	key := ip + "\x11\x00\x00\x00\x00\x35\x00\x00"
	elements := map[*nft.Set][]nft.Element{
		ips:      {{Key: ip, Comment: "an element's comment"}},
		pairs:    {{Key: ip + key}},
		verdicts: {{Key: key, Goto: "two", Comment: "ns/svc:dns"}},
		ids:      {{Key: key, Data: number(0x12345678)}},
		known:    {{Key: number(0x10002) + ip}},
		buckets:  {{Key: number(0x10002), Data: "\x00\x00\x00\x01\x00\x00\x00\x02"}},
		data:     {{Key: key + number(0), Data: ip + "\x14\xe9\x00\x00"}, {Key: key + number(1), Data: ip + "\x14\xea\x00\x00"}},
	}
	for i, p := range prefixes {
		elements[ranges] = append(elements[ranges], nft.Range(netip.MustParsePrefix(p)))
		if i == 1 {
			continue // more than two are listed in the order in which they came
		}
		first, last := nft.Bounds(netip.MustParsePrefix(p))
		elements[sources] = append(elements[sources], nft.Element{Key: key + first, KeyEnd: key + last})
	}
	if f == nft.IPv4 {
		// nft 1.0.6 lists the same for IPv6, but aborts when it loads it.
		t.Chains[len(t.Chains)-1].Rules = append([]nft.Rule{rule("", nft.Remember{
			Map: "remembered", Timeout: 25*time.Hour + 30*time.Second,
			Key: []nft.Field{nft.SourceAddr{}, nft.Priority{}}, Data: data.Data})}, t.Chains[len(t.Chains)-1].Rules...)
	}
	return t, elements
}

func number(n uint32) string { return string(binary.NativeEndian.AppendUint32(nil, n)) }

func fill(t *nft.Table, elements map[*nft.Set][]nft.Element) nft.Transaction {
	var tx nft.Transaction
	tx.AddTable(t)
	for _, s := range t.Sets {
		for _, e := range elements[s] {
			tx = append(tx, nft.Op{Table: t, Set: s, Element: e})
		}
	}
	return tx
}

// The comparison sees each kind of difference.
func TestDifferencesShow(t *testing.T) {
	table, elements := sample(nft.IPv4)
	conn, ns := open(t)
	commit(t, conn, fill(table, elements))
	chain := func(name string) bool {
		held, err := conn.Read(table.ID())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range table.Chains {
			if c.Name == name {
				return c.SameBase(held.Chains[name]) && c.SameRules(nft.IPv4, held.Chains[name])
			}
		}
		t.Fatalf("no chain %s", name)
		return false
	}
	for _, command := range []string{
		"flush chain ip sample two; add rule ip sample two counter drop; add rule ip sample two counter drop",
		"add rule ip sample refuse drop",
		"flush chain ip sample input",
		"flush chain ip sample from; add rule ip sample from meta mark & 0x2000 != 0 meta mark set meta mark ^ 0x1000 masquerade fully-random",
		"add rule ip sample to accept",
		"flush chain ip sample choice; add rule ip sample choice numgen random mod 3 vmap { 0 : goto two, 1 : goto two, 2 : goto end }",
		"flush chain ip sample choice2; add rule ip sample choice2 numgen random mod 2 vmap { 0 : goto end }",
	} {
		name := strings.Fields(command)[4]
		name = strings.TrimSuffix(name, ";")
		if !chain(name) {
			t.Fatalf("chain %s differs before %q", name, command)
		}
		run(t, ns, "nft", command)
		if chain(name) {
			t.Errorf("chain %s is taken for ours after %q", name, command)
		}
	}
}

func TestARefusedElementIsNamed(t *testing.T) {
	table, _ := sample(nft.IPv4)
	conn, _ := open(t)
	var tx nft.Transaction
	tx.AddTable(table)
	commit(t, conn, tx)
	before, err := conn.Generation()
	if err != nil {
		t.Fatal(err)
	}
	verdicts := table.Set("verdicts")
	tx = nil
	for i := range 3000 { // several messages
		e := nft.Element{Goto: "two"}
		key := []byte{10, 0, byte(i / 250), byte(i % 250), 6, 0, 0, 0, 0, 80, 0, 0}
		e.Key = string(key)
		if i == 2345 {
			e.Goto = "nowhere"
		}
		tx = append(tx, nft.Op{Table: table, Set: verdicts, Element: e})
	}
	err = conn.Commit(tx)
	var refused *kernel.OpError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want an OpError", err)
	}
	const want = "add element ip sample verdicts { 10.0.9.95 . tcp . 80 : goto nowhere }: no such file or directory"
	if err.Error() != want || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if after, _ := conn.Generation(); after != before {
		t.Errorf("generation %d became %d: something of a refused transaction happened", before, after)
	}
	if left, err := conn.Elements(table.ID(), "verdicts"); err != nil || len(left) != 0 {
		t.Errorf("%d elements, error %v: want none", len(left), err)
	}
	// The connection goes on.
	commit(t, conn, tx[:2345])
	if left, err := conn.Elements(table.ID(), "verdicts"); err != nil || len(left) != 2345 {
		t.Errorf("%d elements, error %v: want 2345", len(left), err)
	}
}

func TestALargeTransactionIsWhole(t *testing.T) {
	table, _ := sample(nft.IPv6)
	conn, _ := open(t)
	tx := fill(table, nil)
	const n = 100_000
	data := table.Set("data")
	key := string(netip.MustParseAddr("fd00::1").AsSlice()) + "\x06\x00\x00\x00\x00\x50\x00\x00"
	for i := range uint32(n) {
		tx = append(tx, nft.Op{Table: table, Set: data, Element: nft.Element{Key: key + number(i), Data: key[:16] + "\x00\x50\x00\x00"}})
	}
	commit(t, conn, tx)
	held, err := conn.Read(table.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(held.Sets["data"].Elements); got != n {
		t.Errorf("the kernel has %d elements, want %d", got, n)
	}
}

func TestNothingIsSentForNothing(t *testing.T) {
	conn, _ := open(t)
	before, err := conn.Generation()
	if err != nil {
		t.Fatal(err)
	}
	commit(t, conn, nil)
	if after, _ := conn.Generation(); after != before || conn.Stats() != (kernel.Stats{}) {
		t.Errorf("generation %d -> %d, %+v", before, after, conn.Stats())
	}
}

func TestReadingWhatIsNotThere(t *testing.T) {
	conn, _ := open(t)
	held, err := conn.Read(nft.ID{Family: nft.IPv4, Name: "none"})
	if held != nil || err != nil {
		t.Errorf("got %v, %v: want neither", held, err)
	}
}

// Tables of others, even of our names in other families, are not read, and
// nothing of theirs changes.
func TestOthersAreLeftAlone(t *testing.T) {
	table, elements := sample(nft.IPv4)
	conn, ns := open(t)
	const theirs = `
table inet sample { chain two { accept; }; set ips { type ipv4_addr; elements = { 1.2.3.4 } }; }
table ip other { chain two { drop; }; map data { type ipv4_addr : ipv4_addr; elements = { 1.2.3.4 : 5.6.7.8 } }; }`
	if _, err := ns.RunInput(strings.NewReader(theirs), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	before := run(t, ns, "nft", "list", "ruleset")
	commit(t, conn, fill(table, elements))
	held, err := conn.Read(table.ID())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "ours", table, held)
	if len(held.Chains) != len(table.Chains) || len(held.Sets) != len(table.Sets) {
		t.Errorf("read %d chains and %d sets, wrote %d and %d", len(held.Chains), len(held.Sets), len(table.Chains), len(table.Sets))
	}
	commit(t, conn, nft.Transaction{{Verb: nft.Delete, Table: table}})
	if after := run(t, ns, "nft", "list", "ruleset"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
