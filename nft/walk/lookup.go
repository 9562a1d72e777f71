package walk

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/view"
)

// lookup looks registers up in a set or map.
func (w *walker) lookup(s *state, at *step, rest []step) (bool, error) {
	length := int(at.set.KeyLen)
	negated := at.flags&unix.NFT_LOOKUP_F_INV != 0
	key, symbols, first := w.key(s, at.src, length)
	switch {
	case first < 0:
		e := at.set.find(w.family, key)
		s.trail.looked(Lookup{Set: at.set.HeldSet, Key: key, Element: e})
		if at.dst == noMap {
			return (e != nil) != negated, nil
		}
		return e != nil, w.take(s, at, e)
	case symbols == onlySource && at.set.dynamic():
		// Clients that are remembered have been here before; this one hasn't.
		s.asked = append(s.asked[:len(s.asked):len(s.asked)], at.set)
		return negated, nil
	case symbols == onlySource && at.dst == noMap:
		return w.lookupSource(s, at, key[:4*first], negated, rest)
	case symbols == onlyRandom:
		return false, w.lookupRandom(s, at, key, first, rest)
	}
	return false, fmt.Errorf("looks what is not known up in set %q", at.set.name)
}

// symbols is what is not known of a key.
type symbols uint8

const (
	nothing symbols = iota
	onlySource
	onlyRandom
	others
)

// key is the key that lies in registers, with what is not known of it, and which
// word of it is the first such, or -1.
func (w *walker) key(s *state, at, length int) (string, symbols, int) {
	var key strings.Builder
	found, first := nothing, -1
	for i := 0; 4*i < length; i++ {
		if at+i >= len(s.registers) {
			return "", others, i
		}
		word := s.registers[at+i]
		is := nothing
		switch word.symbol {
		case known:
		case source:
			is = onlySource
			if int(word.bits) != 8*w.family.AddrLen() {
				is = others
			}
		case random:
			is = onlyRandom
			if found != nothing {
				is = others
			}
		default:
			is = others
		}
		switch {
		case is == nothing:
		case first < 0:
			found, first = is, i
		case found != is:
			found = others
		}
		key.Write(word.b[:min(4, length-4*i)])
	}
	return key.String(), found, first
}

// take does what an element says.
func (w *walker) take(s *state, at *step, e *nft.Element) error {
	switch {
	case e == nil:
		return nil
	case at.dst != toVerdict:
		s.set(at.dst, []byte(e.Data))
		return nil
	case e.Goto != "":
		return w.verdict(s, verdictGoto, e.Goto)
	}
	if len(e.Data) < 4 {
		return fmt.Errorf("set %q has no verdict", at.set.name)
	}
	return w.verdict(s, beUint32(e.Data), e.Data[4:])
}

func beUint32(s string) uint32 {
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}

// lookupSource asks whether the source is in a set: alone, or behind what is known
// in a set of ranges. A set of single sources together with more is of endpoints
// that reach themselves, which this client isn't.
func (w *walker) lookupSource(s *state, at *step, before string, negated bool, rest []step) (bool, error) {
	var nets []netip.Prefix
	switch n := w.family.AddrLen(); {
	case int(at.set.KeyLen) == n:
		nets = at.set.nets(w.family)
	case at.set.interval() && int(at.set.KeyLen) == len(before)+n:
		list, err := at.set.sources(w.family, before)
		if err != nil {
			return false, err
		}
		if nets = view.Union(list); nets == nil {
			nets = list
		}
	case at.set.interval():
		return false, fmt.Errorf("looks the source up in the ranges of set %q", at.set.name)
	}
	if len(nets) == 0 {
		return negated, nil
	}
	return w.ask(s, test{nets: nets}, negated, rest)
}

// lookupRandom goes on with each number that there is an element for, and once
// for all others.
func (w *walker) lookupRandom(s *state, at *step, key string, slot int, rest []step) error {
	number := s.registers[at.src+slot]
	if number.below == 0 {
		return errors.New("has no random numbers to choose from")
	}
	var found []part
	var err error
	if at.set.interval() || int(number.below) > 2*len(at.set.Elements)+few {
		found, err = parts(at.set, number)
	} else {
		found = w.slots(at.set, number, key, slot)
	}
	if err != nil {
		return err
	}
	left := 1.0
	for _, p := range found {
		c := s.clone()
		c.weight *= p.share
		left -= p.share
		c.trail.looked(Lookup{Set: at.set.HeldSet, Key: p.key, Element: p.Element, Of: number.below})
		if err := w.takeAndGo(c, at, p.Element, rest); err != nil {
			return err
		}
	}
	if left < 1e-12 {
		s.stack = nil // it has gone on as others
		return nil
	}
	s.weight *= left
	s.trail.looked(Lookup{Set: at.set.HeldSet, Key: key, Of: number.below})
	return nil
}

func (w *walker) takeAndGo(s *state, at *step, e *nft.Element, rest []step) error {
	if err := w.take(s, at, e); err != nil || len(s.stack) == 0 {
		return err
	}
	if at.dst == toVerdict {
		return w.run(s)
	}
	return w.fork(s, rest)
}

// part is an element and the share of random numbers that lead to it.
type part struct {
	*nft.Element
	share float64
	key   string
}

// slots looks up one number after another.
func (w *walker) slots(set *set, number word, key string, slot int) []part {
	var found []part
	b := []byte(key)
	for i := range number.below {
		copy(b[4*slot:], numberBytes(number, number.offset+i))
		if e := set.find(w.family, string(b)); e != nil {
			found = append(found, part{e, 1 / float64(number.below), string(b)})
		}
	}
	return found
}

// parts takes one element after another, whose key is a number or a range of them.
func parts(set *set, number word) ([]part, error) {
	if set.KeyLen != 4 {
		return nil, fmt.Errorf("draws from too many numbers for set %q", set.name)
	}
	var found []part
	for i := range set.Elements {
		e := &set.Elements[i]
		first, last := numberOf(number, e.Key), numberOf(number, e.Key)
		if e.KeyEnd != "" {
			last = numberOf(number, e.KeyEnd)
		}
		first, last = max(first, uint64(number.offset)), min(last, uint64(number.offset)+uint64(number.below)-1)
		if first <= last {
			found = append(found, part{e, float64(last-first+1) / float64(number.below), e.Key})
		}
	}
	return found, nil
}

func numberBytes(number word, n uint32) []byte {
	b := nativeBytes(n)
	if number.big {
		b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	}
	return b
}

func numberOf(number word, key string) uint64 {
	if number.big {
		return uint64(beUint32(key))
	}
	return uint64(native([]byte(key)))
}
