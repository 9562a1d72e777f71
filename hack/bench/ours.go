package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// writer is kube-verdict's.
type writer struct {
	conn *kernel.Conn
	*dataplane.Writer
	endpoints int
	// sent are the transactions of what was programmed last.
	sent []nft.Transaction
}

func newWriter(ns *testbed.Namespace) (side, error) {
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn}
	w.Writer = dataplane.NewWriter(recording{conn, w}, maps.NewLayout(layout.Config{}))
	return w, nil
}

// recording is a kernel that notes what it is sent.
type recording struct {
	*kernel.Conn
	by *writer
}

// Commit notes the transaction as well: others can send the same.
func (r recording) Commit(tx nft.Transaction) error {
	if err := r.Conn.Commit(tx); err != nil {
		return err
	}
	r.by.sent = append(r.by.sent, slices.Clone(tx)) // the next plan is made in the same place
	return nil
}

func (w *writer) close() { _ = w.conn.Close() }

func (w *writer) load(n, endpoints int) (time.Duration, error) {
	w.endpoints = endpoints
	if err := w.Adopt(); err != nil {
		return 0, err
	}
	changes := make([]dataplane.Change, n)
	for i := range changes {
		svc := service(i, endpoints, 0)
		changes[i] = dataplane.Change{Name: svc.Name, Service: svc}
	}
	return w.program(changes...)
}

func (w *writer) replace(i, round int) (time.Duration, error) {
	svc := service(i, w.endpoints, round+1)
	return w.program(dataplane.Change{Name: svc.Name, Service: svc})
}

func (w *writer) resize(i, round int) (time.Duration, error) {
	svc := service(i, w.endpoints+1-2*(round%2), 0)
	return w.program(dataplane.Change{Name: svc.Name, Service: svc})
}

func (w *writer) program(changes ...dataplane.Change) (time.Duration, error) {
	w.sent = nil
	start := time.Now()
	failures, err := w.Program(changes)
	took := time.Since(start)
	if err == nil && len(failures) > 0 {
		err = fmt.Errorf("%d failures, the first: %w", len(failures), failures[0])
	}
	return took, err
}

// elements counts those of the transactions that were sent last.
func (w *writer) elements() (n int) {
	for _, tx := range w.sent {
		for i := range tx {
			if tx[i].IsElement() {
				n++
			}
		}
	}
	return n
}

// replayed is what the writer does in a namespace that nobody sees, done again in
// another.
type replayed struct {
	writer *writer
	conn   *kernel.Conn
	// repeat programs what the writer has sent, and takes the time.
	repeat func(sent []nft.Transaction) (time.Duration, error)
}

func newReplayed(ns *testbed.Namespace) (*replayed, error) {
	first, err := testbed.NewNamespace()
	if err != nil {
		return nil, err
	}
	// Its sockets keep it.
	defer first.Close()
	side, err := newWriter(first)
	if err != nil {
		return nil, err
	}
	r := &replayed{writer: side.(*writer)}
	if r.conn, err = kernel.Open(ns.Fd()); err != nil {
		r.writer.close()
		return nil, err
	}
	return r, nil
}

func (r *replayed) close() {
	r.writer.close()
	_ = r.conn.Close()
}

func (r *replayed) load(n, endpoints int) (time.Duration, error) {
	return r.again(r.writer.load(n, endpoints))
}

func (r *replayed) replace(i, round int) (time.Duration, error) {
	return r.again(r.writer.replace(i, round))
}

func (r *replayed) resize(i, round int) (time.Duration, error) {
	return r.again(r.writer.resize(i, round))
}

func (r *replayed) again(_ time.Duration, err error) (time.Duration, error) {
	if err != nil {
		return 0, err
	}
	return r.repeat(r.writer.sent)
}

// copies has another kernel told the same as the writer's: what else there is than
// elements before the clock starts, and the elements as packed beforehand.
type copies struct {
	*replayed
	packed *packed
}

func newCopies(ns *testbed.Namespace) (side, error) {
	r, err := newReplayed(ns)
	if err != nil {
		return nil, err
	}
	c := &copies{replayed: r}
	if c.packed, err = openPacked(ns); err != nil {
		r.close()
		return nil, err
	}
	r.repeat = c.send
	return c, nil
}

func (c *copies) close() {
	c.replayed.close()
	c.packed.close()
}

func (c *copies) send(sent []nft.Transaction) (took time.Duration, err error) {
	for _, tx := range sent {
		if err := c.conn.Commit(objects(tx)); err != nil {
			return took, err
		}
		elements := slices.DeleteFunc(slices.Clone(tx), func(o nft.Op) bool { return !o.IsElement() })
		if len(elements) == 0 {
			continue
		}
		c.packed.pack(elements)
		start := time.Now()
		err := c.packed.send()
		took += time.Since(start)
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

// objects are what a transaction has besides elements.
func objects(tx nft.Transaction) nft.Transaction {
	return slices.DeleteFunc(slices.Clone(tx), func(o nft.Op) bool { return o.IsElement() })
}

// scripted sends the same through the nft program.
type scripted struct {
	*replayed
	ns     *testbed.Namespace
	loaded bool
}

func newScripted(ns *testbed.Namespace) (side, error) {
	r, err := newReplayed(ns)
	if err != nil {
		return nil, err
	}
	s := &scripted{replayed: r, ns: ns}
	r.repeat = s.send
	return s, nil
}

// send sends all in one script. nft 1.0.6 cannot add a rule that looks up a map which
// is not in the same script, so that later ones come another way, before the clock
// starts.
func (s *scripted) send(sent []nft.Transaction) (time.Duration, error) {
	all := slices.Concat(sent...)
	if s.loaded {
		if err := s.conn.Commit(objects(all)); err != nil {
			return 0, err
		}
		all = slices.DeleteFunc(all, func(o nft.Op) bool { return !o.IsElement() })
	}
	s.loaded = true
	return nftScript(s.ns, all.String())
}
