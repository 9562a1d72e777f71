package dataplane

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
)

// gone are endpoints that clients are to forget, by their keys in Memory.Endpoints.
type gone struct {
	keys map[string]bool
	// unlike, if there is one, has the keys of all endpoints that clients may keep: any
	// other is to be forgotten. An earlier process may have left them.
	unlike map[string]bool
}

func (g *gone) any() bool { return len(g.keys) > 0 || g.unlike != nil }

func (g *gone) has(key string) bool { return g.keys[key] || g.unlike != nil && !g.unlike[key] }

func (g *gone) add(key string) {
	if g.keys == nil {
		g.keys = map[string]bool{}
	}
	g.keys[key] = true
}

func (g *gone) merge(other *gone) {
	for key := range other.keys {
		g.add(key)
	}
	if other.unlike != nil {
		g.unlike = other.unlike
	}
}

// leaving are a table's endpoints that have gone: packets may be on their way to those
// that are fresh, and no longer to those that are ripe.
type leaving struct {
	fresh, ripe gone
	// adopted reports that what an earlier process left is to be looked through.
	adopted, marked bool
}

func (w *Writer) leaves(t *nft.Table) *leaving {
	l := w.forget[t]
	if l == nil {
		l = &leaving{}
		w.forget[t] = l
	}
	return l
}

// ripen is Mark for one table.
func (l *leaving) ripen() {
	l.ripe.merge(&l.fresh)
	l.fresh = gone{}
	l.marked = true
}

// forgetStep has clients forget the endpoints that no packet is on its way to.
func (w *Writer) forgetStep() error {
	for t, l := range w.forget {
		memory := w.layout.Memory(t)
		if l.adopted && l.marked {
			l.ripe.unlike = w.ledger.WantedKeys(memory.Endpoints)
			l.adopted = false
		}
		if l.ripe.any() {
			if w.forgetter != nil {
				w.forgetter.ask(t, &l.ripe)
			} else if err := w.forgetIn(t, memory, &l.ripe); err != nil {
				return err
			}
			l.ripe = gone{}
		}
		if !l.fresh.any() && !l.adopted {
			delete(w.forget, t)
		}
	}
	return nil
}

// forgetIn has clients forget endpoints that have gone, at once: the rules that
// remember can't.
func (w *Writer) forgetIn(t *nft.Table, memory layout.Memory, g *gone) error {
	elements, err := w.conn.Elements(t.ID(), memory.Remembered.Name)
	if err != nil {
		return err
	}
	elements = slices.DeleteFunc(elements, func(e nft.Element) bool { return !g.has(memory.Endpoint(t.Family, &e)) })
	return w.forgetClients(t, elements)
}

// forgetClients deletes those clients that have an endpoint which nobody may keep.
func (w *Writer) forgetClients(t *nft.Table, elements []nft.Element) error {
	memory := w.layout.Memory(t)
	var tx nft.Transaction
	for i := range elements {
		if e := &elements[i]; !w.ledger.Wanted(memory.Endpoints, memory.Endpoint(t.Family, e)) {
			tx = append(tx, nft.Op{Verb: nft.Delete, Table: t, Set: memory.Remembered, Element: *e})
		}
	}
	return w.deleteLiving(tx)
}

// deleteLiving deletes elements of which some may have timed out meanwhile.
func (w *Writer) deleteLiving(tx nft.Transaction) error {
	err := w.conn.Commit(tx)
	switch {
	case !errors.Is(err, unix.ENOENT):
		return err
	case len(tx) == 1:
		return nil
	}
	for _, half := range []nft.Transaction{tx[:len(tx)/2], tx[len(tx)/2:]} {
		if err := w.deleteLiving(half); err != nil {
			return err
		}
	}
	return nil
}

// Rememberer reads what rules have written. kernel.Conn is one.
type Rememberer interface {
	Each(id nft.ID, set string, each func(*nft.Element)) (whole bool, err error)
}

// A memory of clients may be large, and to read it may take a minute. So it is read
// beside the programming, and what is found is handed over in portions that take a few
// milliseconds to delete.
const (
	portion = 512
	// atOnce bounds what is found before it is handed over: some 40 MB. To delete moves
	// what is still to be read, and to read a full memory takes most of a minute.
	atOnce = 1 << 18
	// passes bounds how often a memory is read for the same endpoints. A dump may miss
	// clients, and an endpoint that has come back keeps its clients, so they are found
	// each time.
	passes = 10
)

// forgetter reads the memory of clients for a Programmer.
type forgetter struct {
	reader Rememberer
	layout Layout
	log    logr.Logger
	found  chan clients
	wake   chan struct{}

	mu sync.Mutex
	// asked are endpoints that have gone, and were not looked for yet.
	asked map[*nft.Table]*gone
}

// clients are some of a table's that may have endpoints which have gone.
type clients struct {
	table    *nft.Table
	elements []nft.Element
}

// ForgetBeside has clients forget endpoints that have gone without keeping changes
// waiting: what they remember is read through another connection. It is called before Run.
func (p *Programmer) ForgetBeside(reader Rememberer) {
	p.writer.forgetter = &forgetter{
		reader: reader, layout: p.writer.layout, log: p.log, asked: map[*nft.Table]*gone{},
		found: make(chan clients), wake: make(chan struct{}, 1),
	}
}

// ask has a table looked through for endpoints that have gone.
func (f *forgetter) ask(t *nft.Table, g *gone) {
	f.mu.Lock()
	if f.asked[t] == nil {
		f.asked[t] = &gone{}
	}
	f.asked[t].merge(g)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run looks through tables whenever it is asked to, until the context ends.
func (f *forgetter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		asked := f.asked
		f.asked = map[*nft.Table]*gone{}
		f.mu.Unlock()
		for _, t := range slices.Collect(maps.Keys(asked)) {
			if err := f.lookThrough(ctx, t, asked[t]); err != nil && ctx.Err() == nil {
				f.log.Error(err, "Clients of endpoints that have gone could not be read; trying again", "table", t.ID().String())
				f.ask(t, asked[t])
				select {
				case <-ctx.Done():
				case <-time.After(retryAfter):
				}
			}
		}
	}
}

// lookThrough hands over the clients of endpoints that have gone, until there are none.
func (f *forgetter) lookThrough(ctx context.Context, t *nft.Table, g *gone) error {
	memory := f.layout.Memory(t)
	for range passes {
		var found []nft.Element
		whole, err := f.reader.Each(t.ID(), memory.Remembered.Name, func(e *nft.Element) {
			if len(found) < atOnce && g.has(memory.Endpoint(t.Family, e)) {
				found = append(found, *e)
			}
		})
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil // the table has gone
		case err != nil:
			return err
		case whole && len(found) == 0:
			return nil
		}
		for part := range slices.Chunk(found, portion) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case f.found <- clients{t, part}:
			}
		}
	}
	return nil
}

// findings are clients that may have to forget, if they are looked for beside.
func (p *Programmer) findings() <-chan clients {
	if p.writer.forgetter == nil {
		return nil
	}
	return p.writer.forgetter.found
}

// forgetFound has clients forget what has gone. While the account is not right, they are
// looked for once more later: it would have them forget what they may keep.
func (p *Programmer) forgetFound(c clients) error {
	if !p.adopted || p.broken || !p.loaded {
		p.writer.leaves(c.table).adopted = true
		return nil
	}
	return p.writer.forgetClients(c.table, c.elements)
}
