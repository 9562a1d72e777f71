package walk

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

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
	top := s.stack[len(s.stack)-1].chain
	if !w.guard && t.equal(top.pods) {
		return (w.client == pod) != negated, nil
	}
	if t.nets == nil {
		return false, fmt.Errorf("depends on the interface that packets come in by (%s)", t)
	}
	if t.single() && slices.Contains(top.targets, t.nets[0].Addr()) {
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
