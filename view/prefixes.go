package view

import (
	"net/netip"
	"slices"
)

// Union is the shortest list of networks with the same addresses, in order. One
// network that is everything is as good as none, and gives none; both families
// have to be everything where both are listed.
func Union(prefixes []netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range slices.SortedFunc(slices.Values(prefixes), comparePrefix) {
		list = push(list, p.Masked())
	}
	if !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Bits() > 0 }) {
		return nil
	}
	return list
}

// comparePrefix orders by the first address; at the same one, the larger first.
func comparePrefix(a, b netip.Prefix) int {
	if c := a.Masked().Addr().Compare(b.Masked().Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// push adds a network to those before it, joining the two halves of a larger one.
func push(list []netip.Prefix, p netip.Prefix) []netip.Prefix {
	for n := len(list); n > 0; n = len(list) {
		last := list[n-1]
		if last.Contains(p.Addr()) {
			return list
		}
		whole := netip.PrefixFrom(last.Addr(), last.Bits()-1)
		if p.Bits() == 0 || last.Bits() != p.Bits() || whole.Masked().Addr() != last.Addr() || !whole.Contains(p.Addr()) {
			break
		}
		list, p = list[:n-1], whole
	}
	return append(list, p)
}

// Range are the networks that have just the addresses from first to last.
func Range(first, last netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	for first.IsValid() && first.BitLen() == last.BitLen() && first.Compare(last) <= 0 {
		p := netip.PrefixFrom(first, first.BitLen())
		for p.Bits() > 0 {
			larger := netip.PrefixFrom(first, p.Bits()-1)
			if larger.Masked().Addr() != first || lastOf(larger).Compare(last) > 0 {
				break
			}
			p = larger
		}
		list = append(list, p)
		first = lastOf(p).Next()
	}
	return list
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
