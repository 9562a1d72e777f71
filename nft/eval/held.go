package eval

import (
	"errors"
	"maps"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Held is a table as the kernel has it, read with the help of what it is meant to
// be: rules are bytes in the kernel, so that its chains are known by being just
// like ours. A packet that comes to one that is not can't be followed further.
//
// Make gives the chain of a name that is in the table only while something leads
// to it, or nil.
func Held(t *nft.Table, held *nft.Held, make func(name string) *nft.Chain) nft.Contents {
	table := *t
	table.Chains, table.Sets = nil, nil
	c := nft.Contents{Table: &table, Elements: map[*nft.Set][]nft.Element{}}
	if held == nil {
		return c
	}
	for _, s := range t.Sets {
		if h := held.Sets[s.Name]; h != nil {
			table.Sets = append(table.Sets, s)
			c.Elements[s] = h.Elements
		}
	}
	for _, name := range slices.Sorted(maps.Keys(held.Chains)) {
		ours := chain(t, name)
		if ours == nil {
			ours = make(name)
		}
		h := held.Chains[name]
		if h.Base != nil && len(h.Rules) == 0 {
			// Nothing is done there: ours are in another proxy's shadow.
			table.Chains = append(table.Chains, &nft.Chain{Name: name, Base: h.Base})
			continue
		}
		if ours != nil && ours.SameBase(h) && ours.SameRules(t.Family, h) {
			table.Chains = append(table.Chains, ours)
			continue
		}
		table.Chains = append(table.Chains, &nft.Chain{Name: name, Base: h.Base, Rules: []nft.Rule{{Statements: []nft.Statement{foreign{}}}}})
	}
	return c
}

// foreign stands for rules that are not ours.
type foreign struct{}

func (foreign) Text(nft.Family) string              { return "(other rules than ours)" }
func (foreign) Program(nft.Family) []nft.Expression { return nil }

// ErrForeign ends the evaluation at rules that are not ours.
var ErrForeign = errors.New("the kernel has other rules here than ours, which can't be followed; see them with: nft list chain")
