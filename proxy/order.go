package proxy

import (
	"bytes"
	"cmp"
	"net/netip"
	"strconv"
)

// compareText orders endpoints by their "ip:port" text. A Service with thousands of
// endpoints is sorted at each of its changes, so for IPv4 no text is written.
func compareText(a, b netip.AddrPort) int {
	if !a.Addr().Is4() || !b.Addr().Is4() {
		var first, second [64]byte
		return bytes.Compare(a.AppendTo(first[:0]), b.AppendTo(second[:0]))
	}
	first, second := a.Addr().As4(), b.Addr().As4()
	for i := range first {
		if first[i] == second[i] {
			continue
		}
		end := byte('.')
		if i == len(first)-1 {
			end = ':'
		}
		return cmp.Compare(numberText(first[i], end), numberText(second[i], end))
	}
	return comparePorts(a.Port(), b.Port())
}

// numberText is a number's text and the byte behind it, as a number that is in the same
// order.
func numberText(n, end byte) uint32 {
	hundreds, tens, ones := '0'+uint32(n/100), '0'+uint32(n/10%10), '0'+uint32(n%10)
	switch {
	case n < 10:
		return ones<<24 | uint32(end)<<16
	case n < 100:
		return tens<<24 | ones<<16 | uint32(end)<<8
	}
	return hundreds<<24 | tens<<16 | ones<<8 | uint32(end)
}

func comparePorts(a, b uint16) int {
	if a == b {
		return 0 // as a rule
	}
	var first, second [5]byte
	return bytes.Compare(strconv.AppendUint(first[:0], uint64(a), 10), strconv.AppendUint(second[:0], uint64(b), 10))
}
