package dataplane

import (
	"github.com/kube-verdict/kube-verdict/nft"
)

// Cleanup deletes our tables and says which were there.
func Cleanup(k Kernel, l Layout) ([]nft.ID, error) {
	var removed []nft.ID
	var tx nft.Transaction
	for _, t := range l.Tables() {
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
