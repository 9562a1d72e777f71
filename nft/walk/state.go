package walk

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// client is a kind of client.
type client uint8

const (
	pod client = iota
	node
	outside
	clients // how many
)

// test is what a rule asks about a client: whether it is in one of some networks,
// or comes in by an interface.
type test struct {
	nets []netip.Prefix
	name string
}

func (t test) known() bool { return t.nets != nil || t.name != "" }

// single says that it is for one address.
func (t test) single() bool { return len(t.nets) == 1 && t.nets[0].IsSingleIP() }

func (t test) String() string {
	if t.name != "" {
		return "interface " + t.name
	}
	if t.nets == nil {
		return ""
	}
	return fmt.Sprint(t.nets)
}

func (t test) equal(o test) bool { return t.name == o.name && slices.Equal(t.nets, o.nets) }

// symbol says what the bytes of a word are that nobody knows.
type symbol uint8

const (
	known symbol = iota
	// source is a part of the source address.
	source
	// iface is a part of the name of the interface.
	iface
	// random is a random number.
	random
	// unknown is anything else.
	unknown
)

// word is what a 32-bit register holds.
type word struct {
	b      [4]byte
	symbol symbol
	// part is which word of several it is.
	part uint8
	// bits are how many of the source's leading bits are left.
	bits uint8
	// below and offset are the random number's bounds; big says that it is in
	// network byte order.
	below, offset uint32
	big           bool
}

// registers is what the registers hold, and which have been written.
type registers [16]word

func (r *registers) set(at int, data []byte) {
	for n := 0; at < len(r) && n < len(data); at, n = at+1, n+4 {
		var w word
		copy(w.b[:], data[n:])
		r[at] = w
	}
}

func (r *registers) setSymbol(at, length int, w word) {
	for part := 0; at < len(r) && 4*part < length; at, part = at+1, part+1 {
		w.part = uint8(part)
		r[at] = w
	}
}

// bytes are what a known value is; ok is false if part of it isn't known.
func (r *registers) bytes(at, length int) (data []byte, ok bool) {
	for ; length > 0; at, length = at+1, length-4 {
		if at >= len(r) || r[at].symbol != known {
			return nil, false
		}
		data = append(data, r[at].b[:min(4, length)]...)
	}
	return data, true
}

// frame is a place in a chain to go on at.
type frame struct {
	chain *chain
	rule  int
}

// state is a packet on its way.
type state struct {
	registers
	weight         float64
	mark, priority uint32
	// from is where it comes from, if that is known, to where it goes to. original is
	// where it went to before it was translated, if it was.
	from, to, original netip.AddrPort
	in                 string // the interface that it comes in by, if that is known
	masqueraded        bool
	// decided says at which end of the connection it is settled which address it has:
	// no chain that translates that end is called again.
	decided [2]bool
	end     end
	stack   []frame
	// where are what has been assumed of the source.
	where []assumption
	// asked and updated are the sets that rules write to which the packet was
	// looked up in, and written to.
	asked   []*set
	updated []update
	trail   trail
}

type assumption struct {
	nets []netip.Prefix
	in   bool
}

func (a assumption) String() string {
	if a.in {
		return fmt.Sprint(a.nets)
	}
	return fmt.Sprint("not ", a.nets)
}

type update struct {
	set     *set
	timeout time.Duration
}

// clone is another packet that is as far as this one.
func (s *state) clone() *state {
	c := *s
	c.stack = slices.Clone(s.stack)
	c.where, c.asked, c.updated = slices.Clip(s.where), slices.Clip(s.asked), slices.Clip(s.updated)
	c.trail = s.trail.clone()
	return &c
}

func native(b []byte) uint32 {
	var full [4]byte
	copy(full[:], b)
	return binary.NativeEndian.Uint32(full[:])
}

func nativeBytes(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
