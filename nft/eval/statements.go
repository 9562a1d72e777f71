package eval

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
)

// do does one statement of a rule and says whether the rule goes on. What follows
// it is in the step.
func (s *state) do(t *nft.Table, statement nft.Statement, step *Step) (goes bool, err error) {
	switch x := statement.(type) {
	case nft.NewConnection, nft.Counter:
		return true, nil // it is the first packet, and it may be counted
	case nft.Translated:
		return s.translated, nil
	case nft.Marked:
		return s.mark&x.Bits != 0, nil
	case nft.Prioritized:
		return s.priority&x.Bits != 0, nil
	case nft.Mark:
		if x.Flip {
			s.mark ^= x.Bits
		} else {
			s.mark |= x.Bits
		}
		return true, nil
	case nft.FromNode:
		return s.world.Local(s.source.Addr()) != x.Not, nil
	case nft.ToNode:
		return s.world.Local(s.dest.Addr()) != x.Not, nil
	case nft.Transport:
		return s.protocol == x.Protocol, nil
	case nft.Incoming:
		is := s.in == x.Name || x.Prefix && strings.HasPrefix(s.in, x.Name)
		return is != x.Not, nil
	case nft.InSet:
		e, err := s.lookup(t, x.Key, x.Set, step)
		return (e != nil) != x.Not, err
	case nft.SetPriority:
		return s.setPriority(t, x, step)
	case nft.Remember:
		return true, nil // for later connections
	case nft.Dispatch:
		return s.dispatch(t, x, step)
	case nft.TranslateTo:
		return s.translate(t, x, step)
	case nft.Translate:
		if s.protocol != x.Protocol {
			return false, nil
		}
		s.dest, s.translated = x.To, true
		step.Verdict = Accept
	case nft.From:
		return x.Prefix.Contains(s.source.Addr()), nil
	case nft.Return:
		step.Verdict = Return
	case nft.Spread:
		return s.spreadOver(x, step)
	case nft.Masquerade:
		s.masqueraded = true
		source := netip.Addr{}
		if s.world.SourceTo != nil {
			source = s.world.SourceTo(s.dest.Addr())
		}
		s.source = netip.AddrPortFrom(source, 0) // the port is random
		step.Verdict = Accept
	case nft.Jump:
		step.Verdict, step.Target = Jump, x.Chain
	case nft.Goto:
		step.Verdict, step.Target = Goto, x.Chain
	case nft.Drop:
		step.Verdict = Drop
	case nft.Reject:
		step.Verdict = Reject
	case foreign:
		return false, ErrForeign
	default:
		return false, fmt.Errorf("%T can't be evaluated", statement)
	}
	return true, nil
}

func (s *state) setPriority(t *nft.Table, x nft.SetPriority, step *Step) (bool, error) {
	if x.Map == "" {
		s.priority = 0
		return true, nil
	}
	e, err := s.lookup(t, x.Key, x.Map, step)
	if e == nil || err != nil {
		return false, err
	}
	if len(e.Data) != 4 {
		return false, fmt.Errorf("map %s: data of %d bytes, want a number of 4", x.Map, len(e.Data))
	}
	s.priority = binary.NativeEndian.Uint32([]byte(e.Data))
	return true, nil
}

func (s *state) dispatch(t *nft.Table, x nft.Dispatch, step *Step) (bool, error) {
	e, err := s.lookup(t, x.Key, x.Map, step)
	if e == nil || err != nil {
		return false, err
	}
	step.Verdict, step.Target = Goto, e.Goto
	return true, nil
}

// spreadOver draws one of the chains of a map that is written within the rule.
func (s *state) spreadOver(x nft.Spread, step *Step) (bool, error) {
	set, elements := x.Literal()
	found, err := s.draw(func() ([]result, error) {
		all := make([]result, len(elements))
		for i := range elements {
			all[i] = result{key: elements[i].Key, element: &elements[i], of: uint32(len(elements)), n: 1}
		}
		return all, nil
	})
	if err != nil {
		return false, err
	}
	step.Lookups = append(step.Lookups, Lookup{Set: set, Key: found.key, Element: found.element, Of: found.of, Chance: found.n})
	step.Verdict, step.Target = Goto, found.element.Goto
	return true, nil
}

func (s *state) translate(t *nft.Table, x nft.TranslateTo, step *Step) (bool, error) {
	e, err := s.lookup(t, x.Key, x.Map, step)
	if e == nil || err != nil {
		return false, err
	}
	n := s.family.AddrLen()
	if len(e.Data) != n+4 {
		return false, fmt.Errorf("map %s: data of %d bytes, want an address and a port in %d", x.Map, len(e.Data), n+4)
	}
	addr, _ := netip.AddrFromSlice([]byte(e.Data[:n]))
	s.dest = netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(e.Data[n:])))
	s.translated = true
	step.Verdict = Accept
	return true, nil
}
