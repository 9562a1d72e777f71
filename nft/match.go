package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// InSet goes on when the packet's Key is in the set; with Not, when it isn't.
type InSet struct {
	Key []Field
	Set string
	Not bool
}

// Text is the statement in nft's syntax.
func (s InSet) Text(f Family) string {
	op := ""
	if s.Not {
		op = "!= "
	}
	return fmt.Sprintf("%s %s@%s", fieldsText(f, s.Key), op, s.Set)
}

// Program is the statement as the kernel's expressions.
func (s InSet) Program(f Family) []Expression {
	return append(loadAt(f, 0, s.Key), program(&expr.Lookup{SourceRegister: register(0), SetName: s.Set, Invert: s.Not})...)
}

// NewConnection goes on for the first packet of a connection (ct state new).
type NewConnection struct{}

// Text is the statement in nft's syntax.
func (NewConnection) Text(Family) string { return "ct state new" }

// Program is the statement as the kernel's expressions.
func (NewConnection) Program(Family) []Expression {
	return anyBit(&expr.Ct{Key: expr.CtKeySTATE, Register: register(0)}, expr.CtStateBitNEW)
}

// Translated goes on for connections that were given another destination (ct
// status dnat).
type Translated struct{}

// Text is the statement in nft's syntax.
func (Translated) Text(Family) string { return "ct status dnat" }

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// Program is the statement as the kernel's expressions.
func (Translated) Program(Family) []Expression {
	return anyBit(&expr.Ct{Key: expr.CtKeySTATUS, Register: register(0)}, statusDNAT)
}

// Marked goes on when any of the bits is set in the packet's mark.
type Marked struct{ Bits uint32 }

// Text is the statement in nft's syntax.
func (s Marked) Text(Family) string {
	return fmt.Sprintf("meta mark & 0x%08x != 0x00000000", s.Bits)
}

// Program is the statement as the kernel's expressions.
func (s Marked) Program(Family) []Expression {
	return anyBit(&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)}, s.Bits)
}

// Prioritized goes on when any of the bits is set in the packet's priority.
type Prioritized struct{ Bits uint32 }

// Text is the statement in nft's syntax.
func (s Prioritized) Text(Family) string {
	return fmt.Sprintf("meta priority & %x:%x != none", s.Bits>>16, s.Bits&0xffff)
}

// Program is the statement as the kernel's expressions.
func (s Prioritized) Program(Family) []Expression {
	return anyBit(&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register(0)}, s.Bits)
}

// anyBit loads a word and goes on when any of bits is set in it.
func anyBit(load expr.Any, bits uint32) []Expression {
	return program(load, bitwise(bits, 0), &expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: word(0)})
}

// bitwise makes the first register (r & mask) ^ xor.
func bitwise(mask, xor uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: word(mask), Xor: word(xor)}
}

func word(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// FromNode goes on for packets whose source is an address of this node.
type FromNode struct{ Not bool }

// Text is the statement in nft's syntax.
func (s FromNode) Text(Family) string { return localText("saddr", s.Not) }

// Program is the statement as the kernel's expressions.
func (s FromNode) Program(Family) []Expression {
	return local(&expr.Fib{Register: register(0), FlagSADDR: true, ResultADDRTYPE: true}, s.Not)
}

// ToNode goes on for packets whose destination is an address of this node.
type ToNode struct{ Not bool }

// Text is the statement in nft's syntax.
func (s ToNode) Text(Family) string { return localText("daddr", s.Not) }

// Program is the statement as the kernel's expressions.
func (s ToNode) Program(Family) []Expression {
	return local(&expr.Fib{Register: register(0), FlagDADDR: true, ResultADDRTYPE: true}, s.Not)
}

func localText(addr string, not bool) string {
	if not {
		return "fib " + addr + " type != local"
	}
	return "fib " + addr + " type local"
}

func local(load expr.Any, not bool) []Expression {
	return program(load, &expr.Cmp{Op: equal(!not), Register: register(0), Data: word(unix.RTN_LOCAL)})
}

func equal(yes bool) expr.CmpOp {
	if yes {
		return expr.CmpOpEq
	}
	return expr.CmpOpNeq
}

// Transport goes on for one transport protocol, by its number in the IP header.
type Transport struct{ Protocol uint8 }

// Text is the statement in nft's syntax.
func (s Transport) Text(Family) string {
	return "meta l4proto " + printProto(string([]byte{s.Protocol}))
}

// Program is the statement as the kernel's expressions.
func (s Transport) Program(Family) []Expression {
	return program(
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{s.Protocol}})
}

// Incoming goes on for packets that came in by an interface of that name, or,
// with Prefix, of a name that starts so. What the node itself sends came in by
// none.
type Incoming struct {
	Name   string
	Prefix bool
	Not    bool
}

// Text is the statement in nft's syntax.
func (s Incoming) Text(Family) string {
	text, op := s.Name, ""
	if s.Prefix {
		text += "*"
	}
	if s.Not {
		op = "!= "
	}
	return fmt.Sprintf("iifname %s%q", op, text)
}

// Program is the statement as the kernel's expressions.
func (s Incoming) Program(Family) []Expression {
	// Names are compared with all of their zeros, prefixes without any.
	name := []byte(s.Name)
	if !s.Prefix {
		name = append(name, make([]byte, unix.IFNAMSIZ-len(name))...)
	}
	return program(
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register(0)},
		&expr.Cmp{Op: equal(!s.Not), Register: register(0), Data: name})
}

// Mark changes the packet's mark: it sets the bits, or flips them.
type Mark struct {
	Bits uint32
	Flip bool
}

// Text is the statement in nft's syntax.
func (s Mark) Text(Family) string {
	op := "|"
	if s.Flip {
		op = "^"
	}
	return fmt.Sprintf("meta mark set meta mark %s 0x%08x", op, s.Bits)
}

// Program is the statement as the kernel's expressions.
func (s Mark) Program(Family) []Expression {
	keep := ^s.Bits
	if s.Flip {
		keep = ^uint32(0)
	}
	return program(
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)},
		bitwise(keep, s.Bits),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0), SourceRegister: true},
	)
}

// Counter counts the packets and bytes that come by.
type Counter struct{}

// Text is the statement in nft's syntax.
func (Counter) Text(Family) string { return "counter" }

// Program is the statement as the kernel's expressions.
func (Counter) Program(Family) []Expression { return program(&expr.Counter{}) }
