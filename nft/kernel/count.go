package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// Counts reads what the elements of a counted set have counted.
func (c *Conn) Counts(id nft.ID, set string) ([]nft.Count, error) {
	var counts []nft.Count
	err := c.dump(unix.NFT_MSG_GETSETELEM, id.Family, func(e *nfnetlink.Encoder) {
		e.Name(unix.NFTA_SET_ELEM_LIST_TABLE, id.Name)
		e.Name(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func(body []byte) {
		eachCount(body, func(count nft.Count) { counts = append(counts, count) })
	})
	return counts, err
}

// tellDeleted tells what the elements in the kernel's echo of a deletion had
// counted.
func (c *Conn) tellDeleted(message []byte) {
	if len(message) < nfgen {
		return
	}
	id, set := nft.ID{Family: nft.Family(message[0])}, ""
	attrs(message[nfgen:], func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_SET_ELEM_LIST_TABLE:
			id.Name = cString(value)
		case unix.NFTA_SET_ELEM_LIST_SET:
			set = cString(value)
		}
	})
	eachCount(message[nfgen:], func(count nft.Count) { c.deleted(id, set, count) })
}

// eachCount reads the elements in a message.
func eachCount(body []byte, f func(nft.Count)) {
	text := string(body)
	attrs(body, func(typ uint16, list []byte) {
		if typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			attrs(list, func(_ uint16, elem []byte) {
				f(nft.Count{Element: element(text, body, elem), Packets: packets(elem)})
			})
		}
	})
}

// packets is what an element has counted.
func packets(elem []byte) uint64 {
	counter := within(within(elem, unix.NFTA_SET_ELEM_EXPR), unix.NFTA_EXPR_DATA)
	if n := within(counter, unix.NFTA_COUNTER_PACKETS); len(n) == 8 {
		return binary.BigEndian.Uint64(n)
	}
	return 0
}

// within is the attribute of that type in a list, or nil.
func within(list []byte, typ uint16) []byte {
	var found []byte
	attrs(list, func(t uint16, value []byte) {
		if t == typ {
			found = value
		}
	})
	return found
}
