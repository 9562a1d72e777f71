package nft

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addrKey(text string) string { return string(netip.MustParseAddr(text).AsSlice()) }

func TestBounds(t *testing.T) {
	for _, tc := range []struct{ prefix, first, last string }{
		{"10.0.0.0/8", "10.0.0.0", "10.255.255.255"},
		{"10.1.2.3/8", "10.0.0.0", "10.255.255.255"}, // bits behind the prefix mean nothing
		{"10.0.0.128/25", "10.0.0.128", "10.0.0.255"},
		{"10.0.0.4/31", "10.0.0.4", "10.0.0.5"},
		{"10.0.0.1/32", "10.0.0.1", "10.0.0.1"},
		{"0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
		{"128.0.0.0/1", "128.0.0.0", "255.255.255.255"},
		{"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"fd00::/63", "fd00::", "fd00:0:0:1:ffff:ffff:ffff:ffff"},
		{"fd00::1/128", "fd00::1", "fd00::1"},
	} {
		prefix := netip.MustParsePrefix(tc.prefix)
		first, last := Bounds(prefix)
		if first != addrKey(tc.first) || last != addrKey(tc.last) {
			t.Errorf("the bounds of %s are %s and %s", prefix, addrOf(first), addrOf(last))
		}
		if got, want := Range(prefix), (Element{Key: first, KeyEnd: last}); got != want {
			t.Errorf("the range of %s is %v", prefix, got)
		}
	}
}

func TestNextAndPrevious(t *testing.T) {
	for _, tc := range []struct{ key, next string }{
		{"10.0.0.1", "10.0.0.2"}, {"10.0.255.255", "10.1.0.0"}, {"0.0.0.0", "0.0.0.1"}, {"fd00::ffff", "fd00::1:0"},
	} {
		key, next := addrKey(tc.key), addrKey(tc.next)
		if got := Next(key); got != next {
			t.Errorf("the next of %s is %s", tc.key, addrOf(got))
		}
		if got := previous(next); got != key {
			t.Errorf("the one before %s is %s", tc.next, addrOf(got))
		}
	}
	if got := Next(addrKey("255.255.255.255")); got != "" {
		t.Errorf("the next of the last is %x", got)
	}
}

// paired gives ranges by their first address their ends, and prints them.
func paired(t *testing.T, firsts, ends string) string {
	t.Helper()
	var ranges []Element
	for _, a := range strings.Fields(firsts) {
		ranges = append(ranges, Element{Key: addrKey(a)})
	}
	var keys []string
	for _, a := range strings.Fields(ends) {
		keys = append(keys, addrKey(a))
	}
	Pair(ranges, keys)
	var texts []string
	for _, r := range ranges {
		texts = append(texts, rangeParts(IPv4, []Field{SourceAddr{}}, r)...)
	}
	return strings.Join(texts, " ")
}

func TestPair(t *testing.T) {
	for _, tc := range []struct{ name, firsts, ends, want string }{
		{"none", "", "", ""},
		{"one", "10.0.0.0", "11.0.0.0", "10.0.0.0/8"},
		{"out of order, as the kernel lists them", "192.0.2.0 10.0.0.0", "192.0.3.0 11.0.0.0", "10.0.0.0/8 192.0.2.0/24"},
		{"with the end that nft writes before the first range", "10.0.0.0", "0.0.0.0 11.0.0.0", "10.0.0.0/8"},
		{"an end in a gap that belongs to none", "10.0.0.0 192.0.2.0", "11.0.0.0 12.0.0.0 192.0.3.0", "10.0.0.0/8 192.0.2.0/24"},
		{"side by side, where an end is another one's beginning", "10.0.0.0 11.0.0.0", "11.0.0.0 12.0.0.0", "10.0.0.0/8 11.0.0.0/8"},
		{"up to the last address, which has none after it", "192.0.2.0 255.255.255.0", "192.0.3.0", "192.0.2.0/24 255.255.255.0/24"},
		{"everything", "0.0.0.0", "", "0.0.0.0/0"},
		{"everything, with an end before it", "0.0.0.0", "0.0.0.0", "0.0.0.0/0"},
		{"the last address alone", "255.255.255.255", "", "255.255.255.255"},
		{"the first address alone", "0.0.0.0", "0.0.0.1", "0.0.0.0"},
		{"an end without a range", "", "10.0.0.0", ""},
		{"no prefix", "10.0.0.1", "10.0.0.4", "10.0.0.1-10.0.0.3"},
	} {
		if got := paired(t, tc.firsts, tc.ends); got != tc.want {
			t.Errorf("%s: the ranges are %q, want %q", tc.name, got, tc.want)
		}
	}
}

// What ranges look like in the kernel, pieces in any order, comes back as they
// were.
func TestPairUndoesWhatTheKernelHas(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var want []Element
		var firsts, ends []string
		for at := 0; at < 256; {
			size := min(1+random.IntN(40), 256-at)
			if random.IntN(2) == 0 {
				// The last byte of the key counts, the others are at their end.
				e := Element{Key: "\xff\xff\xff" + string([]byte{byte(at)}), KeyEnd: "\xff\xff\xff" + string([]byte{byte(at + size - 1)})}
				want, firsts = append(want, e), append(firsts, e.Key)
				if next := Next(e.KeyEnd); next != "" {
					ends = append(ends, next)
				}
			}
			at += size
		}
		if len(want) > 0 && random.IntN(2) == 0 {
			ends = append(ends, "\x00\x00\x00\x00")
		}
		random.Shuffle(len(firsts), func(i, j int) { firsts[i], firsts[j] = firsts[j], firsts[i] })
		random.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
		var got []Element
		for _, f := range firsts {
			got = append(got, Element{Key: f})
		}
		Pair(got, ends)
		if !slices.Equal(got, want) {
			t.Fatalf("the ranges are\n%x\nwant\n%x", got, want)
		}
	}
}

func TestRangeParts(t *testing.T) {
	fields := []Field{DestAddr{}, L4Proto{}, DestPort{}}
	key := func(addr string, proto, port byte) string {
		return addrKey(addr) + string([]byte{proto, 0, 0, 0, 0, port, 0, 0})
	}
	for _, tc := range []struct{ first, last, want string }{
		{key("10.0.0.1", 6, 80), "", "10.0.0.1 . tcp . 80"},
		{key("10.0.0.0", 6, 80), key("10.0.0.255", 6, 80), "10.0.0.0/24 . tcp . 80"},
		{key("10.0.0.1", 6, 80), key("10.0.0.1", 6, 80), "10.0.0.1 . tcp . 80"},
		{key("10.0.0.0", 6, 80), key("10.0.0.1", 17, 90), "10.0.0.0/31 . tcp-udp . 80-90"},
		{key("0.0.0.0", 6, 80), key("255.255.255.255", 6, 80), "0.0.0.0/0 . tcp . 80"},
		{key("10.0.0.1", 6, 80), key("10.0.0.2", 6, 80), "10.0.0.1-10.0.0.2 . tcp . 80"},
		// As long as a prefix, but not where one is.
		{key("10.0.0.2", 6, 80), key("10.0.0.5", 6, 80), "10.0.0.2-10.0.0.5 . tcp . 80"},
		{"\x01", "\x02", "0x01-0x02"},
		// Elements that are not ours must not take the program down.
		{"\x01", key("10.0.0.1", 6, 80), "0x01-10.0.0.1 . tcp . 80"},
		{key("10.0.0.1", 6, 80), "\x01", "10.0.0.1 . tcp . 80-0x01"},
	} {
		if got := strings.Join(rangeParts(IPv4, fields, Element{Key: tc.first, KeyEnd: tc.last}), " . "); got != tc.want {
			t.Errorf("the range is %q, want %q", got, tc.want)
		}
	}
	six := Range(netip.MustParsePrefix("fd00:1::/32"))
	if got := fmt.Sprint(rangeParts(IPv6, []Field{SourceAddr{}}, six)); got != "[fd00:1::/32]" {
		t.Errorf("the range is %s", got)
	}
	mapped := Range(netip.MustParsePrefix("::ffff:10.0.0.0/104"))
	if got := fmt.Sprint(rangeParts(IPv6, []Field{SourceAddr{}}, mapped)); got != "[::ffff:10.0.0.0/104]" {
		t.Errorf("the range is %s", got)
	}
}
