package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Field is something that a rule loads into registers and that the keys of
// sets and maps are made of: a part of the packet, or a random number.
type Field interface {
	spec(Family) fieldSpec
}

// SourceAddr is the packet's source address.
type SourceAddr struct{}

// DestAddr is the packet's destination address.
type DestAddr struct{}

// L4Proto is the packet's transport protocol.
type L4Proto struct{}

// DestPort is the packet's destination port, whatever the transport protocol.
type DestPort struct{}

// Random is a random number in [0, Mod), made anew for each packet.
type Random struct{ Mod uint32 }

// Priority is the packet's queueing priority, which no queue has looked at yet
// where we use it to hand a number from one rule to the next.
type Priority struct{}

type fieldSpec struct {
	text  string
	typ   datatype
	load  func(reg uint32) Expression
	udata func() udata // what nft needs to print the field in a typeof
}

// nft's numbers for expressions and headers, from its set user data.
const (
	nftExprVerdict = 1
	nftExprPayload = 7
	nftExprMeta    = 9
	nftExprConcat  = 13
	nftExprNumgen  = 23

	nftHeaderTransport = 11
	nftHeaderIP        = 12
	nftHeaderIP6       = 13
)

func (SourceAddr) spec(f Family) fieldSpec { return addrSpec(f, "saddr", 12, 8, 11, 8) }
func (DestAddr) spec(f Family) fieldSpec   { return addrSpec(f, "daddr", 16, 24, 12, 9) }

// addrSpec takes an address's offset in the IPv4 and IPv6 headers and nft's
// number for it in each.
func addrSpec(f Family, name string, offset4, offset6, nft4, nft6 uint32) fieldSpec {
	offset, number, header := offset4, nft4, uint32(nftHeaderIP)
	if f == IPv6 {
		offset, number, header = offset6, nft6, nftHeaderIP6
	}
	return fieldSpec{
		text: f.String() + " " + name,
		typ:  addrType(f),
		load: func(reg uint32) Expression {
			return library{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(f.AddrLen())}}
		},
		udata: func() udata { return exprUdata(nftExprPayload, header, number) },
	}
}

func (L4Proto) spec(Family) fieldSpec {
	return fieldSpec{
		text:  "meta l4proto",
		typ:   protoType(),
		load:  func(reg uint32) Expression { return library{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}} },
		udata: func() udata { return exprUdata(nftExprMeta, uint32(expr.MetaKeyL4PROTO)) },
	}
}

func (DestPort) spec(Family) fieldSpec {
	return fieldSpec{
		text: "th dport",
		typ:  portType(),
		load: func(reg uint32) Expression {
			return library{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
		},
		udata: func() udata { return exprUdata(nftExprPayload, nftHeaderTransport, 2) },
	}
}

func (Priority) spec(Family) fieldSpec {
	return fieldSpec{
		text:  "meta priority",
		typ:   priorityType(),
		load:  func(reg uint32) Expression { return library{&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: reg}} },
		udata: func() udata { return exprUdata(nftExprMeta, uint32(expr.MetaKeyPRIORITY)) },
	}
}

func (r Random) spec(Family) fieldSpec {
	return fieldSpec{
		text: fmt.Sprintf("numgen random mod %d", r.Mod),
		typ:  slotType(),
		load: func(reg uint32) Expression {
			return library{&expr.Numgen{Register: reg, Modulus: r.Mod, Type: unix.NFT_NG_RANDOM}}
		},
		udata: func() udata { return exprUdata(nftExprNumgen, unix.NFT_NG_RANDOM, r.Mod, 0) },
	}
}

// register is the kernel's name for the n-th 32-bit register. The kernel
// itself calls every fourth by its 128-bit name when it lists a rule, and so
// do we, so that what it lists equals what we sent.
func register(n int) uint32 {
	if n%4 == 0 {
		return unix.NFT_REG_1 + uint32(n/4)
	}
	return unix.NFT_REG32_00 + uint32(n)
}

// load is the code that puts the concatenation of fields into the registers
// from the first on.
func load(f Family, fields []Field) []Expression { return loadAt(f, 0, fields) }

// loadAt is load from the n-th 32-bit register on.
func loadAt(f Family, n int, fields []Field) []Expression {
	var program []Expression
	for _, field := range fields {
		s := field.spec(f)
		program = append(program, s.load(register(n)))
		n += padded(s.typ.len) / 4
	}
	return program
}

func fieldsText(f Family, fields []Field) string {
	return strings.Join(fieldTexts(f, fields), " . ")
}

func fieldTexts(f Family, fields []Field) []string {
	texts := make([]string, len(fields))
	for i, field := range fields {
		texts[i] = field.spec(f).text
	}
	return texts
}
