package xtables

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft"
)

// FromNft is what iptables-nft has in tables of nf_tables, of one family. Some of
// what a rule says it writes as expressions of nf_tables, the rest as matches and
// targets of xtables; which, depends on its release.
func FromNft(tables []*nft.Held) *iptables.Dump {
	dump := &iptables.Dump{}
	for _, held := range tables {
		table := iptables.Table{Name: held.Name}
		for _, name := range slices.Sorted(maps.Keys(held.Chains)) {
			chain, from := table.Add(name), held.Chains[name]
			if from.Base != nil {
				chain.Policy = iptables.Accept
				if from.Drops {
					chain.Policy = iptables.Drop
				}
			}
			for _, r := range from.Rules {
				chain.Rules = append(chain.Rules, nftRule(held.Family, r))
			}
		}
		dump.Tables = append(dump.Tables, table)
	}
	return dump
}

// loaded is what a register holds.
type loaded struct {
	nft.HeldExpression
	mask []byte // what of it counts; nil for all
}

// ruleReader puts a rule together.
type ruleReader struct {
	iptables.Rule
	is4       bool
	registers map[uint32]loaded
}

func nftRule(f nft.Family, held nft.HeldRule) iptables.Rule {
	r := ruleReader{is4: f == nft.IPv4, registers: map[uint32]loaded{}}
	for e := range held.Expressions() {
		if !r.expression(e) {
			r.Matches = append(r.Matches, iptables.Other{Module: "nft", Text: "(" + e.Name + ")"})
		}
	}
	return r.Rule
}

// expression takes one in, and says whether it knows what it means.
func (r *ruleReader) expression(e nft.HeldExpression) bool {
	switch e.Name {
	case "counter":
	case "payload":
		r.registers[e.Uint32(unix.NFTA_PAYLOAD_DREG)] = loaded{HeldExpression: e}
	case "meta":
		r.registers[e.Uint32(unix.NFTA_META_DREG)] = loaded{HeldExpression: e}
		return e.Value(unix.NFTA_META_SREG) == nil
	case "bitwise":
		from := r.registers[e.Uint32(unix.NFTA_BITWISE_SREG)]
		from.mask = e.Value(unix.NFTA_BITWISE_MASK, unix.NFTA_DATA_VALUE)
		r.registers[e.Uint32(unix.NFTA_BITWISE_DREG)] = from
		xor := e.Value(unix.NFTA_BITWISE_XOR, unix.NFTA_DATA_VALUE)
		return len(from.mask) > 0 && len(bytes.Trim(xor, "\x00")) == 0
	case "cmp":
		op := e.Uint32(unix.NFTA_CMP_OP)
		value := e.Value(unix.NFTA_CMP_DATA, unix.NFTA_DATA_VALUE)
		return op <= unix.NFT_CMP_NEQ && r.compare(r.registers[e.Uint32(unix.NFTA_CMP_SREG)], op == unix.NFT_CMP_NEQ, value, value)
	case "range":
		not := e.Uint32(unix.NFTA_RANGE_OP) == unix.NFT_RANGE_NEQ
		return r.compare(r.registers[e.Uint32(unix.NFTA_RANGE_SREG)], not,
			e.Value(unix.NFTA_RANGE_FROM_DATA, unix.NFTA_DATA_VALUE), e.Value(unix.NFTA_RANGE_TO_DATA, unix.NFTA_DATA_VALUE))
	case "immediate":
		return r.verdict(e)
	case "match":
		r.Matches = append(r.Matches, match(cText(e.Value(unix.NFTA_MATCH_NAME)), e.Uint32(unix.NFTA_MATCH_REV), e.Value(unix.NFTA_MATCH_INFO), r.is4))
	case "target":
		r.Target = target(cText(e.Value(unix.NFTA_TARGET_NAME)), e.Uint32(unix.NFTA_TARGET_REV), e.Value(unix.NFTA_TARGET_INFO), r.is4)
	default:
		return false
	}
	return true
}

func cText(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// compare takes in that a value is, or isn't, within two bounds.
func (r *ruleReader) compare(of loaded, not bool, first, last []byte) bool {
	exact := bytes.Equal(first, last) && len(first) > 0
	switch of.Name {
	case "meta":
		switch key := of.Uint32(unix.NFTA_META_KEY); {
		case !exact:
			return false
		case key == unix.NFT_META_IIFNAME:
			r.In = iptables.Interface{Not: not, Name: interfaceName(first)}
		case key == unix.NFT_META_OIFNAME:
			r.Out = iptables.Interface{Not: not, Name: interfaceName(first)}
		case key == unix.NFT_META_L4PROTO:
			r.Protocol = iptables.Protocol{Not: not, Name: protocolName(first[0])}
		case key == unix.NFT_META_MARK && len(first) == 4:
			m := iptables.Mark{Not: not, Value: binary.NativeEndian.Uint32(first), Mask: 1<<32 - 1}
			if len(of.mask) == 4 {
				m.Mask = binary.NativeEndian.Uint32(of.mask)
			}
			r.Matches = append(r.Matches, m)
		default:
			return false
		}
		return true
	case "payload":
		offset := of.Uint32(unix.NFTA_PAYLOAD_OFFSET)
		switch base := of.Uint32(unix.NFTA_PAYLOAD_BASE); {
		case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && len(first) == 2 && len(last) == 2 && of.mask == nil:
			return r.ports(offset, iptables.PortRange{Set: true, Not: not, From: binary.BigEndian.Uint16(first), To: binary.BigEndian.Uint16(last)})
		case base != unix.NFT_PAYLOAD_NETWORK_HEADER || !exact:
			return false
		case r.is4 && offset == 12, !r.is4 && offset == 8:
			r.Source = address(not, first, of.mask, r.is4)
		case r.is4 && offset == 16, !r.is4 && offset == 24:
			r.Destination = address(not, first, of.mask, r.is4)
		case r.is4 && offset == 9 && len(first) == 1:
			r.Protocol = iptables.Protocol{Not: not, Name: protocolName(first[0])}
		default:
			return false
		}
		return true
	}
	return false
}

// ports takes in source or destination ports, together if they follow each other.
func (r *ruleReader) ports(offset uint32, p iptables.PortRange) bool {
	module := r.Protocol.Name
	if module != "tcp" && module != "udp" && module != "sctp" {
		return false
	}
	m := iptables.Ports{Module: module}
	n := len(r.Matches)
	if n > 0 {
		if last, ok := r.Matches[n-1].(iptables.Ports); ok && last.Module == module {
			m = last
			n--
		}
	}
	switch {
	case offset == 0 && !m.Source.Set:
		m.Source = p
	case offset == 2 && !m.Destination.Set:
		m.Destination = p
	default:
		return false
	}
	r.Matches = append(r.Matches[:n], m)
	return true
}

// Verdicts as they go over the wire.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictJump   = 1<<32 + unix.NFT_JUMP
	verdictGoto   = 1<<32 + unix.NFT_GOTO
	verdictReturn = 1<<32 + unix.NFT_RETURN
)

func (r *ruleReader) verdict(e nft.HeldExpression) bool {
	if e.Uint32(unix.NFTA_IMMEDIATE_DREG) != unix.NFT_REG_VERDICT {
		return false
	}
	to := cText(e.Value(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN))
	switch e.Uint32(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CODE) {
	case verdictDrop:
		r.Target = iptables.Jump{To: iptables.Drop}
	case verdictAccept:
		r.Target = iptables.Jump{To: iptables.Accept}
	case verdictReturn:
		r.Target = iptables.Jump{To: iptables.Return}
	case verdictJump:
		r.Target = iptables.Jump{To: to}
	case verdictGoto:
		r.Target = iptables.Jump{To: to, Goto: true}
	default:
		return false
	}
	return true
}

// address is one of which only the first bytes, or what is in a mask, are compared.
func address(not bool, value, mask []byte, is4 bool) iptables.Address {
	n := 16
	if is4 {
		n = 4
	}
	if mask == nil {
		mask = bytes.Repeat([]byte{0xff}, len(value))
	}
	pad := func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, max(0, n-len(b)))...)[:n] }
	return maskedAddress(not, pad(value), pad(mask))
}

// maskedAddress is an address with a mask, both in full.
func maskedAddress(not bool, value, mask []byte) iptables.Address {
	addr, _ := netip.AddrFromSlice(value)
	ones := 0
	for ones < 8*len(mask) && mask[ones/8]&(0x80>>(ones%8)) != 0 {
		ones++
	}
	for i := ones; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			m, _ := netip.AddrFromSlice(mask)
			return iptables.Address{Not: not, Prefix: netip.PrefixFrom(addr, addr.BitLen()), Mask: m.String()}
		}
	}
	return iptables.Address{Not: not, Prefix: netip.PrefixFrom(addr, ones)}
}

// interfaceName is an interface's name; one without its zero is what names start
// with.
func interfaceName(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		return string(b[:end])
	}
	return string(b) + "+"
}

// protocolName is a protocol as iptables-save prints it.
func protocolName(number uint8) string {
	if name, ok := protocols[number]; ok {
		return name
	}
	return strconv.Itoa(int(number))
}

var protocols = map[uint8]string{
	unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp", unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_ICMPV6: "ipv6-icmp",
}
