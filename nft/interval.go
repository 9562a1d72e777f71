package nft

import (
	"math/big"
	"net/netip"
)

// Range is the pair of elements that stands for prefix in an interval set. A
// range that ends with the last address of all has no element past its end.
func Range(prefix netip.Prefix) []Element {
	first := prefix.Masked().Addr()
	elements := []Element{{Key: string(first.AsSlice())}}
	if end := past(prefix); end.IsValid() {
		elements = append(elements, Element{Key: string(end.AsSlice()), End: true})
	}
	return elements
}

// past is the first address after prefix, or none.
func past(prefix netip.Prefix) netip.Addr {
	last := prefix.Masked().Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return addr.Next()
}

// rangeText is a pair of elements as nft lists it: a prefix where it is one,
// else first-last.
func rangeText(start, end Element) string {
	first, _ := netip.AddrFromSlice([]byte(start.Key))
	stop, _ := netip.AddrFromSlice([]byte(end.Key))
	size := new(big.Int).Sub(new(big.Int).SetBytes([]byte(end.Key)), new(big.Int).SetBytes([]byte(start.Key)))
	if size.Sign() > 0 && size.TrailingZeroBits() == uint(size.BitLen()-1) {
		prefix := netip.PrefixFrom(first, first.BitLen()-size.BitLen()+1)
		if prefix.Masked() == prefix {
			if prefix.IsSingleIP() {
				return first.String()
			}
			return prefix.String()
		}
	}
	return first.String() + "-" + stop.Prev().String()
}
