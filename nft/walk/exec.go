package walk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// query is what is the same for a packet on all of its ways.
type query struct {
	client   client
	protocol byte
	World
	// concrete says that nothing about the packet is left open, and that its trail is
	// kept.
	concrete bool
}

// end is what becomes of a packet.
type end uint8

const (
	through end = iota
	dropped
	rejected
	translated
)

// walker takes one packet through a base chain.
type walker struct {
	*Ruleset
	*query
	hook   nft.Hook
	guard  bool // in a chain that decides who may go on
	steps  int
	states []*state // all ways that it went
}

// most is how many steps a packet may take. The kernel has no loops.
const most = 1 << 20

var errTooLong = errors.New("takes too many steps")

// chain takes a packet through a base chain and gives all ways that it can go.
func (r *Ruleset) chain(q *query, c *chain, s *state) ([]*state, error) {
	w := &walker{Ruleset: r, query: q, hook: c.base.Hook, guard: c.guard()}
	s = s.clone()
	s.stack = append(s.stack[:0], frame{c, 0})
	s.registers = registers{}
	err := w.run(s)
	return w.states, err
}

// run goes on until the packet ends.
func (w *walker) run(s *state) error {
	for len(s.stack) > 0 {
		top := &s.stack[len(s.stack)-1]
		if top.rule == len(top.chain.rules) {
			if c := top.chain; c.drops {
				if w.concrete {
					s.trail.open(s, Step{Table: c.ID, Hook: w.hook, Chain: c.name, Matched: true})
				}
				w.stop(dropped, s)
				return nil
			}
			s.stack = s.stack[:len(s.stack)-1]
			continue
		}
		c, r := top.chain, &top.chain.rules[top.rule]
		top.rule++
		if w.concrete {
			s.trail.open(s, Step{Table: c.ID, Hook: w.hook, Chain: c.name, Rule: r})
		}
		if err := w.rule(s, r.steps); err != nil {
			return in(err, c.name, r.Number)
		}
		if len(s.stack) == 0 {
			return nil
		}
	}
	w.stop(through, s)
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
	s.trail.current.Matched = true
	return nil
}

// fork lets another packet go on with what remains of the rule, and then the rest.
func (w *walker) fork(s *state, rest []step) error {
	if err := w.rule(s, rest); err != nil || len(s.stack) == 0 {
		return err
	}
	return w.run(s)
}

// stop ends a packet's way through the chain.
func (w *walker) stop(e end, s *state) {
	s.stack, s.end = nil, e
	s.trail.close(s)
	w.states = append(w.states, s)
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
		return false, w.translate(s, at)
	case opMasquerade:
		s.trail.current.Matched, s.masqueraded = true, true
		if s.from.IsValid() {
			source := netip.Addr{}
			if w.SourceTo != nil {
				source = w.SourceTo(s.to.Addr())
			}
			s.from = netip.AddrPortFrom(source, 0) // the port is random
		}
		w.stop(through, s)
		return false, nil
	case opReject:
		s.trail.current.Matched = true
		w.stop(rejected, s)
		return false, nil
	case opUpdate:
		s.updated = append(slices.Clip(s.updated), update{at.set, at.timeout})
	}
	return true, nil
}

// translate gives the packet another destination.
func (w *walker) translate(s *state, at *step) error {
	addr, ok := s.bytes(at.src, w.family.AddrLen())
	to, number := netip.Addr{}, s.to.Port()
	to, _ = netip.AddrFromSlice(addr)
	if at.dst != noMap {
		var port []byte
		if port, ok = s.bytes(at.dst, 2); ok {
			number = binary.BigEndian.Uint16(port)
		}
	}
	if !ok || !to.IsValid() {
		return errors.New("translates to what is not known")
	}
	s.trail.current.Matched = true
	s.original, s.to = s.to, netip.AddrPortFrom(to, number)
	w.stop(through, s)
	return nil
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
	s.trail.current.Matched, s.trail.current.Target = true, to
	switch code {
	case verdictAccept:
		w.stop(through, s)
	case verdictDrop:
		w.stop(dropped, s)
	case verdictJump, verdictGoto:
		c := s.stack[len(s.stack)-1].chain.chains[to]
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
