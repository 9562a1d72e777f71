package nft

import (
	"net/netip"
	"slices"
	"strings"
)

// Bounds are the first and the last address of prefix, as keys.
func Bounds(prefix netip.Prefix) (first, last string) {
	start := prefix.Masked().Addr().AsSlice()
	end := append([]byte(nil), start...)
	for bit := prefix.Bits(); bit < len(end)*8; bit++ {
		end[bit/8] |= 0x80 >> (bit % 8)
	}
	return string(start), string(end)
}

// Range is the element that stands for prefix in a set of ranges.
func Range(prefix netip.Prefix) Element {
	first, last := Bounds(prefix)
	return Element{Key: first, KeyEnd: last}
}

// rangeParts are the parts of an element's key as nft lists them: those that are
// ranges as a prefix or first-last, the others as they are.
func rangeParts(f Family, fields []Field, e Element) []string {
	parts := keyParts(f, fields, e.Key)
	if e.KeyEnd == "" {
		return parts
	}
	ends := keyParts(f, fields, e.KeyEnd)
	if len(ends) != len(parts) { // not ours; still say what it is
		return []string{strings.Join(parts, " . ") + "-" + strings.Join(ends, " . ")}
	}
	for i, end := range ends {
		if parts[i] != end {
			parts[i] = rangeText(parts[i], end)
		}
	}
	return parts
}

// rangeText is a range of addresses as a prefix, if it is one.
func rangeText(first, last string) string {
	start, err := netip.ParseAddr(first)
	if err == nil {
		for bits := range start.BitLen() {
			prefix := netip.PrefixFrom(start, bits)
			if _, end := Bounds(prefix); prefix.Masked() == prefix && netip.MustParseAddr(last) == addrOf(end) {
				return prefix.String()
			}
		}
	}
	return first + "-" + last
}

func addrOf(key string) netip.Addr {
	addr, _ := netip.AddrFromSlice([]byte(key))
	return addr
}

// Next is the key after a key of one field, empty if it is the last.
func Next(key string) string {
	next := []byte(key)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return string(next)
		}
	}
	return ""
}

// Pair gives ranges their ends: the keys past them, as the kernel has them. A
// range without one ends before the next, or with the last key of all. An end without a range, which
// nft writes before the first one, is passed over.
func Pair(ranges []Element, ends []string) {
	slices.SortFunc(ranges, func(a, b Element) int { return strings.Compare(a.Key, b.Key) })
	slices.Sort(ends)
	for i := range ranges {
		r := &ranges[i]
		for len(ends) > 0 && ends[0] <= r.Key {
			ends = ends[1:]
		}
		if len(ends) > 0 && (i+1 == len(ranges) || ends[0] <= ranges[i+1].Key) {
			r.KeyEnd = previous(ends[0])
		} else if i+1 < len(ranges) {
			r.KeyEnd = previous(ranges[i+1].Key)
		} else {
			r.KeyEnd = strings.Repeat("\xff", len(r.Key))
		}
	}
}

// previous is the key before a key of one field.
func previous(key string) string {
	b := []byte(key)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]--; b[i] != 0xff {
			break
		}
	}
	return string(b)
}
