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

// conntrack loads a part of the connection's tuple as its first packet was,
// before any translation. google/nftables has no key for an address of one
// family, and nft 1.0.6 aborts at the key for both.
type conntrack struct {
	key      uint32
	register uint32
}

// directionOriginal is IP_CT_DIR_ORIGINAL.
const directionOriginal = 0

// Marshal gives the expression's attributes.
func (e conntrack) Marshal(Family) ([]byte, error) {
	var data attributeList
	data.put32(unix.NFTA_CT_KEY, e.key)
	data.put(unix.NFTA_CT_DIRECTION, []byte{directionOriginal})
	data.put32(unix.NFTA_CT_DREG, e.register)
	var all attributeList
	all.put(unix.NFTA_EXPR_NAME, []byte("ct\x00"))
	all.put(unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, data)
	return all, nil
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
