package walk

import (
	"bytes"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/view"
)

// set is a set, with what makes looking things up in it fast.
type set struct {
	name string
	*nft.HeldSet
	byKey map[string]int
	// bySource are, in a set of ranges whose last field is the source, the networks
	// by what comes before it.
	bySource map[string][]netip.Prefix
	networks []netip.Prefix
}

// few elements are looked through one after another.
const few = 16

// dynamic says that rules write to the set.
func (s *set) dynamic() bool { return s.Flags&unix.NFT_SET_EVAL != 0 }

func (s *set) interval() bool { return s.Flags&unix.NFT_SET_INTERVAL != 0 }

// find is the element with a key, nil if there is none.
func (s *set) find(f nft.Family, key string) *nft.Element {
	if s.interval() {
		for i := range s.Elements {
			if e := &s.Elements[i]; s.Has(f, e, key) {
				return e
			}
		}
		return nil
	}
	if len(s.Elements) <= few {
		for i := range s.Elements {
			if s.Elements[i].Key == key {
				return &s.Elements[i]
			}
		}
		return nil
	}
	if s.byKey == nil {
		s.byKey = make(map[string]int, len(s.Elements))
		for i := range s.Elements {
			s.byKey[s.Elements[i].Key] = i
		}
	}
	if i, ok := s.byKey[key]; ok {
		return &s.Elements[i]
	}
	return nil
}

// nets are the networks of a set of addresses.
func (s *set) nets(f nft.Family) []netip.Prefix {
	if s.networks == nil {
		var list []netip.Prefix
		for i := range s.Elements {
			list = append(list, addresses(f, s.Elements[i].Key, s.Elements[i].KeyEnd)...)
		}
		if s.networks = view.Union(list); s.networks == nil {
			s.networks = list // none, or everything
		}
	}
	return s.networks
}

func addresses(f nft.Family, first, last string) []netip.Prefix {
	if last == "" {
		last = first
	}
	if len(first) < f.AddrLen() || len(last) < f.AddrLen() {
		return nil
	}
	a, _ := netip.AddrFromSlice([]byte(first[:f.AddrLen()]))
	z, _ := netip.AddrFromSlice([]byte(last[:f.AddrLen()]))
	return view.Range(a, z)
}

// sources are the networks that follow a key in a set of ranges whose last field
// is the source.
func (s *set) sources(f nft.Family, before string) ([]netip.Prefix, error) {
	if s.bySource == nil {
		s.bySource = map[string][]netip.Prefix{}
		for i := range s.Elements {
			e := &s.Elements[i]
			n := len(e.Key) - f.AddrLen()
			if n < 0 || len(e.KeyEnd) != len(e.Key) || e.Key[:n] != e.KeyEnd[:n] {
				return nil, fmt.Errorf("set %q has ranges of more than the source", s.name)
			}
			s.bySource[e.Key[:n]] = append(s.bySource[e.Key[:n]], addresses(f, e.Key[n:], e.KeyEnd[n:])...)
		}
	}
	return s.bySource[before], nil
}

// interfaceName is an interface's name, or what names start with.
func interfaceName(data []byte) string {
	if n := bytes.IndexByte(data, 0); n >= 0 {
		return string(data[:n])
	}
	return string(data) + "*"
}
