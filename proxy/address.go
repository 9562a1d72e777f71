package proxy

import (
	"net/netip"
	"strings"

	netutils "k8s.io/utils/net"
)

// ParseAddr reads an address as kube-proxy does: with leading zeros in IPv4
// numbers taken as decimal, and IPv4 addresses in IPv6 form taken as IPv4.
// canonical says that the text is how Kubernetes wants it written.
func ParseAddr(text string) (addr netip.Addr, canonical, ok bool) {
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

// ParsePrefix reads a network as ParseAddr reads an address, with spaces around it and
// host bits behind it, as the API server lets them pass. A network of IPv4 addresses in
// IPv6 form is one of IPv4. canonical reports whether the address is written as
// Kubernetes wants it.
func ParsePrefix(text string) (prefix netip.Prefix, canonical, ok bool) {
	text = strings.TrimSpace(text)
	prefix, err := netip.ParsePrefix(text)
	canonical = err == nil && !prefix.Addr().Is4In6()
	if err != nil {
		_, network, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			return netip.Prefix{}, false, false
		}
		addr, _ := netip.AddrFromSlice(network.IP)
		bits, _ := network.Mask.Size()
		prefix = netip.PrefixFrom(addr, bits)
	}
	prefix = prefix.Masked()
	const mapped = 96 // bits before an IPv4 address in IPv6 form
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= mapped {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-mapped)
	}
	return prefix, canonical, true
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

// takenAs is the warning about text that Kubernetes wants to be written in another way.
const takenAs = "%q is taken as %s; write it so"

func familyName(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}
