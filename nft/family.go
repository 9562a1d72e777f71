package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Family is the address family of a table.
type Family uint8

// The two families that tables of Service traffic have.
const (
	IPv4 Family = unix.NFPROTO_IPV4
	IPv6 Family = unix.NFPROTO_IPV6
)

// inet is the family of tables for both, which others have.
const inet Family = unix.NFPROTO_INET

// FamilyOf is the family of the table that handles addr.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// String is the family as nft spells it.
func (f Family) String() string {
	switch f {
	case IPv6:
		return "ip6"
	case inet:
		return "inet"
	}
	return "ip"
}

// AddrLen is the length of an address in bytes.
func (f Family) AddrLen() int {
	if f == IPv6 {
		return 16
	}
	return 4
}
