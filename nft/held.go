package nft

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Held is one of our tables as the kernel has it.
type Held struct {
	ID
	// Flags are none in ours; 1 is dormant, which no packet meets.
	Flags  uint32
	Sets   map[string]*HeldSet
	Chains map[string]*HeldChain
}

// Bypassed says that the chains that the kernel calls have no rules.
func (h *Held) Bypassed() bool {
	for _, c := range h.Chains {
		if c.Base != nil && len(c.Rules) > 0 {
			return false
		}
	}
	return true
}

// HeldSet is a set as the kernel has it.
type HeldSet struct {
	Name              string
	KeyType, KeyLen   uint32
	DataType, DataLen uint32
	Flags             uint32
	Counted           bool
	Burst             uint32
	UserData          []byte
	// Timeout is how long elements stay that rules add, if the set says so.
	Timeout time.Duration
	// Handle is a number that no other set of the table has or had.
	Handle uint64
	// Count is the number of elements that the kernel says there are, or 0
	// where it doesn't say.
	Count uint32
	// Large reports whether the elements were not read because there are too many.
	Large    bool
	Elements []Element
}

// HeldChain is a chain as the kernel has it.
type HeldChain struct {
	Base *Base
	// Drops says that the policy of a base chain is to drop.
	Drops bool
	Rules []HeldRule
}

// HeldRule is a rule as the kernel has it.
type HeldRule struct {
	Handle   uint64
	Program  []byte // the attributes of its list of expressions
	UserData []byte
	// Literal is the set that is written within the rule, if there is one.
	Literal *HeldSet
}

// Held is the rule as the kernel would have it.
func (r *Rule) Held(f Family) (HeldRule, error) {
	var list attributeList
	for _, e := range r.Program(f) {
		data, err := e.Marshal(f)
		if err != nil {
			return HeldRule{}, err
		}
		list.put(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data)
	}
	held := HeldRule{Program: list, UserData: r.UserData()}
	if l := r.Literal(); l != nil {
		set, elements := l.Literal()
		held.Literal = set.held(f, elements)
	}
	return held, nil
}

// held is the set as the kernel would have it.
func (s *Set) held(f Family, elements []Element) *HeldSet {
	h := &HeldSet{
		Name: s.Name, KeyLen: uint32(s.KeyLen(f)), DataLen: uint32(s.DataLen(f)), Flags: s.Flags(), Counted: s.Counted,
		UserData: s.UserData(f), Count: uint32(len(elements)), Elements: elements,
	}
	if h.KeyType, h.DataType = s.TypeIDs(f); s.Verdicts {
		h.DataType = verdictType
	}
	return h
}

// Held is the table as the kernel would have it.
func (c *Contents) Held() (*Held, error) {
	held := &Held{ID: c.ID(), Sets: map[string]*HeldSet{}, Chains: map[string]*HeldChain{}}
	for _, s := range c.Sets {
		held.Sets[s.Name] = s.held(c.Family, c.Elements[s])
	}
	for _, chain := range c.Chains {
		to := &HeldChain{Base: chain.Base}
		for i := range chain.Rules {
			rule, err := chain.Rules[i].Held(c.Family)
			if err != nil {
				return nil, err
			}
			to.Rules = append(to.Rules, rule)
		}
		held.Chains[chain.Name] = to
	}
	return held, nil
}

// verdictType is the data type of a verdict map, NFT_DATA_VERDICT.
const verdictType = unix.NFT_DATA_VERDICT

// setConcat is NFT_SET_CONCAT, from Linux 5.6 on.
const setConcat = 0x80

// Flags are the set's flags as the kernel counts them.
func (s *Set) Flags() uint32 {
	var flags uint32
	if s.Kind() == "map" {
		flags |= unix.NFT_SET_MAP
	}
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
		if !s.Paired() {
			flags |= setConcat
		}
	}
	if s.Dynamic {
		flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	}
	if s.Literal {
		flags |= unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT
	}
	return flags
}

// Matches reports whether the kernel's set is this one. What the kernel keeps for nft
// alone counts by its meaning: it can't be changed, packets don't notice it, and each
// version of nft, and older ones of ours, describe the same types in other ways.
func (s *Set) Matches(f Family, h *HeldSet) bool {
	sameData := sameTypes(f, s.Data, h.DataType) && h.DataLen == uint32(s.DataLen(f))
	if s.Verdicts {
		sameData = h.DataType == verdictType // its length is that of the kernel's own structure
	}
	return sameData && sameTypes(f, s.Key, h.KeyType) && h.KeyLen == uint32(s.KeyLen(f)) &&
		h.Flags == s.Flags() && h.Counted == s.Counted && h.Burst == s.Burst && setComment(h.UserData) == s.Comment
}

// SameBase says that the kernel calls its chain where it calls this one.
func (c *Chain) SameBase(h *HeldChain) bool {
	if c.Base == nil || h.Base == nil {
		return c.Base == h.Base
	}
	return *c.Base == *h.Base
}

// SameRules says that the kernel's chain has this chain's rules.
func (c *Chain) SameRules(f Family, h *HeldChain) bool {
	if len(c.Rules) != len(h.Rules) {
		return false
	}
	for i := range c.Rules {
		if !c.Rules[i].matches(f, h.Rules[i]) {
			return false
		}
	}
	return true
}

func (r *Rule) matches(f Family, h HeldRule) bool {
	if !bytes.Equal(r.UserData(), h.UserData) {
		return false
	}
	held := slices.DeleteFunc(attributes(h.Program), func(a attribute) bool { return swapsNothing(a.value) })
	program := r.Program(f)
	if len(held) != len(program) || !sameLiteral(f, r.Literal(), h.Literal) {
		return false
	}
	for i, e := range program {
		var passing uint16
		if l, ok := e.(literalLookup); ok {
			l.name = h.Literal.Name
			e, passing = l, unix.NFTA_LOOKUP_SET_ID
		}
		sent, err := e.Marshal(f)
		if err != nil {
			return false
		}
		switch l, _ := e.(library); l.Any.(type) {
		case *expr.Counter:
			// What it has counted is not part of the rule; its name is.
			sent = sent[:padded(int(binary.NativeEndian.Uint16(sent)))]
		case *expr.Lookup:
			passing = unix.NFTA_LOOKUP_SET_ID
			if !l.Any.(*expr.Lookup).Invert && inverted(held[i].value) {
				return false
			}
		case *expr.Dynset:
			passing = unix.NFTA_DYNSET_SET_ID
		}
		if !within(sent, held[i].value, passing) {
			return false
		}
	}
	return true
}

// sameLiteral says that the set within the kernel's rule is that of a statement.
func sameLiteral(f Family, l Literal, h *HeldSet) bool {
	if l == nil || h == nil {
		return l == nil && h == nil
	}
	set, elements := l.Literal()
	if !set.Matches(f, h) || len(h.Elements) != len(elements) {
		return false
	}
	held := make(map[string]Element, len(elements))
	for _, e := range h.Elements {
		held[e.Key] = e
	}
	for _, e := range elements {
		if held[e.Key] != e {
			return false
		}
	}
	return true
}

// inverted says that a lookup goes on for what is not in the set. One that is not
// inverted is sent without flags.
func inverted(lookup []byte) bool {
	for _, data := range attributes(lookup) {
		for _, a := range attributes(data.value) {
			if data.nested && a.typ == unix.NFTA_LOOKUP_FLAGS && len(a.value) == 4 {
				return binary.BigEndian.Uint32(a.value)&unix.NFT_LOOKUP_F_INV != 0
			}
		}
	}
	return false
}

// swapsNothing reports whether an expression swaps the bytes of less than one number
// in place. nft up to 1.0.9 writes one for a field of one byte in a key with ranges
// (nftables 9fe58952c45a), and so did we; kernels with bb061d3de417 ("nft_byteorder:
// remove multi-register support") refuse it.
func swapsNothing(expression []byte) bool {
	e := heldExpression(expression)
	return e.Name == "byteorder" && e.Uint32(unix.NFTA_BYTEORDER_LEN) < e.Uint32(unix.NFTA_BYTEORDER_SIZE) &&
		e.Uint32(unix.NFTA_BYTEORDER_SREG) == e.Uint32(unix.NFTA_BYTEORDER_DREG)
}

// typeMask is an attribute's type without its flags, NLA_TYPE_MASK.
const typeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)

type attribute struct {
	typ    uint16
	nested bool
	value  []byte
}

// attributes reads a list of netlink attributes.
func attributes(b []byte) []attribute {
	var list []attribute
	for len(b) > 0 {
		typ, value, rest := nextAttribute(b)
		if value == nil {
			break
		}
		list = append(list, attribute{typ, binary.NativeEndian.Uint16(b[2:])&unix.NLA_F_NESTED != 0, value})
		b = rest
	}
	return list
}

// within says that every attribute in sent is in held with the same value. The
// kernel lists some more that it fills in itself, and does not list those of
// type passing, which mean something only in their own transaction.
func within(sent, held []byte, passing uint16) bool {
	have := attributes(held)
	for _, s := range attributes(sent) {
		i := slices.IndexFunc(have, func(h attribute) bool { return h.typ == s.typ })
		switch {
		case i < 0:
			if s.typ != passing {
				return false
			}
		case s.nested:
			if !within(s.value, have[i].value, passing) {
				return false
			}
		case !bytes.Equal(s.value, have[i].value):
			return false
		}
	}
	return true
}
