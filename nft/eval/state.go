package eval

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// state is a packet under way.
type state struct {
	*Ruleset
	world  World
	family nft.Family

	in             string
	protocol       uint8
	source, dest   netip.AddrPort
	mark, priority uint32
	translated     bool
	masqueraded    bool

	steps []Step
	// choices are the results of random numbers to take, one after another; forks
	// are the results that there were at each. A run that needs one more choice
	// than it has ends with a fork.
	choices []int
	forks   map[string][]result
	taken   int
	share   float64
}

// result is an element that some values of a random number lead to.
type result struct {
	key     string
	element *nft.Element
	of, n   uint32
}

// key is the concatenation of fields as it lies in registers. random is the value
// of the random number among them.
func (s *state) key(fields []nft.Field, random uint32) (string, error) {
	var key []byte
	for _, field := range fields {
		value, err := s.value(field, random)
		if err != nil {
			return "", err
		}
		key = append(key, value...)
		for len(key)%4 != 0 {
			key = append(key, 0)
		}
	}
	return string(key), nil
}

func (s *state) value(field nft.Field, random uint32) ([]byte, error) {
	switch field.(type) {
	case nft.SourceAddr:
		return s.source.Addr().AsSlice(), nil
	case nft.DestAddr:
		return s.dest.Addr().AsSlice(), nil
	case nft.L4Proto:
		return []byte{s.protocol}, nil
	case nft.DestPort:
		return binary.BigEndian.AppendUint16(nil, s.dest.Port()), nil
	case nft.Priority:
		return binary.NativeEndian.AppendUint32(nil, s.priority), nil
	case nft.Random:
		return binary.NativeEndian.AppendUint32(nil, random), nil
	}
	return nil, fmt.Errorf("%T can't be evaluated", field)
}

// lookup looks up what a rule's fields are in a set of its table, and notes it.
func (s *state) lookup(t *nft.Table, fields []nft.Field, name string, step *Step) (*nft.Element, error) {
	set := t.Set(name)
	if set == nil {
		return nil, fmt.Errorf("there is no set %s in table %s", name, t.ID())
	}
	found, err := s.results(set, fields)
	if err != nil {
		return nil, err
	}
	step.Lookups = append(step.Lookups, Lookup{Set: set, Key: found.key, Element: found.element, Of: found.of, Chance: found.n})
	return found.element, nil
}

// results is what a lookup finds. With a random number in the key it is the one
// that the choices say.
func (s *state) results(set *nft.Set, fields []nft.Field) (result, error) {
	mod := modulus(fields)
	if mod == 0 {
		key, err := s.key(fields, 0)
		return result{key: key, element: s.find(s.family, set, key)}, err
	}
	return s.draw(func() ([]result, error) { return s.spread(set, fields, mod) })
}

// draw takes the result of a random number that the choices say, of all that
// there are.
func (s *state) draw(results func() ([]result, error)) (result, error) {
	prefix := fmt.Sprint(s.choices[:s.taken])
	all, known := s.forks[prefix]
	if !known {
		var err error
		if all, err = results(); err != nil {
			return result{}, err
		}
		s.forks[prefix] = all
	}
	if s.taken == len(s.choices) {
		return result{}, &fork{len(all)}
	}
	r := all[s.choices[s.taken]]
	s.taken++
	s.share *= float64(r.n) / float64(r.of)
	return r, nil
}

// spread gives what each value of a random number leads to, values that lead to
// one element together.
func (s *state) spread(set *nft.Set, fields []nft.Field, mod uint32) ([]result, error) {
	const most = 1 << 16 // slots; more is no map of endpoints
	if mod > most {
		return nil, fmt.Errorf("a random number of %d can't be evaluated", mod)
	}
	var all []result
	at := map[*nft.Element]int{}
	for v := range mod {
		key, err := s.key(fields, v)
		if err != nil {
			return nil, err
		}
		e := s.find(s.family, set, key)
		i, seen := at[e]
		if !seen {
			i = len(all)
			at[e], all = i, append(all, result{key: key, element: e, of: mod})
		}
		all[i].n++
	}
	return all, nil
}

// modulus is that of the random number among fields, 0 without one.
func modulus(fields []nft.Field) uint32 {
	i := slices.IndexFunc(fields, func(f nft.Field) bool { _, is := f.(nft.Random); return is })
	if i < 0 {
		return 0
	}
	return fields[i].(nft.Random).Mod
}

// fork ends a run at a random number whose result it has not been told.
type fork struct{ results int }

func (f *fork) Error() string { return fmt.Sprintf("a random number with %d results", f.results) }
