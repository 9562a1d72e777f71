package dataplane

import (
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// find asks the kernel for what the Services want of sets that are too large to be read
// whole. When it has more than that, someone left something behind, and the set is read.
func (w *Writer) find(changes []Change) error {
	if !w.ledger.HasUnread() {
		return nil
	}
	keys := map[*nft.Set][]string{}
	var elements []nft.Placed
	for i := range changes {
		elements = w.layout.Elements(elements[:0], &changes[i].Service)
		for j := range elements {
			if set := elements[j].Set; w.ledger.IsUnread(set) {
				keys[set] = append(keys[set], elements[j].Key)
			}
		}
	}
	return w.ledger.Unread(func(t *nft.Table, set *nft.Set) error {
		if set.Shared {
			slices.Sort(keys[set])
			keys[set] = slices.Compact(keys[set])
		}
		found, err := w.conn.Find(t.ID(), set.Name, keys[set])
		if err != nil || w.ledger.Found(set, found) {
			return err
		}
		held, err := w.conn.Read(t.ID())
		if err == nil && held != nil && held.Sets[set.Name] != nil {
			w.ledger.Found(set, held.Sets[set.Name].Elements)
		}
		return err
	})
}
