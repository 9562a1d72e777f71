package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Dispatch looks the packet's Key up in a verdict map and does what it says;
// without an element the rule after it is next.
type Dispatch struct {
	Key []Field
	Map string
}

// Text is the statement in nft's syntax.
func (s Dispatch) Text(f Family) string {
	return fmt.Sprintf("%s vmap @%s", fieldsText(f, s.Key), s.Map)
}

// Program is the statement as the kernel's expressions.
func (s Dispatch) Program(f Family) []Expression {
	return append(load(f, s.Key), program(&expr.Lookup{SourceRegister: register(0), DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: s.Map})...)
}

// TranslateTo gives the connection the destination that a map of address and
// port has for the packet's Key; without an element the rule after it is next.
type TranslateTo struct {
	Key []Field
	Map string
}

// Text is the statement in nft's syntax.
func (s TranslateTo) Text(f Family) string {
	return fmt.Sprintf("dnat %s to %s map @%s", f, fieldsText(f, s.Key), s.Map)
}

// Program is the statement as the kernel's expressions.
func (s TranslateTo) Program(f Family) []Expression {
	addr, port := register(0), register(f.AddrLen()/4)
	return append(load(f, s.Key), program(
		&expr.Lookup{SourceRegister: addr, DestRegister: addr, IsDestRegSet: true, SetName: s.Map},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f), RegAddrMin: addr, RegAddrMax: addr, RegProtoMin: port, RegProtoMax: port})...)
}

// Masquerade gives the connection the address of the interface that it leaves
// by, and a random source port.
type Masquerade struct{}

// Text is the statement in nft's syntax.
func (Masquerade) Text(Family) string { return "masquerade fully-random" }

// Program is the statement as the kernel's expressions.
func (Masquerade) Program(Family) []Expression { return program(&expr.Masq{FullyRandom: true}) }

// Jump goes through another chain and comes back.
type Jump struct{ Chain string }

// Text is the statement in nft's syntax.
func (s Jump) Text(Family) string { return "jump " + s.Chain }

// Program is the statement as the kernel's expressions.
func (s Jump) Program(Family) []Expression {
	return program(&expr.Verdict{Kind: expr.VerdictJump, Chain: s.Chain})
}

// Goto goes on in another chain and does not come back.
type Goto struct{ Chain string }

// Text is the statement in nft's syntax.
func (s Goto) Text(Family) string { return "goto " + s.Chain }

// Program is the statement as the kernel's expressions.
func (s Goto) Program(Family) []Expression {
	return program(&expr.Verdict{Kind: expr.VerdictGoto, Chain: s.Chain})
}

// Drop ends the packet without a word.
type Drop struct{}

// Text is the statement in nft's syntax.
func (Drop) Text(Family) string { return "drop" }

// Program is the statement as the kernel's expressions.
func (Drop) Program(Family) []Expression {
	return program(&expr.Verdict{Kind: expr.VerdictDrop})
}

// Reject ends the packet and tells its sender: ICMP port unreachable. It is
// nft's plain "reject", which kube-proxy uses for every protocol.
type Reject struct{}

// Text is the statement in nft's syntax.
func (Reject) Text(Family) string { return "reject" }

// Port unreachable in ICMP (RFC 792) and ICMPv6 (RFC 4443, 3.1).
const (
	icmpPortUnreachable   = 3
	icmpv6PortUnreachable = 4
)

// Program is the statement as the kernel's expressions.
func (Reject) Program(f Family) []Expression {
	code := uint8(icmpPortUnreachable)
	if f == IPv6 {
		code = icmpv6PortUnreachable
	}
	return program(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code})
}
