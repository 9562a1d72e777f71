package dataplane_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// slow reads for the first time only when the test lets it.
type slow struct {
	*kernel.Conn
	once       sync.Once
	begun, let chan struct{}
}

func (s *slow) Each(id nft.ID, set string, each func(*nft.Element)) (bool, error) {
	s.once.Do(func() {
		close(s.begun)
		<-s.let
	})
	return s.Conn.Each(id, set, each)
}

// rounds measures them.
type rounds struct {
	nobody
	longest atomic.Int64
}

func (r *rounds) Programmed(changes []dataplane.Applied, took time.Duration) {
	if len(changes) > 0 && int64(took) > r.longest.Load() {
		r.longest.Store(int64(took))
	}
}

// run runs a Programmer for the rest of the test.
func (w *writer) run(p *dataplane.Programmer) {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.Run(ctx, func() { close(ready) }) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	<-ready
}

func second(t *testing.T, ns *testbed.Namespace) *kernel.Conn {
	t.Helper()
	conn := must(kernel.Open(ns.Fd()))(t)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// While clients are looked for that have to forget, changes are programmed; then those
// clients, and no others, have forgotten.
func TestForgettingKeepsNoChangeWaiting(t *testing.T) {
	w := newWorld(t, flat)
	reader := &slow{Conn: second(t, w.node.Namespace), begun: make(chan struct{}), let: make(chan struct{})}
	p := dataplane.NewProgrammer(w.Writer, logr.Discard(), nobody{})
	p.ForgetBeside(reader)
	kept := sticky(service("kept", "tcp/80", "10.96.0.2", backends), 10, time.Hour)
	kept.Ports = kept.Ports[:1]
	p.Update(kept)
	p.Update(sticky(service("s", "tcp/80", vip4, "*10.254.0.1:8080"), 8, time.Hour))
	w.run(p)
	spread(t, w.asker.Namespace, "tcp", frontends[0], 2)
	first := spread(t, w.asker.Namespace, "tcp", addrPort("10.96.0.2:80"), 2)
	p.Update(sticky(service("s", "tcp/80", vip4, "*10.254.0.2:8080"), 8, time.Hour))
	<-reader.begun
	p.Update(service("other", "tcp/80", "10.96.0.3", "10.254.0.3:8080"))
	w.await("the change of another Service", func() error {
		if text := listing(t, w.node.Namespace, "meanwhile"); !strings.Contains(text, "ns/other") {
			return fmt.Errorf("it is not there:\n%s", text)
		}
		return nil
	})
	close(reader.let)
	w.await("the client to be led to the endpoint that is left", func() error {
		if hits := spread(t, w.asker.Namespace, "tcp", frontends[0], 2); hits[addrPort("10.254.0.2:8080")] != 2 {
			return fmt.Errorf("it is led to %v", hits)
		}
		return nil
	})
	if again := spread(t, w.asker.Namespace, "tcp", addrPort("10.96.0.2:80"), 10); len(again) != 1 || !sameServer(first, again) {
		t.Errorf("a client of another Service had %v and got %v", first, again)
	}
}

func (w *world) await(what string, check func() error) {
	w.t.Helper()
	if err := testbed.Wait(time.Minute, what, check); err != nil {
		w.t.Fatal(err)
	}
}

// A memory full of clients of one Service, whose endpoint goes, while others change.
func TestFloodedMemoryIsForgotten(t *testing.T) {
	w := newWorld(t, flat)
	observed := &rounds{}
	p := dataplane.NewProgrammer(w.Writer, logr.Discard(), observed)
	p.ForgetBeside(second(t, w.node.Namespace))
	p.Update(sticky(service("s", "tcp/80", vip4, "*10.254.0.1:8080"), 8, time.Hour))
	w.run(p)
	spread(t, w.asker.Namespace, "tcp", frontends[0], 1)
	other := second(t, w.node.Namespace)
	w.flood(other, scaledFlood)
	p.Update(sticky(service("s", "tcp/80", vip4, "*10.254.0.2:8080"), 8, time.Hour))
	start := time.Now()
	set := maps.NewLayout(config).Tables()[0].Set("remembered").Name
	for i := 0; ; i++ {
		p.Update(service("other", "tcp/80", "10.96.0.3", fmt.Sprintf("10.254.0.%d:8080", 1+i%3)))
		time.Sleep(50 * time.Millisecond)
		if i%50 != 49 {
			continue
		}
		left := 0
		if _, err := other.Each(w.table("ip"), set, func(*nft.Element) { left++ }); err != nil {
			t.Fatal(err)
		}
		if left <= 1 {
			break
		}
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("%d clients are remembered still", left)
		}
	}
	t.Logf("%d clients have forgotten after %v; the longest round took %v", scaledFlood, time.Since(start).Round(time.Millisecond), time.Duration(observed.longest.Load()))
	if hits := spread(t, w.asker.Namespace, "tcp", frontends[0], 2); hits[addrPort("10.254.0.2:8080")] != 2 {
		t.Errorf("the client is led to %v", hits)
	}
}

const scaledFlood = 30_000

// flood has clients remembered by the thousand, like one that is.
func (w *world) flood(conn *kernel.Conn, n int) {
	w.t.Helper()
	table := maps.NewLayout(config).Tables()[0]
	set := table.Set("remembered")
	held := must(conn.Elements(table.ID(), set.Name))(w.t)
	var tx nft.Transaction
	for i := range n {
		client := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}).As4()
		tx = append(tx, nft.Op{Table: table, Set: set, Element: nft.Element{Key: string(client[:]) + held[0].Key[4:], Data: held[0].Data, Left: time.Hour}})
		if len(tx) == 1<<14 || i == n-1 {
			if err := conn.Commit(tx); err != nil {
				w.t.Fatal(err)
			}
			tx = nil
		}
	}
}
