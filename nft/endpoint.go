package nft

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Translate gives a connection of one transport protocol the destination To.
type Translate struct {
	Protocol uint8
	To       netip.AddrPort
}

// Text is the statement in nft's syntax.
func (s Translate) Text(f Family) string {
	return fmt.Sprintf("%s dnat to %s", Transport{s.Protocol}.Text(f), s.To)
}

// Program is the statement as the kernel's expressions.
func (s Translate) Program(f Family) []Expression {
	port := uint32(unix.NFT_REG_2)
	return append(Transport{s.Protocol}.Program(f), program(
		&expr.Immediate{Register: register(0), Data: s.To.Addr().AsSlice()},
		&expr.Immediate{Register: port, Data: []byte{byte(s.To.Port() >> 8), byte(s.To.Port())}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f), RegAddrMin: register(0), RegProtoMin: port})...)
}

// From goes on for packets from an address, or from a network.
type From struct{ Prefix netip.Prefix }

// Text is the statement in nft's syntax.
func (s From) Text(f Family) string {
	if s.Prefix.IsSingleIP() {
		return fmt.Sprintf("%s saddr %s", f, s.Prefix.Addr())
	}
	return fmt.Sprintf("%s saddr %s", f, s.Prefix)
}

// Program is the statement as the kernel's expressions.
func (s From) Program(f Family) []Expression {
	// As nft does: whole bytes are all that is loaded, others are masked.
	load := SourceAddr{}.spec(f).load(register(0)).(library)
	want := s.Prefix.Masked().Addr().AsSlice()
	bits := s.Prefix.Bits()
	if bits%8 == 0 && bits > 0 {
		load.Any.(*expr.Payload).Len = uint32(bits / 8)
		want = want[:bits/8]
		return append([]Expression{load}, program(&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: want})...)
	}
	mask := bytes.Repeat([]byte{0xff}, bits/8)
	if bits%8 != 0 {
		mask = append(mask, 0xff<<(8-bits%8))
	}
	mask = append(mask, make([]byte, len(want)-len(mask))...)
	return append([]Expression{load}, program(
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: want})...)
}

// Return goes back to where the packet was last sent on by a Jump, or ends the
// base chain.
type Return struct{}

// Text is the statement in nft's syntax.
func (Return) Text(Family) string { return "return" }

// Program is the statement as the kernel's expressions.
func (Return) Program(Family) []Expression { return program(&expr.Verdict{Kind: expr.VerdictReturn}) }
