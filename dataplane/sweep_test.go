package dataplane_test

import (
	"context"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// patient is a kernel where the test says when no packet is under way any more.
type patient struct {
	*kernel.Conn
	waits   chan chan struct{}
	commits chan string
}

func (p *patient) Quiesce() {
	over := make(chan struct{})
	p.waits <- over
	<-over
}

func (p *patient) Commit(tx nft.Transaction) error {
	err := p.Conn.Commit(tx)
	p.commits <- tx.String()
	return err
}

// until gives the next transaction that has this in it.
func (p *patient) until(text string) string {
	for {
		if tx := <-p.commits; strings.Contains(tx, text) {
			return tx
		}
	}
}

// A packet may be on its way to what becomes stale while others are waited for: it is
// deleted after a wait of its own.
func TestWhatBecomesStaleDuringAWaitIsKeptForTheNext(t *testing.T) {
	conn, err := kernel.Open(testbed.NewTestNamespace(t).Fd())
	if err != nil {
		t.Fatal(err)
	}
	k := &patient{conn, make(chan chan struct{}, 100), make(chan string, 100)}
	p := dataplane.NewProgrammer(dataplane.NewWriter(k, flat(config)), logr.Discard(), nobody{})
	p.Update(service("a", "tcp/80", "10.96.0.1", "10.254.0.1:8080,10.254.0.2:8080"))
	p.Update(service("b", "tcp/80", "10.96.0.2", "10.254.0.1:8080,10.254.0.2:8080"))
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error)
	go func() { ended <- p.Run(ctx, func() { close(ready) }) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}()
	<-ready

	slotA, slotB := "delete element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 1", "delete element ip kube-verdict endpoints { 10.96.0.2 . tcp . 80 . 1"
	p.Update(service("a", "tcp/80", "10.96.0.1", "10.254.0.1:8080"))
	first := <-k.waits
	p.Update(service("b", "tcp/80", "10.96.0.2", "10.254.0.1:8080"))
	k.until("add element ip kube-verdict services { 10.96.0.2")
	close(first)
	if tx := k.until(slotA); strings.Contains(tx, slotB) {
		t.Errorf("deleted with what was stale before the wait:\n%s", tx)
	}
	close(<-k.waits)
	k.until(slotB)
}
