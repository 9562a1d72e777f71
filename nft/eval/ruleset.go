package eval

import (
	"cmp"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Ruleset is tables that packets can be sent through.
type Ruleset struct {
	bases []base // in the order in which the kernel calls them at each hook
	// elements are those of each set by key, ranges those of sets of ranges.
	elements map[*nft.Set]map[string]*nft.Element
	ranges   map[*nft.Set][]nft.Element
}

// base is a base chain and its table.
type base struct {
	table *nft.Table
	chain *nft.Chain
}

// NewRuleset makes a ruleset of tables.
func NewRuleset(contents ...nft.Contents) *Ruleset {
	r := &Ruleset{elements: map[*nft.Set]map[string]*nft.Element{}, ranges: map[*nft.Set][]nft.Element{}}
	for _, c := range contents {
		for _, chain := range c.Chains {
			if chain.Base != nil {
				r.bases = append(r.bases, base{c.Table, chain})
			}
		}
		for set, list := range c.Elements {
			if set.Interval {
				r.ranges[set] = list
				continue
			}
			byKey := make(map[string]*nft.Element, len(list))
			for i := range list {
				byKey[list[i].Key] = &list[i]
			}
			r.elements[set] = byKey
		}
	}
	slices.SortStableFunc(r.bases, func(a, b base) int {
		return cmp.Or(cmp.Compare(priority(a.chain.Base), priority(b.chain.Base)), cmp.Compare(a.chain.Base.Priority, b.chain.Base.Priority))
	})
	return r
}

// Priorities at which the kernel calls all chains that translate, one after
// another by their own: NF_IP_PRI_NAT_DST and NF_IP_PRI_NAT_SRC.
const (
	natDest   = -100
	natSource = 100
)

func priority(b *nft.Base) int32 {
	switch {
	case b.Type != "nat":
		return b.Priority
	case b.Hook == nft.Prerouting || b.Hook == nft.Output:
		return natDest
	}
	return natSource
}

// find looks a key up in a set.
func (r *Ruleset) find(f nft.Family, set *nft.Set, key string) *nft.Element {
	if !set.Interval {
		return r.elements[set][key]
	}
	list := r.ranges[set]
	for i := range list {
		if within(f, set.Key, list[i], key) {
			return &list[i]
		}
	}
	return nil
}

// within says that a key is in a range: each of its fields by itself.
func within(f nft.Family, fields []nft.Field, e nft.Element, key string) bool {
	if e.KeyEnd == "" {
		return e.Key == key
	}
	at := 0
	for _, field := range fields {
		end := at + nft.KeyLen(f, []nft.Field{field})
		if end > len(key) || end > len(e.Key) || end > len(e.KeyEnd) || key[at:end] < e.Key[at:end] || key[at:end] > e.KeyEnd[at:end] {
			return false
		}
		at = end
	}
	return true
}

func chain(t *nft.Table, name string) *nft.Chain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}
