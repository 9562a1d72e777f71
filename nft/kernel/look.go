package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// Onlooker reads tables that others write to, again and again. Unlike Read it
// does not insist on one moment: under somebody else's steady writing there may be
// none long enough. It is not safe for concurrent use.
type Onlooker struct {
	conn   *Conn
	tables map[nft.ID]*looked
}

// looked is what the last look at a table was, and the anonymous sets of its
// rules. Those never change, and there may be one for each Service.
type looked struct {
	handle    uint64
	anonymous map[uint64][]nft.Element
}

// NewOnlooker makes an Onlooker that reads through conn.
func NewOnlooker(conn *Conn) *Onlooker {
	return &Onlooker{conn, map[nft.ID]*looked{}}
}

// lookTries is how often a look is tried that somebody's commit interrupts, before
// it may be of several moments.
const lookTries = 3

// Look reads one table with all that is in it, anonymous sets, too, but without
// the elements that rules wrote. It gives nil when there is no such table.
func (o *Onlooker) Look(id nft.ID) (*nft.Held, error) {
	var held *nft.Held
	for range lookTries {
		before, err := o.conn.Generation()
		if err == nil {
			held, err = o.look(id)
		}
		if errors.Is(err, errInterrupted) || errors.Is(err, unix.ENOENT) { // a set has gone meanwhile
			held = nil
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", id, err)
		}
		if after, err := o.conn.Generation(); held == nil || err == nil && after == before {
			return held, nil
		}
	}
	if held == nil {
		return nil, fmt.Errorf("read table %s: %w, %d times in a row", id, errInterrupted, lookTries)
	}
	return held, nil
}

func (o *Onlooker) look(id nft.ID) (*nft.Held, error) {
	c := o.conn
	handle, err := c.tableHandle(id)
	if errors.Is(err, unix.ENOENT) {
		delete(o.tables, id)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	before := o.tables[id]
	if before == nil || before.handle != handle {
		before = &looked{}
	}
	now := &looked{handle, map[uint64][]nft.Element{}}
	held := &nft.Held{ID: id, Sets: map[string]*nft.HeldSet{}, Chains: map[string]*nft.HeldChain{}}
	if err := c.readSets(held); err != nil {
		return nil, err
	}
	if err := c.readChains(held); err != nil {
		return nil, err
	}
	for name, set := range held.Sets {
		constant := set.Anonymous()
		if constant {
			if elements, ok := before.anonymous[set.Handle]; ok {
				set.Elements, now.anonymous[set.Handle] = elements, elements
				continue
			}
		}
		if err := c.fill(id, name, set); err != nil {
			return nil, err
		}
		if constant {
			now.anonymous[set.Handle] = set.Elements
		}
	}
	o.tables[id] = now
	return held, nil
}

// tableHandle is NFTA_TABLE_HANDLE, a number that no other table of this network
// namespace has or had.
const tableHandle = 4

func (c *Conn) tableHandle(id nft.ID) (uint64, error) {
	var handle uint64
	err := c.ask(unix.NFT_MSG_GETTABLE, 0, id.Family, func(e *nfnetlink.Encoder) { e.Name(unix.NFTA_TABLE_NAME, id.Name) }, func(body []byte) {
		attrs(body, func(typ uint16, value []byte) {
			if typ == tableHandle {
				handle = beUint64(value)
			}
		})
	})
	return handle, err
}

// Has says whether there is a chain of this name in a table.
func (o *Onlooker) Has(id nft.ID, chain string) (bool, error) {
	err := o.conn.ask(unix.NFT_MSG_GETCHAIN, 0, id.Family, func(e *nfnetlink.Encoder) {
		e.Name(unix.NFTA_CHAIN_TABLE, id.Name)
		e.Name(unix.NFTA_CHAIN_NAME, chain)
	}, func([]byte) {})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}
