package nft

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", 61 * time.Second: "1m1s", 3 * time.Hour: "3h",
		24 * time.Hour: "1d", 25*time.Hour + 30*time.Second: "1d1h30s", 86399 * time.Second: "23h59m59s",
		400 * 24 * time.Hour:   "400d",
		999 * time.Millisecond: "0s", // the field is whole seconds
	} {
		if got := DurationText(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

// number is one in the byte order of this machine, as in registers.
func number(v uint32) string { return string(binary.NativeEndian.AppendUint32(nil, v)) }

// Each is as nft 1.0.6 lists it.
func TestDatatypes(t *testing.T) {
	for _, tc := range []struct {
		family Family
		field  Field
		key    string
		want   string
	}{
		{IPv4, SourceAddr{}, "\x0a\x00\x00\x01", "10.0.0.1"},
		{IPv6, DestAddr{}, addrKey("fd00:0:0:1::1"), "fd00:0:0:1::1"},
		{IPv6, DestAddr{}, addrKey("fd00::"), "fd00::"},
		{IPv4, SourceAddr{}, "\xff\xff\xff\xff", "255.255.255.255"},
		{IPv6, DestAddr{}, addrKey("::1"), "::1"},
		{IPv4, L4Proto{}, "\x06\x00\x00\x00", "tcp"},
		{IPv4, L4Proto{}, "\x11\x00\x00\x00", "udp"},
		{IPv4, L4Proto{}, "\x84\x00\x00\x00", "sctp"},
		{IPv4, L4Proto{}, "\x01\x00\x00\x00", "1"},
		{IPv4, DestPort{}, "\x00\x50\x00\x00", "80"},
		{IPv4, DestPort{}, "\xff\xff\x00\x00", "65535"},
		{IPv4, Random{Mod: 7}, number(4294967295), "4294967295"},
		{IPv4, Random{Mod: 7}, number(3), "3"},
		{IPv4, Priority{}, number(0), "none"},
		{IPv4, Priority{}, number(0x0001000a), "1:a"},
		{IPv4, Priority{}, number(0xfffffffe), "ffff:fffe"},
		{IPv4, Priority{}, number(0xffffffff), "root"},
		{IPv4, DestPort{}, "", ""},
		{IPv4, DestPort{}, "\x00\x50", "0x0050"}, // not as long as registers are
		{IPv4, SourceAddr{}, addrKey("::1"), "0x00000000000000000000000000000001"},
	} {
		if got := printKey(tc.family, []Field{tc.field}, tc.key); got != tc.want {
			t.Errorf("%x of %T is %q, want %q", tc.key, tc.field, got, tc.want)
		}
	}
	key := addrKey("fd00::1") + "\x11\x00\x00\x00" + "\x00\x35\x00\x00" + number(2)
	fields := []Field{DestAddr{}, L4Proto{}, DestPort{}, Random{Mod: 3}}
	if got, want := printKey(IPv6, fields, key), "fd00::1 . udp . 53 . 2"; got != want {
		t.Errorf("the key is %q, want %q", got, want)
	}
	if got := KeyLen(IPv6, fields); got != len(key) {
		t.Errorf("the key is %d bytes long, want %d", got, len(key))
	}
	if a, b := FieldLen(IPv4, DestPort{}), FieldLen(IPv6, SourceAddr{}); a != 2 || b != 16 {
		t.Errorf("a port is %d bytes, an address %d", a, b)
	}
	// nft's numbers: 8 for an IPv6 address, 12 a protocol, 13 a port, 19 a mark.
	if got, want := typeID(IPv6, fields), uint32(8<<18|12<<12|13<<6|19); got != want {
		t.Errorf("the type is %#x, want %#x", got, want)
	}
}

func TestElementComments(t *testing.T) {
	long := strings.Repeat("x", MaxElementComment)
	for _, comment := range []string{"", "ns/web:http", long} {
		if got := ElementComment(ElementUserData(nil, comment)); got != comment {
			t.Errorf("the comment is %q, want %q", got, comment)
		}
	}
	if got := ElementComment(append([]byte{1, 2, 'a', 'b'}, ElementUserData(nil, "c")...)); got != "c" {
		t.Errorf("behind something else the comment is %q", got)
	}
	// What others wrote must not take the program down.
	for _, b := range [][]byte{
		nil, {0}, {0, 0}, {0, 1}, {0, 3, 'a'}, {1, 0}, {1, 5, 'a', 0},
		append([]byte{1, 254}, make([]byte, 254)...), append([]byte{1, 255}, make([]byte, 255)...),
	} {
		if got := ElementComment(b); got != "" {
			t.Errorf("the comment of %x is %q", b, got)
		}
	}
	if got := ElementComment(append([]byte{0, 255}, bytes.Repeat([]byte("x"), 255)...)); len(got) != 254 {
		t.Errorf("the comment is %d bytes long", len(got))
	}
}

func small() Contents {
	frontend := []Field{DestAddr{}, L4Proto{}, DestPort{}}
	services := &Set{Name: "services", Key: frontend, Verdicts: true, Comment: "all"}
	slots := &Set{Name: "slots", Key: []Field{DestAddr{}, Random{Mod: 2}}, Data: []Field{DestAddr{}, DestPort{}}}
	ranges := &Set{Name: "ranges", Key: []Field{SourceAddr{}}, Interval: true}
	kept := &Set{Name: "kept", Key: []Field{SourceAddr{}}, Data: []Field{DestAddr{}}, Dynamic: true, Size: 10}
	return Contents{
		Table: &Table{
			Family: IPv4, Name: "t", Comment: "ours",
			Sets: []*Set{services, slots, ranges, kept},
			Chains: []*Chain{
				{Name: "in", Base: &Base{Type: "nat", Hook: Prerouting, Priority: -100}, Rules: []Rule{
					{Statements: []Statement{InSet{Key: []Field{SourceAddr{}}, Set: "ranges", Not: true}, Counter{}, Drop{}}, Comment: "out"},
					{Statements: []Statement{Dispatch{Key: frontend, Map: "services"}}},
				}},
				{Name: "web", Rules: []Rule{
					{Statements: []Statement{Remember{Map: "kept", Key: []Field{SourceAddr{}}, Data: []Field{DestAddr{}}, Timeout: 90 * time.Second}}},
					{Statements: []Statement{Jump{"a"}, Goto{"b"}}},
				}},
			},
		},
		Elements: map[*Set][]Element{
			services: {{Key: addrKey("10.96.0.1") + "\x06\x00\x00\x00\x00\x50\x00\x00", Goto: "web", Comment: "ns/web"}},
			slots: {
				{Key: addrKey("10.96.0.1") + number(0), Data: addrKey("10.0.0.1") + "\x1f\x90\x00\x00"},
				{Key: addrKey("10.96.0.1") + number(1), Data: addrKey("10.0.0.2") + "\x1f\x90\x00\x00"},
			},
			ranges: {{Key: addrKey("10.0.0.0"), KeyEnd: addrKey("10.255.255.255")}},
		},
	}
}

func TestTableText(t *testing.T) {
	const want = `table ip t {
	comment "ours"
	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		comment "all"
		elements = { 10.96.0.1 . tcp . 80 comment "ns/web" : goto web }
	}

	map slots {
		typeof ip daddr . numgen random mod 2 : ip daddr . th dport
		elements = { 10.96.0.1 . 0 : 10.0.0.1 . 8080,
			     10.96.0.1 . 1 : 10.0.0.2 . 8080 }
	}

	set ranges {
		typeof ip saddr
		flags interval
		elements = { 10.0.0.0/8 }
	}

	map kept {
		typeof ip saddr : ip daddr
		size 10
		flags dynamic,timeout
	}

	chain in {
		type nat hook prerouting priority -100; policy accept;
		ip saddr != @ranges counter drop comment "out"
		ip daddr . meta l4proto . th dport vmap @services
	}

	chain web {
		update @kept { ip saddr timeout 1m30s : ip daddr }
		jump a goto b
	}
}
`
	c := small()
	if got := c.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	var script strings.Builder
	if err := WriteScript(&script, c); err != nil {
		t.Fatal(err)
	}
	if got := script.String(); got != "# For nft 1.0.6 or newer\nadd table ip t\ndelete table ip t\n\n"+want {
		t.Errorf("the script is\n%s", got)
	}
	if got := strings.Join(c.Chains[1].Leads(), " "); got != "a b" {
		t.Errorf("the chain leads to %s", got)
	}
	if c.Set("ranges") != c.Sets[2] || c.Set("none") != nil {
		t.Error("the sets are not found by name")
	}
}

func TestTransactionText(t *testing.T) {
	c := small()
	chain := &Chain{Name: "more", Rules: []Rule{{Statements: []Statement{Reject{}}}}}
	var tx Transaction
	tx.AddTable(c.Table)
	tx.AddChain(c.Table, chain)
	tx = append(tx, Op{Verb: Add, Table: c.Table, Set: c.Sets[2], Element: c.Elements[c.Sets[2]][0]})
	contents := tx.Contents()
	tx.ReplaceRules(c.Table, chain)
	tx = append(tx,
		Op{Verb: Delete, Table: c.Table, Set: c.Sets[2], Element: c.Elements[c.Sets[2]][0]},
		Op{Verb: Delete, Table: c.Table, Set: c.Sets[2]},
		Op{Verb: Delete, Table: c.Table, Chain: c.Chains[0]},
		Op{Verb: Delete, Table: c.Table})
	const want = `add table ip t { comment "ours"; }
add map ip t services { type ipv4_addr . inet_proto . inet_service : verdict; comment "all"; }
add map ip t slots { typeof ip daddr . numgen random mod 2 : ip daddr . th dport; }
add set ip t ranges { typeof ip saddr; flags interval; }
add map ip t kept { typeof ip saddr : ip daddr; size 10; flags dynamic,timeout; }
add chain ip t in { type nat hook prerouting priority -100; policy accept; }
add chain ip t web
add rule ip t in ip saddr != @ranges counter drop comment "out"
add rule ip t in ip daddr . meta l4proto . th dport vmap @services
add rule ip t web update @kept { ip saddr timeout 1m30s : ip daddr }
add rule ip t web jump a goto b
add chain ip t more
add rule ip t more reject
add element ip t ranges { 10.0.0.0/8 }
flush chain ip t more
add rule ip t more reject
delete element ip t ranges { 10.0.0.0/8 }
delete set ip t ranges
delete chain ip t in
delete table ip t
`
	if got := tx.String(); got != want {
		t.Errorf("the transaction is\n%s\nwant\n%s", got, want)
	}
	if len(contents) != 1 || len(contents[0].Chains) != 3 || len(contents[0].Elements[c.Sets[2]]) != 1 || len(c.Chains) != 2 {
		t.Errorf("the transaction makes %v", contents)
	}
}

// The document is for programs: lists are there when they are empty.
func TestDocument(t *testing.T) {
	got, err := json.Marshal(Document(small()))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"tables":[{"family":"ip","name":"t","comment":"ours","sets":[` +
		`{"name":"services","kind":"map","comment":"all","key":["ip daddr","meta l4proto","th dport"],"elements":[{"key":["10.96.0.1","tcp","80"],"goto":"web","comment":"ns/web"}]},` +
		`{"name":"slots","kind":"map","key":["ip daddr","numgen random mod 2"],"data":["ip daddr","th dport"],"elements":[{"key":["10.96.0.1","0"],"data":["10.0.0.1","8080"]},{"key":["10.96.0.1","1"],"data":["10.0.0.2","8080"]}]},` +
		`{"name":"ranges","kind":"set","key":["ip saddr"],"interval":true,"elements":[{"key":["10.0.0.0/8"]}]},` +
		`{"name":"kept","kind":"map","key":["ip saddr"],"data":["ip daddr"],"elements":[]}],"chains":[` +
		`{"name":"in","type":"nat","hook":"prerouting","priority":-100,"rules":["ip saddr != @ranges counter drop comment \"out\"","ip daddr . meta l4proto . th dport vmap @services"]},` +
		`{"name":"web","rules":["update @kept { ip saddr timeout 1m30s : ip daddr }","jump a goto b"]}]}]}`
	if string(got) != want {
		t.Errorf("the document is\n%s\nwant\n%s", got, want)
	}
	if got, _ := json.Marshal(Document()); string(got) != `{"tables":[]}` {
		t.Errorf("an empty document is %s", got)
	}
}
