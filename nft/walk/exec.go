package walk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// packet is what is known of a packet.
type packet struct {
	client   client
	to       netip.AddrPort
	protocol byte
	// local says that it goes to one of this node's addresses.
	local bool
	// original is where it went to before it was translated.
	original netip.AddrPort
}

// end is what becomes of a packet in a base chain.
type end uint8

const (
	through end = iota
	dropped
	rejected
	translated
	masqueraded
)

// leaf is one of the ways that a packet can go.
type leaf struct {
	end
	*state
}

// walker takes one packet through chains.
type walker struct {
	*Table
	packet
	guard  bool // in a chain that decides who may go on
	steps  int
	leaves []leaf
}

// most is how many steps a packet may take. The kernel has no loops.
const most = 1 << 20

var errTooLong = errors.New("takes too many steps")

// chain takes a packet through a base chain and gives all ways that it can go.
func (t *Table) chain(p packet, c *chain, s *state) ([]leaf, error) {
	w := &walker{Table: t, packet: p, guard: c.guard()}
	s = s.clone()
	s.stack = append(s.stack[:0], frame{c, 0})
	s.registers = registers{}
	err := w.run(s)
	return w.leaves, err
}

func (w *walker) finish(e end, s *state) { w.leaves = append(w.leaves, leaf{e, s}) }

// run goes on until the packet ends.
func (w *walker) run(s *state) error {
	for len(s.stack) > 0 {
		top := &s.stack[len(s.stack)-1]
		if top.rule == len(top.chain.rules) {
			s.stack = s.stack[:len(s.stack)-1]
			continue
		}
		r := &top.chain.rules[top.rule]
		name, number := top.chain.name, top.rule+1
		top.rule++
		if err := w.rule(s, r.steps); err != nil {
			return in(err, name, number)
		}
		if len(s.stack) == 0 {
			return nil
		}
	}
	w.finish(through, s)
	return nil
}

// placed is an error with its place.
type placed struct{ error }

func (p placed) Unwrap() error { return p.error }

// in says in which rule an error is, if it doesn't say so yet.
func in(err error, chain string, rule int) error {
	if _, ok := err.(placed); ok {
		return err
	}
	return placed{fmt.Errorf("chain %s, rule %d: %w", chain, rule, err)}
}

// rule goes through steps until one does not match. A packet that has ended, or
// goes on as others, has no stack then.
func (w *walker) rule(s *state, steps []step) error {
	for i := range steps {
		if w.steps++; w.steps > most {
			return errTooLong
		}
		if match, err := w.step(s, &steps[i], steps[i+1:]); err != nil || !match {
			return err
		}
	}
	return nil
}

// fork lets another packet go on with what remains of the rule, and then the rest.
func (w *walker) fork(s *state, rest []step) error {
	if err := w.rule(s, rest); err != nil || len(s.stack) == 0 {
		return err
	}
	return w.run(s)
}

// stop ends a packet.
func (w *walker) stop(e end, s *state) {
	s.stack = nil
	w.finish(e, s)
}

// step takes one step, and says whether the next one follows.
func (w *walker) step(s *state, at *step, rest []step) (bool, error) {
	switch at.op {
	case opFail:
		return false, at.err
	case opImmediate:
		s.set(at.dst, at.data)
	case opVerdict:
		return false, w.verdict(s, at.key, at.chain)
	case opPayload:
		w.payload(s, at)
	case opMeta:
		w.meta(s, at)
	case opSetMeta:
		value, ok := s.bytes(at.src, 4)
		if !ok {
			return false, errors.New("sets something from what is not known")
		}
		switch at.key {
		case unix.NFT_META_MARK:
			s.mark = native(value)
		case unix.NFT_META_PRIORITY:
			s.priority = native(value)
		default:
			return false, fmt.Errorf("sets meta %d", at.key)
		}
	case opConntrack:
		w.conntrack(s, at)
	case opFib:
		return true, w.fib(s, at)
	case opCompare, opRange:
		return w.compare(s, at, rest)
	case opBitwise:
		bitwise(s, at)
	case opByteorder:
		swap(s, at)
	case opLookup:
		return w.lookup(s, at, rest)
	case opRandom:
		s.registers[at.dst] = word{symbol: random, below: at.key, offset: at.flags}
	case opTranslate:
		addr, ok1 := s.bytes(at.src, w.family.AddrLen())
		port, ok2 := s.bytes(at.dst, 2)
		if !ok1 || !ok2 {
			return false, errors.New("translates to what is not known")
		}
		to, _ := netip.AddrFromSlice(addr)
		s.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(port))
		w.stop(translated, s)
		return false, nil
	case opMasquerade:
		w.stop(masqueraded, s)
		return false, nil
	case opReject:
		w.stop(rejected, s)
		return false, nil
	case opUpdate:
		s.updated = append(slices.Clip(s.updated), update{at.set, at.timeout})
	}
	return true, nil
}

// Verdicts as they go over the wire.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictJump   = 1<<32 + unix.NFT_JUMP
	verdictGoto   = 1<<32 + unix.NFT_GOTO
	verdictReturn = 1<<32 + unix.NFT_RETURN
	verdictBreak  = 1<<32 + unix.NFT_BREAK
	verdictGoOn   = 1<<32 + unix.NFT_CONTINUE
)

func (w *walker) verdict(s *state, code uint32, to string) error {
	switch code {
	case verdictAccept:
		w.stop(through, s)
	case verdictDrop:
		w.stop(dropped, s)
	case verdictJump, verdictGoto:
		c := w.chains[to]
		if c == nil {
			return fmt.Errorf("chain %s is not there", to)
		}
		if code == verdictGoto {
			s.stack = s.stack[:len(s.stack)-1]
		}
		s.stack = append(s.stack, frame{c, 0})
	case verdictReturn:
		s.stack = s.stack[:len(s.stack)-1]
		if len(s.stack) == 0 {
			w.stop(through, s)
		}
	case verdictGoOn, verdictBreak:
	default:
		return fmt.Errorf("verdict %d", int32(code))
	}
	return nil
}

func (t *Table) sourceOffset() uint32 {
	if t.family == nft.IPv6 {
		return 8
	}
	return 12
}

// payload loads a part of the packet.
func (w *walker) payload(s *state, at *step) {
	n := w.family.AddrLen()
	s.setSymbol(at.dst, at.length, word{symbol: unknown})
	switch {
	case at.key == unix.NFT_PAYLOAD_NETWORK_HEADER && at.flags == w.sourceOffset() && at.length <= n:
		s.setSymbol(at.dst, at.length, word{symbol: source, bits: uint8(min(8*at.length, 128))})
	case at.key == unix.NFT_PAYLOAD_NETWORK_HEADER && at.flags == w.sourceOffset()+uint32(n) && at.length <= n:
		s.set(at.dst, w.to.Addr().AsSlice()[:at.length])
	case at.key == unix.NFT_PAYLOAD_TRANSPORT_HEADER && at.flags == 2 && at.length == 2:
		s.set(at.dst, binary.BigEndian.AppendUint16(nil, w.to.Port()))
	}
}

func (w *walker) meta(s *state, at *step) {
	switch at.key {
	case unix.NFT_META_L4PROTO:
		s.set(at.dst, []byte{w.protocol})
	case unix.NFT_META_NFPROTO:
		s.set(at.dst, []byte{byte(w.family)})
	case unix.NFT_META_MARK:
		s.set(at.dst, nativeBytes(s.mark))
	case unix.NFT_META_PRIORITY:
		s.set(at.dst, nativeBytes(s.priority))
	case unix.NFT_META_IIFNAME:
		s.setSymbol(at.dst, unix.IFNAMSIZ, word{symbol: iface})
	default:
		s.registers[at.dst] = word{symbol: unknown}
	}
}

// Bits of a connection's state and status: IP_CT_NEW, and IPS_DST_NAT.
const (
	stateNew   = 1 << 3
	statusDNAT = 1 << 5
)

// conntrack loads something of the connection, of which this is the first packet.
func (w *walker) conntrack(s *state, at *step) {
	original := len(at.data) == 1 && at.data[0] == 0
	s.registers[at.dst] = word{symbol: unknown}
	switch at.key {
	case unix.NFT_CT_STATE:
		s.set(at.dst, nativeBytes(stateNew))
	case unix.NFT_CT_STATUS:
		var status uint32
		if w.original.IsValid() {
			status = statusDNAT
		}
		s.set(at.dst, nativeBytes(status))
	case unix.NFT_CT_SRC, unix.NFT_CT_SRC_IP, unix.NFT_CT_SRC_IP6:
		s.setSymbol(at.dst, w.family.AddrLen(), word{symbol: source, bits: uint8(8 * w.family.AddrLen())})
	case unix.NFT_CT_DST, unix.NFT_CT_DST_IP, unix.NFT_CT_DST_IP6:
		s.setSymbol(at.dst, w.family.AddrLen(), word{symbol: unknown})
		if original && w.original.IsValid() {
			s.set(at.dst, w.original.Addr().AsSlice())
		}
	case unix.NFT_CT_PROTO_DST:
		if original && w.original.IsValid() {
			s.set(at.dst, binary.BigEndian.AppendUint16(nil, w.original.Port()))
		}
	}
}

// fib loads the type of an address.
func (w *walker) fib(s *state, at *step) error {
	local := w.local
	switch {
	case at.key != unix.NFT_FIB_RESULT_ADDRTYPE:
		return fmt.Errorf("asks for result %d", at.key)
	case at.flags == unix.NFTA_FIB_F_SADDR:
		local = w.client == node
	case at.flags != unix.NFTA_FIB_F_DADDR:
		return fmt.Errorf("has flags %#x", at.flags)
	}
	kind := uint32(unix.RTN_UNICAST)
	if local {
		kind = unix.RTN_LOCAL
	}
	s.set(at.dst, nativeBytes(kind))
	return nil
}

// compare goes on if a value is, or isn't, what a rule asks for.
func (w *walker) compare(s *state, at *step, rest []step) (bool, error) {
	value, ok := s.bytes(at.src, len(at.data))
	if ok {
		return holds(at, value), nil
	}
	first := s.registers[at.src]
	negated := at.compare == unix.NFT_CMP_NEQ
	if at.op == opCompare && at.compare != unix.NFT_CMP_EQ && !negated {
		return false, errors.New("compares what is not known")
	}
	switch {
	case first.symbol == source && first.part == 0 && at.op == opRange:
		a, _ := netip.AddrFromSlice(at.data)
		z, _ := netip.AddrFromSlice(at.more)
		return w.ask(s, test{nets: addresses(w.family, string(a.AsSlice()), string(z.AsSlice()))}, negated, rest)
	case first.symbol == source && first.part == 0:
		return w.ask(s, test{nets: sourceNets(w.family, at.data, int(first.bits))}, negated, rest)
	case first.symbol == iface && first.part == 0 && at.op == opCompare:
		return w.ask(s, test{name: interfaceName(at.data)}, negated, rest)
	}
	return false, errors.New("depends on what is not known")
}

// holds says that a known value is what a rule asks for.
func holds(at *step, value []byte) bool {
	if at.op == opRange {
		in := bytes.Compare(value, at.data) >= 0 && bytes.Compare(value, at.more) <= 0
		return in == (at.compare == unix.NFT_RANGE_EQ)
	}
	c := bytes.Compare(value, at.data)
	switch at.compare {
	case unix.NFT_CMP_EQ:
		return c == 0
	case unix.NFT_CMP_NEQ:
		return c != 0
	case unix.NFT_CMP_LT:
		return c < 0
	case unix.NFT_CMP_LTE:
		return c <= 0
	case unix.NFT_CMP_GT:
		return c > 0
	}
	return c >= 0
}

// ask answers a test of the client. By the test that tells pods, it is known;
// otherwise both answers are possible, and the packet goes on with either.
func (w *walker) ask(s *state, t test, negated bool, rest []step) (bool, error) {
	if !w.guard && t.equal(w.pods) {
		return (w.client == pod) != negated, nil
	}
	if t.nets == nil {
		return false, fmt.Errorf("depends on the interface that packets come in by (%s)", t)
	}
	if top := s.stack[len(s.stack)-1].chain; t.single() && slices.Contains(top.targets, t.nets[0].Addr()) {
		return negated, nil // an endpoint that reaches itself, which this client isn't
	}
	for _, a := range s.where {
		if slices.Equal(a.nets, t.nets) {
			return a.in != negated, nil
		}
	}
	in, out := s.clone(), s.clone()
	in.where = append(in.where, assumption{t.nets, true})
	out.where = append(out.where, assumption{t.nets, false})
	matching, other := in, out
	if negated {
		matching, other = out, in
	}
	s.stack = nil // it goes on as two
	if err := w.fork(matching, rest); err != nil {
		return false, err
	}
	return false, w.run(other)
}

// bitwise masks a value.
func bitwise(s *state, at *step) {
	if value, ok := s.bytes(at.src, at.length); ok {
		for i := range value {
			value[i] = value[i]&at.data[i] ^ at.more[i]
		}
		s.set(at.dst, value)
		return
	}
	first := s.registers[at.src]
	ones := leadingOnes(at.data)
	if first.symbol == source && first.part == 0 && len(bytes.Trim(at.more, "\x00")) == 0 && contiguous(at.data, ones) {
		s.setSymbol(at.dst, at.length, word{symbol: source, bits: min(first.bits, uint8(ones))})
		return
	}
	s.setSymbol(at.dst, at.length, word{symbol: unknown})
}

// contiguous says that a mask is n ones and then zeros.
func contiguous(mask []byte, n int) bool {
	for i := n; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return false
		}
	}
	return true
}

// swap changes the byte order of 16- or 32-bit numbers.
func swap(s *state, at *step) {
	if w := s.registers[at.src]; w.symbol == random && at.flags == 4 {
		w.big = !w.big
		s.registers[at.dst] = w
		return
	}
	value, ok := s.bytes(at.src, at.length)
	if !ok {
		s.setSymbol(at.dst, at.length, word{symbol: unknown})
		return
	}
	size := int(at.flags)
	for i := 0; size > 1 && i+size <= len(value); i += size {
		slices.Reverse(value[i : i+size])
	}
	s.set(at.dst, value)
}
