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
	r.by.sent = append(r.by.sent, tx)
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

// copies has another kernel told the same as the writer's: what else there is than
// elements before the clock starts, and the elements as packed beforehand.
type copies struct {
	writer *writer
	conn   *kernel.Conn
	packed *packed
}

func newCopies(ns *testbed.Namespace) (side, error) {
	c := &copies{}
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
	c.writer = side.(*writer)
	if c.conn, err = kernel.Open(ns.Fd()); err == nil {
		c.packed, err = openPacked(ns)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *copies) close() {
	c.writer.close()
	if c.conn != nil {
		_ = c.conn.Close()
	}
	if c.packed != nil {
		c.packed.close()
	}
}

func (c *copies) load(n, endpoints int) (time.Duration, error) {
	return c.again(c.writer.load(n, endpoints))
}

func (c *copies) replace(i, round int) (time.Duration, error) {
	return c.again(c.writer.replace(i, round))
}

func (c *copies) resize(i, round int) (time.Duration, error) {
	return c.again(c.writer.resize(i, round))
}

func (c *copies) again(_ time.Duration, err error) (took time.Duration, _ error) {
	for _, tx := range c.writer.sent {
		if err == nil {
			err = c.conn.Commit(objects(tx))
		}
		elements := slices.DeleteFunc(slices.Clone(tx), func(o nft.Op) bool { return !o.IsElement() })
		if err != nil || len(elements) == 0 {
			continue
		}
		c.packed.pack(elements)
		start := time.Now()
		err = c.packed.send()
		took += time.Since(start)
	}
	return took, err
}

// objects are what a transaction has besides elements.
func objects(tx nft.Transaction) nft.Transaction {
	return slices.DeleteFunc(slices.Clone(tx), func(o nft.Op) bool { return o.IsElement() })
}

// scripted sends the same through the nft program.
type scripted struct {
	ns     *testbed.Namespace
	writer *writer
	conn   *kernel.Conn
	loaded bool
}

func newScripted(ns *testbed.Namespace) (side, error) {
	first, err := testbed.NewNamespace()
	if err != nil {
		return nil, err
	}
	defer first.Close()
	side, err := newWriter(first)
	if err != nil {
		return nil, err
	}
	s := &scripted{ns: ns, writer: side.(*writer)}
	if s.conn, err = kernel.Open(ns.Fd()); err != nil {
		s.writer.close()
		return nil, err
	}
	return s, nil
}

func (s *scripted) close() {
	s.writer.close()
	_ = s.conn.Close()
}

func (s *scripted) load(n, endpoints int) (time.Duration, error) {
	return s.again(s.writer.load(n, endpoints))
}

func (s *scripted) replace(i, round int) (time.Duration, error) {
	return s.again(s.writer.replace(i, round))
}

func (s *scripted) resize(i, round int) (time.Duration, error) {
	return s.again(s.writer.resize(i, round))
}

// again sends all in one script. nft 1.0.6 cannot add a rule that looks up a map which
// is not in the same script, so that later ones come another way, before the clock
// starts.
func (s *scripted) again(_ time.Duration, err error) (time.Duration, error) {
	if err != nil {
		return 0, err
	}
	var all nft.Transaction
	for _, tx := range s.writer.sent {
		all = append(all, tx...)
	}
	if s.loaded {
		if err := s.conn.Commit(objects(all)); err != nil {
			return 0, err
		}
		all = slices.DeleteFunc(all, func(o nft.Op) bool { return !o.IsElement() })
	}
	s.loaded = true
	return nftScript(s.ns, all.String())
}
