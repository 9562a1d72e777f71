package nft

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Set is a set, a map or a verdict map. Its schema is fixed when it is made;
// its elements come and go.
type Set struct {
	Name string
	// Key is what a rule looks up. It also is the set's typeof, by which nft
	// prints elements.
	Key []Field
	// Data is what a lookup in a map gives.
	Data []Field
	// Verdicts makes a verdict map. Data is empty then.
	Verdicts bool
	// Interval makes a set of ranges, whose elements have a KeyEnd.
	Interval bool
	// Dynamic makes a map that rules write to. Its elements are no part of any
	// ruleset. Size bounds it.
	Dynamic bool
	Size    uint32
	// Counted has each element count the packets that find it. The counts are no
	// part of the element.
	Counted bool
	// Burst, if it is not 0, has each element found no more often than a token bucket of
	// that size allows. Data then is how many tokens come back in a day, in 8 bytes in
	// network order. A lookup that the bucket does not allow finds nothing.
	Burst uint32
	// Literal is for one that is written within a rule, and belongs to it alone.
	Literal bool
	Comment string

	// Behind says that a packet comes to this set through what it found in another
	// one: its elements are written before that and deleted only when no packet can
	// still be between the two lookups.
	Behind bool
	// Shared says that several owners may want the same element: it stays as
	// long as one of them does.
	Shared bool
}

// Element is a member of a set or map. It is comparable.
type Element struct {
	// Key is the key's bytes as they lie in the kernel's registers.
	Key string
	// KeyEnd is the last key of a range. Each of several fields is a range by
	// itself.
	KeyEnd string
	// Data is the data's bytes, likewise; empty except in a map of data.
	Data string
	// Goto is the chain that a verdict map's element leads to.
	Goto    string
	Comment string
	// Left is what is left of the life of an element that ends by itself: one of a
	// Dynamic map. 0 is for ever.
	Left time.Duration
}

// Count is how many packets have found an element.
type Count struct {
	Element
	Packets uint64
}

// Placed is an element together with the set that it belongs to.
type Placed struct {
	Table *Table
	Set   *Set
	Element
}

// maxComment is the longest comment that nft reads back: 128 bytes with the
// terminating zero.
const maxComment = 127

// Paired says that the kernel has a range as two elements: its first key, and
// the first one past its end.
func (s *Set) Paired() bool { return s.Interval && len(s.Key) == 1 }

// MaxElementComment is the length in bytes that an element's comment may have.
const MaxElementComment = maxComment

// Kind is "map" or "set".
func (s *Set) Kind() string {
	if s.Verdicts || len(s.Data) > 0 {
		return "map"
	}
	return "set"
}

// TypeIDs are nft's numbers for the key's and the data's type.
func (s *Set) TypeIDs(f Family) (key, data uint32) {
	return typeID(f, s.Key), typeID(f, s.Data)
}

// DataLen is the length in bytes of a map's data.
func (s *Set) DataLen(f Family) int { return KeyLen(f, s.Data) }

// KeyLen is the length in bytes of a key.
func (s *Set) KeyLen(f Family) int { return KeyLen(f, s.Key) }

// schema is the set's declaration without its elements, each line indented.
func (s *Set) schema(f Family, indent string) string {
	var b strings.Builder
	b.WriteString(indent + s.types(f) + "\n")
	if s.Counted {
		b.WriteString(indent + "counter\n")
	}
	if s.Burst > 0 {
		b.WriteString(indent + s.limit(0) + "\n")
	}
	if s.Size > 0 {
		fmt.Fprintf(&b, "%ssize %d\n", indent, s.Size)
	}
	if s.Interval {
		b.WriteString(indent + "flags interval\n")
	}
	if s.Dynamic {
		b.WriteString(indent + "flags dynamic,timeout\n")
	}
	if s.Comment != "" {
		fmt.Fprintf(&b, "%scomment %q\n", indent, s.Comment)
	}
	return b.String()
}

// types declares the set's key and data. nft up to 0.9.8 ends with a segmentation
// fault when it lists a verdict map that has a typeof, so ours have a type.
func (s *Set) types(f Family) string {
	switch {
	case s.typed(f):
		return "type " + typeNames(f, s.Key) + " : verdict"
	case s.Verdicts:
		return "typeof " + fieldsText(f, s.Key) + " : verdict"
	case len(s.Data) > 0:
		return "typeof " + fieldsText(f, s.Key) + " : " + fieldsText(f, s.Data)
	}
	return "typeof " + fieldsText(f, s.Key)
}

// typed reports whether the set is declared by types instead of a typeof: a verdict
// map, if nft has names for all types in its key.
func (s *Set) typed(f Family) bool { return s.Verdicts && typeNames(f, s.Key) != "" }

// Text is the element as nft lists it.
func (s *Set) Text(f Family, e Element) string {
	text := strings.Join(rangeParts(f, s.Key, e), " . ")
	if s.Burst > 0 {
		text += " " + s.limit(PerDay(e))
	}
	if e.Left > 0 {
		text += fmt.Sprintf(" timeout %dms", e.Left.Milliseconds())
	}
	if e.Comment != "" {
		text += fmt.Sprintf(" comment %q", e.Comment)
	}
	switch {
	case e.Goto != "":
		text += " : goto " + e.Goto
	case len(s.Data) > 0:
		text += " : " + printKey(f, s.Data, e.Data)
	}
	return text
}

// limit is a token bucket as nft lists it. The set's own is never used: each element has one.
func (s *Set) limit(perDay uint64) string {
	return fmt.Sprintf("limit rate %d/day burst %d packets", max(perDay, 1), s.Burst)
}

// PerDay is how many tokens the bucket of an element gets in a day.
func PerDay(e Element) uint64 {
	if len(e.Data) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(e.Data))
}
