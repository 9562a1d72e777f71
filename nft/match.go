package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
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
func (s InSet) Program(f Family) []expr.Any {
	return append(load(f, s.Key), &expr.Lookup{SourceRegister: register(0), SetName: s.Set, Invert: s.Not})
}

// NewConnection goes on for the first packet of a connection (ct state new).
type NewConnection struct{}

// Text is the statement in nft's syntax.
func (NewConnection) Text(Family) string { return "ct state new" }

// Program is the statement as the kernel's expressions.
func (NewConnection) Program(Family) []expr.Any {
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
func (Translated) Program(Family) []expr.Any {
	return anyBit(&expr.Ct{Key: expr.CtKeySTATUS, Register: register(0)}, statusDNAT)
}

// Marked goes on when any of the bits is set in the packet's mark.
type Marked struct{ Bits uint32 }

// Text is the statement in nft's syntax.
func (s Marked) Text(Family) string {
	return fmt.Sprintf("meta mark & 0x%08x != 0x00000000", s.Bits)
}

// Program is the statement as the kernel's expressions.
func (s Marked) Program(Family) []expr.Any {
	return anyBit(&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)}, s.Bits)
}

// anyBit loads a word and goes on when any of bits is set in it.
func anyBit(load expr.Any, bits uint32) []expr.Any {
	return []expr.Any{load, bitwise(bits, 0), &expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: word(0)}}
}

// bitwise makes the first register (r & mask) ^ xor.
func bitwise(mask, xor uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: word(mask), Xor: word(xor)}
}

func word(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

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
func (s Mark) Program(Family) []expr.Any {
	keep := ^s.Bits
	if s.Flip {
		keep = ^uint32(0)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)},
		bitwise(keep, s.Bits),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0), SourceRegister: true},
	}
}

// Counter counts the packets and bytes that come by.
type Counter struct{}

// Text is the statement in nft's syntax.
func (Counter) Text(Family) string { return "counter" }

// Program is the statement as the kernel's expressions.
func (Counter) Program(Family) []expr.Any { return []expr.Any{&expr.Counter{}} }
