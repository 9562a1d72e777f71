package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// caller is a client that asks one frontend without a break: over one connection
// or flow that it keeps, and by new ones. Nothing of it may fail.
type caller struct {
	what     string // the frontend, for people
	from     *testbed.Namespace
	protocol string
	to       netip.AddrPort

	tally
}

// tally is what became of a caller's requests.
type tally struct {
	// kept were answered over the connection that is kept, fresh over new ones.
	kept, fresh int
	// late are new ones that needed a retransmit.
	late int
	// lost are the errors of those that failed.
	lost []error
}

// callers ask until they are stopped.
type callers struct {
	w     *world
	all   []*caller
	ended chan struct{}
	done  sync.WaitGroup
}

const (
	// retransmit is when a client sends again what has got no answer, as TCP does
	// with the first packet, and resolvers over UDP.
	retransmit = time.Second
	// pace is the pause between a caller's requests.
	pace = 5 * time.Millisecond
)

// call starts callers, and returns when all of them have their connection.
func (w *world) call(all ...*caller) *callers {
	w.t.Helper()
	c := &callers{w: w, all: all, ended: make(chan struct{})}
	for _, one := range all {
		flow, err := one.from.Open(one.protocol, one.to, patience)
		w.must(err)
		first, err := flow.Ask(patience)
		w.must(err)
		c.done.Go(func() { c.run(one, flow, first) })
	}
	return c
}

func (c *callers) run(one *caller, flow *testbed.Flow, first testbed.Answer) {
	var kept, fresh tally
	var both sync.WaitGroup
	both.Go(func() {
		defer flow.Close()
		_ = one.from.Do(func() error {
			c.repeat(&kept, func() error { return keep(flow, first, &kept) })
			return nil
		})
	})
	both.Go(func() {
		_ = one.from.Do(func() error {
			c.repeat(&fresh, func() error { return begin(one, &fresh) })
			return nil
		})
	})
	both.Wait()
	one.tally = tally{kept.kept, fresh.fresh, fresh.late, append(kept.lost, fresh.lost...)}
}

// repeat asks until the callers are stopped, and gives up after a few errors: they
// all have one cause.
func (c *callers) repeat(t *tally, ask func() error) {
	for len(t.lost) < 3 {
		select {
		case <-c.ended:
			return
		case <-time.After(pace):
		}
		if err := ask(); err != nil {
			t.lost = append(t.lost, fmt.Errorf("at %s: %w", time.Now().Format("15:04:05.000"), err))
		}
	}
}

// keep asks over the flow that is kept, which has to lead where it led first.
func keep(flow *testbed.Flow, first testbed.Answer, t *tally) error {
	answer, err := flow.Ask(patience)
	if err != nil {
		return err
	}
	if answer.Server != first.Server || answer.Client != first.Client {
		return fmt.Errorf("the flow was at %s, which saw %s, and is at %s, which sees %s", first.Server, first.Client, answer.Server, answer.Client)
	}
	t.kept++
	return nil
}

// begin asks over a new connection, or a new UDP flow, which is sent again once
// when there is no answer.
func begin(one *caller, t *tally) error {
	start := time.Now()
	client := testbed.Client{}
	flow, err := client.Open(one.protocol, one.to, patience)
	if err != nil {
		return err
	}
	defer flow.Close()
	wait := patience
	if one.protocol == "udp" {
		wait = retransmit
	}
	_, err = flow.Ask(wait)
	if one.protocol == "udp" && errors.Is(err, testbed.ErrTimeout) {
		_, err = flow.Ask(patience - retransmit)
	}
	if err != nil {
		return err
	}
	t.fresh++
	if time.Since(start) > retransmit*9/10 {
		t.late++
	}
	return nil
}

// stop ends the callers, wants that nothing was lost, and says how much was asked.
func (c *callers) stop() (total tally) {
	c.w.t.Helper()
	close(c.ended)
	c.done.Wait()
	for _, one := range c.all {
		if one.kept == 0 && len(one.lost) == 0 || one.fresh == 0 && len(one.lost) == 0 {
			c.w.t.Errorf("%s: nothing was asked", one)
		}
		for _, err := range one.lost {
			c.w.t.Errorf("%s: %v", one, err)
		}
		total.kept += one.kept
		total.fresh += one.fresh
		total.late += one.late
		total.lost = append(total.lost, one.lost...)
	}
	return total
}

func (c *caller) String() string { return fmt.Sprintf("%s (%s/%s)", c.what, c.to, c.protocol) }

func (t tally) String() string {
	return fmt.Sprintf("%d requests over connections that were kept, %d new ones (%d by a retransmit), %d lost", t.kept, t.fresh, t.late, len(t.lost))
}
