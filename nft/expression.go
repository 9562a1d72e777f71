package nft

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Expression is one of the kernel's expressions, which rules are made of.
type Expression interface {
	// Marshal gives the attributes of an element of NFTA_RULE_EXPRESSIONS.
	Marshal(Family) ([]byte, error)
}

// library is an expression that google/nftables knows.
type library struct{ expr.Any }

// Marshal gives the expression's attributes.
func (e library) Marshal(f Family) ([]byte, error) { return expr.Marshal(byte(f), e.Any) }

// program is a list of expressions.
func program(list ...expr.Any) []Expression {
	all := make([]Expression, len(list))
	for i, e := range list {
		all[i] = library{e}
	}
	return all
}

// attributeList packs netlink attributes.
type attributeList []byte

func (l *attributeList) put(typ uint16, value []byte) {
	b := binary.NativeEndian.AppendUint16(*l, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	*l = b
}

func (l *attributeList) put32(typ uint16, value uint32) {
	l.put(typ, binary.BigEndian.AppendUint32(nil, value))
}
