package kernel

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// large is the number of elements from which it takes longer to list a set than to ask for
// each element: for every message of a listing, the kernel goes through the set again from
// its beginning (nf_tables_dump_set), so a listing takes time by the square of its length.
const large = 1 << 14

// Survey is Read without the elements of large sets, where the kernel says how many a set
// has, from Linux 6.16 on.
func (c *Conn) Survey(id nft.ID) (*nft.Held, error) { return c.readWhole(id, large) }

// Find gives those of a set's elements that have one of these keys. When most are missing
// it gives up, with those that it has found: each that is missing takes a request.
func (c *Conn) Find(id nft.ID, set string, keys []string) ([]nft.Element, error) {
	const (
		batch  = 256 // answers that fit into the receive buffer
		misses = 1000
	)
	found := make([]nft.Element, 0, len(keys))
	for missing := 0; len(keys) > 0 && missing <= misses; {
		part, before := keys[:min(batch, len(keys))], len(found)
		err := c.ask(unix.NFT_MSG_GETSETELEM, unix.NLM_F_ACK, id.Family, func(e *nfnetlink.Encoder) {
			e.Name(unix.NFTA_SET_ELEM_LIST_TABLE, id.Name)
			e.Name(unix.NFTA_SET_ELEM_LIST_SET, set)
			list := e.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for _, key := range part {
				elem := e.Nest(unix.NFTA_LIST_ELEM)
				at := e.Nest(unix.NFTA_SET_ELEM_KEY)
				e.Text(unix.NFTA_DATA_VALUE, key)
				e.CloseNest(at)
				e.CloseNest(elem)
			}
			e.CloseNest(list)
		}, elementsOf(func(e *nft.Element, _ bool) { found = append(found, *e) }))
		done := len(part)
		if errors.Is(err, unix.ENOENT) {
			// Answers come in order, and none after the first that is missing.
			done = len(found) - before + 1
			missing++
		} else if err != nil {
			return nil, err
		}
		keys = keys[done:]
	}
	return found, nil
}
