package dataplane

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// Cleanup deletes our tables and says which were there.
func Cleanup(k Kernel, layout *maps.Layout) ([]nft.ID, error) {
	var removed []nft.ID
	var tx nft.Transaction
	for _, t := range layout.Tables() {
		held, err := k.Read(t.ID())
		if err != nil {
			return nil, err
		}
		if held != nil {
			removed = append(removed, t.ID())
			tx = append(tx, nft.Op{Verb: nft.Delete, Table: t})
		}
	}
	return removed, k.Commit(tx)
}
