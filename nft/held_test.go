package nft

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// held is a rule as the kernel lists it: each expression an element of a list.
func held(t *testing.T, r Rule, f Family) HeldRule {
	t.Helper()
	var list attributeList
	for _, e := range r.Program(f) {
		b, err := e.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		list.put(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, b)
	}
	return HeldRule{Program: list, UserData: r.UserData()}
}

func rule(comment string, statements ...Statement) Rule {
	return Rule{Statements: statements, Comment: comment}
}

var someRules = []Rule{
	rule("", Drop{}), rule("", Reject{}), rule("c", Drop{}), rule("d", Drop{}), rule("", Counter{}), rule("", Counter{}, Drop{}),
	rule("", InSet{Key: []Field{SourceAddr{}}, Set: "a"}), rule("", InSet{Key: []Field{SourceAddr{}}, Set: "a", Not: true}),
	rule("", InSet{Key: []Field{SourceAddr{}}, Set: "b"}), rule("", InSet{Key: []Field{DestAddr{}}, Set: "a"}),
	rule("", InSet{Key: []Field{SourceAddr{}, L4Proto{}}, Set: "a"}),
	rule("", Dispatch{Key: []Field{Random{Mod: 2}}, Map: "a"}), rule("", Dispatch{Key: []Field{Random{Mod: 3}}, Map: "a"}),
	rule("", TranslateTo{Key: []Field{DestAddr{}}, Map: "a"}), rule("", TranslateTo{Key: []Field{DestAddr{}}, Map: "b"}),
	rule("", Jump{"a"}), rule("", Goto{"a"}), rule("", Jump{"b"}), rule("", Masquerade{}),
	rule("", Mark{Bits: 1}), rule("", Mark{Bits: 1, Flip: true}), rule("", Mark{Bits: 2}), rule("", Marked{Bits: 1}), rule("", Marked{Bits: 2}),
	rule("", Transport{6}), rule("", Transport{17}), rule("", Incoming{Name: "veth"}), rule("", Incoming{Name: "veth", Prefix: true}),
	rule("", Incoming{Name: "veth", Not: true}), rule("", Incoming{Name: "vetx"}),
	rule("", FromNode{}), rule("", FromNode{Not: true}), rule("", NewConnection{}), rule("", Translated{}),
	rule("", SetPriority{}), rule("", SetPriority{Key: []Field{SourceAddr{}}, Map: "a"}),
	rule("", Remember{Map: "a", Key: []Field{Priority{}, SourceAddr{}}, Data: []Field{DestAddr{}}, Timeout: 5e9}),
	rule("", Remember{Map: "a", Key: []Field{Priority{}, SourceAddr{}}, Data: []Field{DestAddr{}}, Timeout: 6e9}),
	rule("", Remember{Map: "b", Key: []Field{SourceAddr{}}, Data: []Field{DestAddr{}, DestPort{}}, Timeout: 6e9}),
	rule("", Drop{}, Drop{}), {},
}

// A rule matches itself alone: any other one that it matched would stay in the
// kernel in its place.
func TestRulesMatchOnlyThemselves(t *testing.T) {
	for _, f := range []Family{IPv4, IPv6} {
		for i, r := range someRules {
			for j, other := range someRules {
				if got := r.matches(f, held(t, other, f)); got != (i == j) {
					t.Errorf("%s: %q matches the kernel's %q: %t", f, r.Text(f), other.Text(f), got)
				}
			}
		}
	}
	if r := rule("", InSet{Key: []Field{SourceAddr{}}, Set: "a"}); r.matches(IPv4, held(t, r, IPv6)) {
		t.Error("a rule matches one of the other family")
	}
}

// What the kernel fills in or leaves out when it lists a rule is no difference.
func TestRulesMatchAsTheKernelListsThem(t *testing.T) {
	nested := func(name string, attributes ...func(*attributeList)) []byte {
		var data, all, list attributeList
		for _, put := range attributes {
			put(&data)
		}
		all.put(unix.NFTA_EXPR_NAME, []byte(name+"\x00"))
		all.put(unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, data)
		list.put(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, all)
		return list
	}
	put32 := func(typ uint16, v uint32) func(*attributeList) {
		return func(l *attributeList) { l.put32(typ, v) }
	}
	text := func(typ uint16, v string) func(*attributeList) {
		return func(l *attributeList) { l.put(typ, []byte(v+"\x00")) }
	}
	load := func(r Rule) []byte {
		b, err := r.Program(IPv4)[0].Marshal(IPv4)
		if err != nil {
			t.Fatal(err)
		}
		var list attributeList
		list.put(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, b)
		return list
	}

	counter := rule("c", Counter{})
	counted := nested("counter", func(l *attributeList) {
		l.put(unix.NFTA_COUNTER_BYTES, binary.BigEndian.AppendUint64(nil, 12345))
		l.put(unix.NFTA_COUNTER_PACKETS, binary.BigEndian.AppendUint64(nil, 67))
	})
	in := rule("", InSet{Key: []Field{SourceAddr{}}, Set: "a"})
	notIn := rule("", InSet{Key: []Field{SourceAddr{}}, Set: "a", Not: true})
	// No set ID, and flags also where there are none.
	lookup := func(flags uint32, set string) []byte {
		return append(load(in), nested("lookup", text(unix.NFTA_LOOKUP_SET, set), put32(unix.NFTA_LOOKUP_SREG, unix.NFT_REG_1), put32(unix.NFTA_LOOKUP_FLAGS, flags))...)
	}
	sources := rule("", InSet{Key: []Field{SourceAddr{}, L4Proto{}}, Set: "a", Not: true})
	sourcesWith := func(to, size, length uint32) []byte {
		program := held(t, sources, IPv4).Program
		lookup := len(program) - len(attributes(program)[2].value) - unix.SizeofNlAttr
		return slices.Insert(program, lookup, nested("byteorder", put32(unix.NFTA_BYTEORDER_SREG, unix.NFT_REG32_01), put32(unix.NFTA_BYTEORDER_DREG, to),
			put32(unix.NFTA_BYTEORDER_OP, unix.NFT_BYTEORDER_HTON), put32(unix.NFTA_BYTEORDER_LEN, length), put32(unix.NFTA_BYTEORDER_SIZE, size))...)
	}
	for _, tc := range []struct {
		name string
		rule Rule
		held HeldRule
		want bool
	}{
		{"what it counted", counter, HeldRule{Program: counted, UserData: counter.UserData()}, true},
		{"a counter, of another comment", counter, HeldRule{Program: counted, UserData: rule("d").UserData()}, false},
		{"a counter, without the comment", counter, HeldRule{Program: counted}, false},
		{"a counter, of a rule without comment", rule("", Counter{}), HeldRule{Program: counted, UserData: counter.UserData()}, false},
		{"another expression without attributes", counter, HeldRule{Program: nested("notrack"), UserData: counter.UserData()}, false},
		{"a lookup", in, HeldRule{Program: lookup(0, "a")}, true},
		{"a lookup in another set", in, HeldRule{Program: lookup(0, "b")}, false},
		{"an inverted lookup", notIn, HeldRule{Program: lookup(unix.NFT_LOOKUP_F_INV, "a")}, true},
		// Adopted, it would let in whom it is to keep out.
		{"a lookup that the kernel has inverted", in, HeldRule{Program: lookup(unix.NFT_LOOKUP_F_INV, "a")}, false},
		{"an inverted lookup that the kernel has not", notIn, HeldRule{Program: lookup(0, "a")}, false},
		{"a swap of one byte, as nft 1.0.6 and older versions of ours write it", sources, HeldRule{Program: sourcesWith(unix.NFT_REG32_01, 2, 1)}, true},
		{"a swap of two bytes", sources, HeldRule{Program: sourcesWith(unix.NFT_REG32_01, 2, 2)}, false},
		{"one byte copied to another register", sources, HeldRule{Program: sourcesWith(unix.NFT_REG32_02, 2, 1)}, false},
		{"no program", in, HeldRule{}, false},
		{"a program cut short", in, HeldRule{Program: lookup(0, "a")[:50]}, false},
	} {
		if got := tc.rule.matches(IPv4, tc.held); got != tc.want {
			t.Errorf("%s: %q matches: %t", tc.name, tc.rule.Text(IPv4), got)
		}
	}
}

func TestSameRules(t *testing.T) {
	chain := &Chain{Rules: []Rule{rule("", Counter{}), rule("", Drop{})}}
	h := &HeldChain{Rules: []HeldRule{held(t, chain.Rules[0], IPv4), held(t, chain.Rules[1], IPv4)}}
	if !chain.SameRules(IPv4, h) {
		t.Error("the rules are not the same")
	}
	if chain.SameRules(IPv4, &HeldChain{Rules: h.Rules[:1]}) {
		t.Error("the rules are the same without the last")
	}
	slices.Reverse(h.Rules)
	if chain.SameRules(IPv4, h) {
		t.Error("the rules are the same in another order")
	}
}

func TestSameBase(t *testing.T) {
	base := Base{Type: "nat", Hook: Prerouting, Priority: -100}
	other := base
	other.Priority = 0
	for _, tc := range []struct {
		ours, held *Base
		want       bool
	}{{nil, nil, true}, {&base, nil, false}, {nil, &base, false}, {&base, &Base{Type: "nat", Priority: -100}, true}, {&base, &other, false}} {
		if got := (&Chain{Base: tc.ours}).SameBase(&HeldChain{Base: tc.held}); got != tc.want {
			t.Errorf("%v is %v: %t", tc.ours, tc.held, got)
		}
	}
}

func TestSetMatches(t *testing.T) {
	// heldSet is s as the kernel has it.
	heldSet := func(f Family, s *Set) *HeldSet {
		key, data := s.TypeIDs(f)
		h := &HeldSet{KeyType: key, KeyLen: uint32(s.KeyLen(f)), DataType: data, DataLen: uint32(s.DataLen(f)), Flags: s.Flags(), UserData: s.UserData(f)}
		if s.Verdicts {
			h.DataType, h.DataLen = unix.NFT_DATA_VERDICT, 16
		}
		return h
	}
	sets := []*Set{
		{Key: []Field{SourceAddr{}}}, {Key: []Field{DestPort{}}}, {Key: []Field{SourceAddr{}}, Comment: "c"},
		{Key: []Field{SourceAddr{}}, Verdicts: true}, {Key: []Field{SourceAddr{}}, Data: []Field{DestAddr{}}},
		{Key: []Field{SourceAddr{}}, Data: []Field{DestAddr{}}, Dynamic: true}, {Key: []Field{SourceAddr{}}, Data: []Field{DestPort{}}},
		{Key: []Field{SourceAddr{}}, Interval: true}, {Key: []Field{SourceAddr{}, DestPort{}}, Interval: true}, {Key: []Field{SourceAddr{}, DestPort{}}},
		{Key: []Field{Random{Mod: 2}}}, {Key: []Field{Priority{}}}, {Key: []Field{SourceAddr{}, Random{Mod: 2}}}, {Key: []Field{SourceAddr{}, Priority{}}},
	}
	for _, f := range []Family{IPv4, IPv6} {
		for i, s := range sets {
			for j, other := range sets {
				if got := s.Matches(f, heldSet(f, other)); got != (i == j) {
					t.Errorf("%s: set %d matches the kernel's %d: %t", f, i, j, got)
				}
			}
		}
	}
	if sets[0].Matches(IPv4, heldSet(IPv6, sets[0])) {
		t.Error("a set matches one of the other family")
	}
	// A concatenation of ranges is no pair of elements to the kernel.
	if f := sets[8].Flags(); f != unix.NFT_SET_INTERVAL|setConcat || sets[8].Paired() || !sets[7].Paired() {
		t.Errorf("the flags are %#x", f)
	}
}

// A set's user data can't be changed. Tables of versions that described the same types
// in another way are not replaced for it.
func TestSetMatchesWhatOthersDescribe(t *testing.T) {
	verdicts := &Set{Key: []Field{DestAddr{}, DestPort{}}, Verdicts: true, Comment: "c"}
	slots := &Set{Key: []Field{DestAddr{}, Random{Mod: 2}}, Data: []Field{DestAddr{}}, Comment: "c"}
	// As versions up to the one that knew nft 0.9.8 wrote them.
	described := func(s *Set, data udata) udata {
		u := udata(nil).put32(setUdataKeyOrder, 0).put32(setUdataDataOrder, 0)
		u = u.put(setUdataKeyTypeof, typeofUdata(IPv4, s.Key)).put(setUdataDataTypeof, data)
		return u.put32(setUdataDataInterval, 0).put(setUdataComment, []byte("c\x00"))
	}
	type held struct {
		set      *Set
		key      uint32
		userData udata
	}
	for name, tc := range map[string]struct {
		held
		want bool
	}{
		"a typeof of verdicts":       {held{verdicts, 7<<6 | 13, described(verdicts, exprUdata(nftExprVerdict))}, true},
		"a number without a type":    {held{slots, 7<<6 | 4, described(slots, typeofUdata(IPv4, slots.Data))}, true},
		"a mark":                     {held{slots, 7<<6 | 19, described(slots, typeofUdata(IPv4, slots.Data))}, true},
		"another type of number":     {held{slots, 7<<6 | 13, described(slots, typeofUdata(IPv4, slots.Data))}, false},
		"one more part":              {held{slots, 7<<12 | 7<<6 | 19, described(slots, nil)}, false},
		"no comment":                 {held{slots, 7<<6 | 19, nil}, false},
		"another comment":            {held{slots, 7<<6 | 19, udata(nil).put(setUdataComment, []byte("d\x00"))}, false},
		"user data that is cut":      {held{slots, 7<<6 | 19, udata{setUdataComment, 9, 'c'}}, false},
		"a comment and nothing else": {held{slots, 7<<6 | 19, udata{setUdataComment, 2, 'c', 0}}, true},
	} {
		h := &HeldSet{KeyType: tc.key, KeyLen: 8, Flags: tc.set.Flags(), DataType: 7, DataLen: 4, UserData: tc.userData}
		if tc.set.Verdicts {
			h.DataType, h.DataLen = unix.NFT_DATA_VERDICT, 16
		}
		if got := tc.set.Matches(IPv4, h); got != tc.want {
			t.Errorf("%s: it matches: %t", name, got)
		}
	}
}

// No user data of a verdict map has a typeof: nft 0.9.8 crashes on it.
func TestVerdictsHaveNoTypeof(t *testing.T) {
	literal, _ := Spread{Over: []string{"a", "b"}}.Literal()
	for _, s := range []*Set{{Key: []Field{Priority{}}, Verdicts: true}, {Key: []Field{DestAddr{}, L4Proto{}, DestPort{}}, Verdicts: true}, literal} {
		for _, f := range []Family{IPv4, IPv6} {
			u := udata(s.UserData(f))
			if key, data := u.get(setUdataKeyTypeof), u.get(setUdataDataTypeof); key != nil || data != nil {
				t.Errorf("%s %v: the typeof is %x : %x", f, s.Key, key, data)
			}
		}
	}
	s := &Set{Key: []Field{DestAddr{}, L4Proto{}, DestPort{}}, Verdicts: true}
	if got, want := s.types(IPv6), "type ipv6_addr . inet_proto . inet_service : verdict"; got != want {
		t.Errorf("it is declared as %q, want %q", got, want)
	}
	// nft takes no "type integer".
	if s := (&Set{Key: []Field{DestAddr{}, Random{Mod: 2}}, Verdicts: true}); s.types(IPv4) != "typeof ip daddr . numgen random mod 2 : verdict" {
		t.Errorf("it is declared as %q", s.types(IPv4))
	}
}

// Attributes that lie about their length end the list.
func TestAttributesOfRubbish(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, {0, 0, 0, 0}, {3, 0, 1, 0}, {255, 255, 1, 0}, {9, 0, 1, 0, 1, 2, 3, 4}} {
		if got := attributes(b); len(got) > 0 {
			t.Errorf("the attributes of %x are %v", b, got)
		}
	}
	// The last one need not be padded.
	if got := attributes([]byte{5, 0, 1, 0, 7}); len(got) != 1 || string(got[0].value) != "\x07" {
		t.Errorf("the attributes are %v", got)
	}
}

// An expression that can't be sent is in no rule that the kernel has.
type unsendable struct{ Statement }

func (unsendable) Program(Family) []Expression {
	return program(&expr.Numgen{Type: 99})
}

func TestUnsendableRuleMatchesNothing(t *testing.T) {
	r := rule("", unsendable{})
	if r.matches(IPv4, held(t, rule("", Counter{}), IPv4)) {
		t.Error("it matches")
	}
}
