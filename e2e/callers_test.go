package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
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

// tally is what became of a caller's requests so far.
type tally struct {
	// kept were answered over the connection that is kept, fresh over new ones.
	kept, fresh atomic.Int64
	// late are new ones that needed a retransmit.
	late atomic.Int64
	mu   sync.Mutex
	// lost are the errors of those that failed, told how many have been told.
	lost []error
	told int
}

func (t *tally) lose(err error) (times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = append(t.lost, fmt.Errorf("at %s: %w", time.Now().Format("15:04:05.000"), err))
	return len(t.lost)
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
	pace = 15 * time.Millisecond
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
	var both sync.WaitGroup
	both.Go(func() {
		defer flow.Close()
		_ = one.from.Do(func() error {
			c.repeat(one, func() error { return keep(flow, first, &one.tally) })
			return nil
		})
	})
	both.Go(func() {
		_ = one.from.Do(func() error {
			c.repeat(one, func() error { return begin(one) })
			return nil
		})
	})
	both.Wait()
}

// repeat asks until the callers are stopped, and gives up after a few errors: they
// all have one cause.
func (c *callers) repeat(one *caller, ask func() error) {
	for {
		select {
		case <-c.ended:
			return
		case <-time.After(pace):
		}
		if err := ask(); err != nil && one.lose(err) > 3 {
			return
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
	t.kept.Add(1)
	return nil
}

// begin asks over a new connection, or a new UDP flow, which is sent again once
// when there is no answer.
func begin(one *caller) error {
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
	one.fresh.Add(1)
	if time.Since(start) > retransmit*9/10 {
		one.late.Add(1)
	}
	return nil
}

// settle waits until each caller has got some more answers, and wants that nothing
// was lost.
func (c *callers) settle(what string) {
	c.w.t.Helper()
	const more = 10
	var kept, fresh []int64
	for _, one := range c.all {
		kept, fresh = append(kept, one.kept.Load()), append(fresh, one.fresh.Load())
	}
	err := testbed.Wait(limit, "more answers", func() error {
		for i, one := range c.all {
			if k, f := one.kept.Load()-kept[i], one.fresh.Load()-fresh[i]; k < more || f < more {
				return fmt.Errorf("%s has had %d over its connection, %d by new ones", one, k, f)
			}
		}
		return nil
	})
	if err != nil {
		c.w.t.Errorf("%s: %v", what, err)
	}
	for _, one := range c.all {
		c.tell(what, one)
	}
}

func (c *callers) tell(what string, one *caller) {
	c.w.t.Helper()
	one.mu.Lock()
	defer one.mu.Unlock()
	for _, lost := range one.lost[one.told:] {
		c.w.t.Errorf("%s: %s: %v", what, one, lost)
	}
	one.told = len(one.lost)
}

// stop ends the callers, wants that nothing was lost, and says how much was asked.
func (c *callers) stop() string {
	c.w.t.Helper()
	close(c.ended)
	c.done.Wait()
	var kept, fresh, late int64
	lost := 0
	for _, one := range c.all {
		if one.kept.Load() == 0 || one.fresh.Load() == 0 {
			c.w.t.Errorf("%s: nothing was answered", one)
		}
		c.tell("in the end", one)
		kept, fresh, late, lost = kept+one.kept.Load(), fresh+one.fresh.Load(), late+one.late.Load(), lost+len(one.lost)
	}
	return fmt.Sprintf("%d requests over connections that were kept, %d over new ones (%d by a retransmit), %d lost", kept, fresh, late, lost)
}

func (c *caller) String() string { return fmt.Sprintf("%s (%s/%s)", c.what, c.to, c.protocol) }
