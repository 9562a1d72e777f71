package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// typed is a field of which only the type is known.
type typed struct{ datatype }

func (t typed) spec(Family) fieldSpec { return fieldSpec{typ: t.datatype} }

// fieldsOf are the fields of a set of the kernel, as far as the numbers of their types
// say; nil if one is of no type that is known here.
func fieldsOf(f Family, id uint32) []Field {
	var fields []Field
	for ; id != 0; id >>= typeBits {
		part, found := id&(1<<typeBits-1), false
		for _, t := range []datatype{addrType(f), protoType(), portType(), slotType(), priorityType()} {
			if t.id == part || t.part == part && part != 0 {
				fields, found = append([]Field{typed{t}}, fields...), true
				break
			}
		}
		if !found {
			return nil
		}
	}
	return fields
}

// Anonymous reports whether the set is written within a rule.
func (h *HeldSet) Anonymous() bool { return h.Flags&unix.NFT_SET_ANONYMOUS != 0 }

// Text is an element as nft lists it.
func (h *HeldSet) Text(f Family, e Element) string {
	s := &Set{Key: fieldsOf(f, h.KeyType), Verdicts: h.DataType == verdictType}
	if !s.Verdicts && h.DataType != 0 {
		s.Data = fieldsOf(f, h.DataType)
	}
	text := s.Text(f, e)
	if s.Verdicts && len(e.Data) >= 4 {
		text += " : " + VerdictText(int32(binary.BigEndian.Uint32([]byte(e.Data))), e.Data[4:])
	}
	return text
}

// Has reports whether an element has a key in it: each field of a range is a range by
// itself.
func (h *HeldSet) Has(f Family, e *Element, key string) bool {
	if e.KeyEnd == "" {
		return e.Key == key
	}
	fields := fieldsOf(f, h.KeyType)
	if len(fields) < 2 || KeyLen(f, fields) != len(key) {
		return e.Key <= key && key <= e.KeyEnd
	}
	at := 0
	for _, field := range fields {
		end := at + KeyLen(f, []Field{field})
		if end > len(e.Key) || end > len(e.KeyEnd) || key[at:end] < e.Key[at:end] || key[at:end] > e.KeyEnd[at:end] {
			return false
		}
		at = end
	}
	return true
}

// VerdictText is a verdict in nft's syntax.
func VerdictText(code int32, chain string) string {
	switch code {
	case CodeDrop:
		return "drop"
	case CodeAccept:
		return "accept"
	case CodeJump:
		return "jump " + chain
	case CodeGoto:
		return "goto " + chain
	case CodeReturn:
		return "return"
	}
	return "continue"
}
