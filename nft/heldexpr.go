package nft

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// HeldExpression is an expression of a rule as the kernel has it.
type HeldExpression struct {
	Name string
	data []byte // its attributes
}

// Expressions are the rule's expressions in order.
func (r HeldRule) Expressions() iter.Seq[HeldExpression] {
	return func(yield func(HeldExpression) bool) {
		for b := r.Program; len(b) > 0; {
			var expression []byte
			if _, expression, b = nextAttribute(b); expression == nil {
				return
			}
			if !yield(heldExpression(expression)) {
				return
			}
		}
	}
}

// heldExpression reads the attributes of one expression.
func heldExpression(attributes []byte) HeldExpression {
	name := find(attributes, unix.NFTA_EXPR_NAME)
	if n := len(name); n > 0 && name[n-1] == 0 {
		name = name[:n-1]
	}
	return HeldExpression{string(name), find(attributes, unix.NFTA_EXPR_DATA)}
}

// Value is the value of an attribute, or of one that is nested in others; nil if
// there is none.
func (e HeldExpression) Value(path ...uint16) []byte {
	value := e.data
	for _, typ := range path {
		if value = find(value, typ); value == nil {
			return nil
		}
	}
	return value
}

// Uint32 is Value as a number, 0 if there is none.
func (e HeldExpression) Uint32(path ...uint16) uint32 {
	if v := e.Value(path...); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// Uint64 is Value as a number, 0 if there is none.
func (e HeldExpression) Uint64(path ...uint16) uint64 {
	if v := e.Value(path...); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func find(b []byte, typ uint16) []byte {
	for len(b) > 0 {
		t, value, rest := nextAttribute(b)
		if value == nil {
			return nil
		}
		if t == typ {
			return value
		}
		b = rest
	}
	return nil
}

// nextAttribute takes the first of a list of netlink attributes apart; value is
// nil when there is none.
func nextAttribute(b []byte) (typ uint16, value, rest []byte) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil
	}
	return binary.NativeEndian.Uint16(b[2:]) & typeMask, b[unix.SizeofNlAttr:n], b[min(padded(n), len(b)):]
}
