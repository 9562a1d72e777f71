package nft

import (
	"encoding/binary"
	"strings"
)

// User data types of a set, as nft 1.0.6 writes them.
const (
	setUdataKeyOrder     = 0
	setUdataDataOrder    = 1
	setUdataKeyTypeof    = 3
	setUdataDataTypeof   = 4
	setUdataDataInterval = 6
	setUdataComment      = 7
)

// UserData is what nft keeps with a set to list it, byte for byte as nft 1.0.6 writes
// it: newer forms crash older binaries. In one thing it is as nft 0.9.8 writes it: no
// verdict map has a typeof, not even one within a rule, as 0.9.8 crashes on that.
func (s *Set) UserData(f Family) []byte {
	order := func(fields []Field) uint32 {
		if len(fields) == 1 {
			return fields[0].spec(f).typ.order
		}
		return 0
	}
	var u udata
	u = u.put32(setUdataKeyOrder, order(s.Key))
	if s.Kind() == "map" {
		u = u.put32(setUdataDataOrder, order(s.Data))
	}
	if !s.Literal && !s.typed(f) {
		u = u.put(setUdataKeyTypeof, typeofUdata(f, s.Key)) // a rule shows it
		switch {
		case s.Verdicts:
			u = u.put(setUdataDataTypeof, exprUdata(nftExprVerdict))
		case len(s.Data) > 0:
			u = u.put(setUdataDataTypeof, typeofUdata(f, s.Data))
		}
	}
	if s.Kind() == "map" {
		u = u.put32(setUdataDataInterval, 0)
	}
	if s.Comment != "" {
		u = u.put(setUdataComment, append([]byte(s.Comment), 0))
	}
	return u
}

// setComment is a set's comment in its user data.
func setComment(u udata) string {
	return strings.TrimSuffix(string(u.get(setUdataComment)), "\x00")
}

// udata is user data that the kernel keeps for nft: type, length, value.
type udata []byte

func (u udata) put(typ byte, value []byte) udata {
	return append(append(u, typ, byte(len(value))), value...)
}

func (u udata) put32(typ byte, value uint32) udata {
	return u.put(typ, binary.NativeEndian.AppendUint32(nil, value))
}

// exprUdata describes an expression: its number, then its own attributes.
func exprUdata(number uint32, attributes ...uint32) udata {
	var inner udata
	for i, a := range attributes {
		inner = inner.put32(byte(i), a)
	}
	return udata(nil).put32(0, number).put(1, inner)
}

// typeofUdata describes the concatenation of fields. A single field stands for
// itself.
func typeofUdata(f Family, fields []Field) udata {
	if len(fields) == 1 {
		return fields[0].spec(f).udata()
	}
	var parts udata
	for i, field := range fields {
		parts = parts.put(byte(i), field.spec(f).udata())
	}
	return udata(nil).put32(0, nftExprConcat).put(1, parts)
}

// get is the value of a type, or nil.
func (u udata) get(typ byte) []byte {
	for len(u) >= 2 && len(u) >= 2+int(u[1]) {
		if u[0] == typ {
			return u[2 : 2+int(u[1])]
		}
		u = u[2+int(u[1]):]
	}
	return nil
}
