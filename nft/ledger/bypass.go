package ledger

import (
	"maps"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Bypass leads packets past tables that are to be bypassed and are not; held is
// then as they are afterwards. It takes two steps, with a wait between them until
// no packet is left that was under way: what has been translated at the first hooks
// is to be masqueraded at the last. The chains stay hooked, without rules: with the
// last chain for NAT in a namespace, the kernel would stop translating connections
// that are established.
func Bypass(tables []*nft.Table, held []*nft.Held) (steps [2]nft.Transaction) {
	for i, t := range tables {
		h := held[i]
		if h == nil || !t.Bypassed() {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(h.Chains)) {
			chain := h.Chains[name]
			if chain.Base == nil || len(chain.Rules) == 0 {
				continue
			}
			step := &steps[1]
			if chain.Base.Hook == nft.Prerouting || chain.Base.Hook == nft.Output {
				step = &steps[0]
			}
			*step = append(*step, nft.Op{Verb: nft.Flush, Table: t, Chain: &nft.Chain{Name: name}})
			chain.Rules = nil
		}
	}
	return steps
}
