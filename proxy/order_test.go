package proxy

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// Endpoints are in the order of their texts, in which 10.0.0.10:80 comes before
// 10.0.0.1:80, and 10.0.0.2:80 after both.
func TestEndpointsAreInOrderOfTheirText(t *testing.T) {
	for n := range 256 {
		for m := range 256 {
			for _, pair := range [][2][4]byte{{{byte(n), 1, 2, 3}, {byte(m), 3, 2, 1}}, {{1, 2, 3, byte(n)}, {1, 2, 3, byte(m)}}} {
				ordered(t, netip.AddrPortFrom(netip.AddrFrom4(pair[0]), 80), netip.AddrPortFrom(netip.AddrFrom4(pair[1]), 8080))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	some := func() netip.AddrPort {
		var a [16]byte
		for i := range a {
			a[i] = byte(r.IntN(4) * r.IntN(64))
		}
		port := uint16(r.IntN(1 << (1 + r.IntN(16))))
		if r.IntN(4) == 0 {
			return netip.AddrPortFrom(netip.AddrFrom16(a), port)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[:4])), port)
	}
	for range 100_000 {
		a, b := some(), some()
		if r.IntN(3) == 0 {
			b = netip.AddrPortFrom(a.Addr(), b.Port())
		}
		ordered(t, a, b)
	}
}

func ordered(t *testing.T, a, b netip.AddrPort) {
	t.Helper()
	if got, want := compareText(a, b), strings.Compare(a.String(), b.String()); cmp.Compare(got, 0) != want {
		t.Fatalf("%s and %s compare as %d, their texts as %d", a, b, got, want)
	}
}
