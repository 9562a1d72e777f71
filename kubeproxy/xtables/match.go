package xtables

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// data is a structure of the kernel's, read by offsets; what lies beyond its end
// is zero.
type data []byte

func (d data) u8(at int) uint8 {
	if at >= len(d) {
		return 0
	}
	return d[at]
}

func (d data) bytes(at, n int) []byte {
	if at >= len(d) {
		return make([]byte, n)
	}
	return append(bytes.Clone(d[at:min(at+n, len(d))]), make([]byte, max(0, at+n-len(d)))...)
}

func (d data) u16(at int) uint16  { return binary.NativeEndian.Uint16(d.bytes(at, 2)) }
func (d data) u32(at int) uint32  { return binary.NativeEndian.Uint32(d.bytes(at, 4)) }
func (d data) be16(at int) uint16 { return binary.BigEndian.Uint16(d.bytes(at, 2)) }
func (d data) text(at, n int) string {
	text := d.bytes(at, n)
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	return string(text)
}

// addr is an address in the 16 bytes that any family has.
func (d data) addr(at int, is4 bool) netip.Addr {
	n := 16
	if is4 {
		n = 4
	}
	addr, _ := netip.AddrFromSlice(d.bytes(at, n))
	return addr
}

// match reads a match: its name, revision and structure.
func match(name string, revision uint32, d data, is4 bool) iptables.Match {
	var m iptables.Match
	switch {
	case name == "comment":
		return iptables.Comment(d.text(0, len(d)))
	case name == "tcp" && revision == 0 && d.u8(8) == 0 && d.u16(9) == 0: // options and flags
		return ports(name, d, 0, 4, d.u8(11))
	case name == "udp" && revision == 0:
		return ports(name, d, 0, 4, d.u8(8))
	case name == "sctp" && revision == 0:
		m = sctp(d)
	case name == "addrtype" && revision == 1:
		m = addrType(d)
	case name == "statistic" && revision == 0 && d.u16(0) == 0: // at random
		return iptables.Statistic{Not: d.u16(2)&1 != 0, Probability: iptables.Probability(d.u32(4))}
	case name == "recent" && revision <= 1:
		return recent(revision, d, is4)
	case name == "conntrack" && revision >= 1 && revision <= 3:
		m = conntrack(revision, d)
	case name == "mark" && revision == 1:
		return iptables.Mark{Not: d.u8(8) != 0, Value: d.u32(0), Mask: d.u32(4)}
	case name == "nfacct":
		return iptables.Other{Module: name, Text: "--nfacct-name  " + d.text(0, 32)}
	}
	if m == nil {
		return iptables.Other{Module: name, Text: raw(d)}
	}
	return m
}

// raw stands for a structure that is not known here.
func raw(d data) string { return "(" + hex.EncodeToString(bytes.TrimRight(d, "\x00")) + ")" }

// ports has the places of source and destination ports, and the bits that negate
// each.
func ports(module string, d data, source, destination int, inverted uint8) iptables.Ports {
	one := func(at int, not bool) iptables.PortRange {
		p := iptables.PortRange{Not: not, From: d.u16(at), To: d.u16(at + 2)}
		if p.From == 0 && p.To == 65535 && !not {
			return iptables.PortRange{}
		}
		p.Set = true
		return p
	}
	return iptables.Ports{Module: module, Source: one(source, inverted&1 != 0), Destination: one(destination, inverted&2 != 0)}
}

// Flags of an SCTP match.
const (
	sctpSource = 1 << iota
	sctpDestination
	sctpChunks
)

func sctp(d data) iptables.Match {
	flags, inverted := d.u32(284), d.u32(288)
	if flags&sctpChunks != 0 {
		return nil
	}
	p := ports("sctp", d, 4, 0, uint8(inverted))
	if flags&sctpSource == 0 {
		p.Source = iptables.PortRange{}
	}
	if flags&sctpDestination == 0 {
		p.Destination = iptables.PortRange{}
	}
	return p
}

// addressTypes are the names of bits, in order.
var addressTypes = [...]string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"}

func addrType(d data) iptables.Match {
	flags := d.u32(4)
	if flags&^3 != 0 { // --limit-iface-in, --limit-iface-out
		return nil
	}
	names := func(bits uint16) string {
		var list []string
		for i, name := range addressTypes {
			if bits&(1<<i) != 0 {
				list = append(list, name)
			}
		}
		return strings.Join(list, ",")
	}
	return iptables.AddrType{
		Source: names(d.u16(0)), Destination: names(d.u16(2)), SourceNot: flags&1 != 0, DestinationNot: flags&2 != 0,
	}
}

// What a recent match does.
const (
	recentCheck = 1 << iota
	recentSet
	recentUpdate
	recentRemove
	recentTTL
	recentReap
)

func recent(revision uint32, d data, is4 bool) iptables.Match {
	do := d.u8(8)
	r := iptables.Recent{
		Not: d.u8(9) != 0, Seconds: d.u32(0), HitCount: d.u32(4),
		TTL: do&recentTTL != 0, Reap: do&recentReap != 0,
		Name: d.text(10, 200), ByDestination: d.u8(210) != 0,
	}
	for bit, action := range map[uint8]string{recentCheck: "rcheck", recentSet: "set", recentUpdate: "update", recentRemove: "remove"} {
		if do&bit != 0 {
			r.Action = action
		}
	}
	if revision == 1 {
		r.Mask = d.addr(212, is4).String()
	}
	return r
}

// Flags of a conntrack match: states, and that it was written as -m state.
const (
	conntrackState = 1
	conntrackAlias = 1 << 13
)

func conntrack(revision uint32, d data) iptables.Match {
	flags, inverted, states := d.u16(146), d.u16(148), d.u16(150)
	if revision == 1 {
		states &= 0xff
	}
	if flags&^conntrackAlias != conntrackState {
		return nil
	}
	m := iptables.Conntrack{Module: "conntrack", Not: inverted&conntrackState != 0}
	if flags&conntrackAlias != 0 {
		m.Module = "state"
	}
	// The kernel's bits, in the order of ours.
	for i, bit := range [...]uint16{1 << 0, 1 << 3, 1 << 2, 1 << 1, 1 << 8, 1 << 6, 1 << 7} {
		if states&bit != 0 {
			m.States |= 1 << i
		}
	}
	return m
}
