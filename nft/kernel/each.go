package kernel

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// Each calls a function with each element of a set or map, as they are read: they are
// never in memory all at once. Someone may commit meanwhile; then some elements may be
// missed, and whole is false.
func (c *Conn) Each(id nft.ID, set string, each func(*nft.Element)) (whole bool, err error) {
	err = c.eachElement(id, set, func(e *nft.Element, _ bool) { each(e) })
	if errors.Is(err, errInterrupted) {
		return false, nil
	}
	return err == nil, err
}

// eachElement reads elements, and tells the keys past the ends of ranges from others.
func (c *Conn) eachElement(id nft.ID, set string, each func(e *nft.Element, isEnd bool)) error {
	return c.dump(unix.NFT_MSG_GETSETELEM, id.Family, func(e *nfnetlink.Encoder) {
		e.Name(unix.NFTA_SET_ELEM_LIST_TABLE, id.Name)
		e.Name(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, elementsOf(each))
}

// elementsOf reads the elements in a message.
func elementsOf(each func(e *nft.Element, isEnd bool)) func(body []byte) {
	return func(body []byte) {
		// One copy for a message: keys and data are substrings of it.
		text := string(body)
		attrs(body, func(typ uint16, list []byte) {
			if typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				attrs(list, func(_ uint16, elem []byte) {
					e := element(text, body, elem)
					each(&e, isEnd(elem))
				})
			}
		})
	}
}
