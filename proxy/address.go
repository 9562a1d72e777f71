package proxy

import (
	"net/netip"

	netutils "k8s.io/utils/net"
)

// parseAddr reads an address as kube-proxy does: with leading zeros in IPv4
// numbers taken as decimal, and IPv4 addresses in IPv6 form taken as IPv4.
// canonical says that the text is how Kubernetes wants it written.
func parseAddr(text string) (addr netip.Addr, canonical, ok bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Zone() != "" {
			return netip.Addr{}, false, false
		}
		var room [64]byte
		return addr.Unmap(), !addr.Is4In6() && string(addr.AppendTo(room[:0])) == text, true
	}
	addr, ok = netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	return addr.Unmap(), false, ok
}

// unusable says why an address can't be an endpoint's, with the classes that
// the API server refuses; empty if it can.
func unusable(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// fixAddress is the advice on an address that can't be read.
const fixAddress = "write it as in 10.96.0.10 or fd00:10:96::a"

func familyName(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}
