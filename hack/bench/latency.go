package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	replaced  = "one endpoint replaced"
	resized   = "number of endpoints changed"
	underLoad = "one endpoint replaced, at 100 changes/s"
	// accepted is the time from before an EndpointSlice is written until a new
	// connection goes where it says.
	accepted = "write to accepted packet (s)"
)

// kindsOfChange are the states of a probe that it goes through, over and over.
var kindsOfChange = []struct {
	what   string
	states [2]int
}{{replaced, [2]int{0, 1}}, {resized, [2]int{0, 2}}}

// singleChanges change one Service at a time, with nothing else under way.
func (r *round) singleChanges(ctx context.Context) error {
	for _, kind := range kindsOfChange {
		r.tell("single changes: %s", kind.what)
		if err := r.c.settled(ctx, r); err != nil {
			return err
		}
		before, err := r.peer.work(r.site)
		if err != nil {
			return err
		}
		end := time.Now().Add(r.suite.options.singleTime)
		for n := 0; n < r.suite.options.singles && (n < 3 || time.Now().Before(end)); n++ {
			took, err := r.change(ctx, 0, kind.states[(n+1)%2])
			if err != nil {
				return err
			}
			if err := r.record(latencyScenario, kind.what, accepted, took.Seconds()); err != nil {
				return err
			}
			// kube-proxy programs once a second at most: what comes later it does at once.
			if err := pause(ctx, time.Duration(1050+rand.IntN(200))*time.Millisecond); err != nil {
				return err
			}
		}
		after, err := r.peer.work(r.site)
		if err != nil {
			return err
		}
		if own := after.since(before); own.rounds > 0 {
			if err := r.record(latencyScenario, kind.what, "own round of programming (s)", own.seconds/own.rounds); err != nil {
				return err
			}
		}
		if err := r.c.update(ctx, r.c.probe(0, 0)); err != nil {
			return err
		}
	}
	return nil
}

// change gives a probe another state, and says how long it takes until a connection
// goes to one of the endpoints that it has now.
func (r *round) change(ctx context.Context, probe, state int) (took time.Duration, err error) {
	want := probeStates(probe)[state]
	start := time.Now()
	var both errgroup.Group
	both.Go(func() error {
		return r.site.asker.Clients(1, func(c *testbed.Client) error {
			for {
				if err := ctx.Err(); err != nil {
					return err
				}
				answer, err := c.Ask("tcp", frontend(mostServices+probe), r.suite.options.patience)
				if err != nil {
					return err
				}
				took = time.Since(start)
				if slices.Contains(want, answer.Server.Addr()) {
					return nil
				}
				if took > r.suite.options.patience {
					return &lateError{"a change", r.suite.options.patience}
				}
				time.Sleep(300 * time.Microsecond)
			}
		})
	})
	both.Go(func() error { return r.c.update(ctx, r.c.probe(probe, state)) })
	return took, both.Wait()
}

// told is when a plain watch is told of a change: no proxy can know sooner.
func (r *round) told(ctx context.Context) error {
	r.tell("a plain watch")
	slice := r.c.probe(0, 0)
	events, err := r.c.clients.DiscoveryV1().EndpointSlices(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + slice.Name})
	if err != nil {
		return err
	}
	defer events.Stop()
	for n := range r.suite.options.singles {
		state := (n + 1) % 2
		start := time.Now()
		if err := r.c.update(ctx, r.c.probe(0, state)); err != nil {
			return err
		}
		if err := hear(ctx, events, probeStates(0)[state][0]); err != nil {
			return err
		}
		if err := r.record(latencyScenario, replaced, accepted, time.Since(start).Seconds()); err != nil {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return r.c.update(ctx, r.c.probe(0, 0))
}

// hear waits until a watch tells of an endpoint.
func hear(ctx context.Context, events watch.Interface, want netip.Addr) error {
	for {
		select {
		case e := <-events.ResultChan():
			slice, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				return fmt.Errorf("a watch ended: %v", e.Type)
			}
			if slice.Endpoints[0].Addresses[0] == want.String() {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const changesPerSecond = 100

// churn changes endpoints of all Services at a steady rate, and measures what it costs
// and how long the changes of the probes take meanwhile.
func (r *round) churn(ctx context.Context) error {
	r.tell("%d changes a second for %v", changesPerSecond, r.suite.options.churn)
	if err := r.c.settled(ctx, r); err != nil {
		return err
	}
	before, err := cpu(r.process)
	if err != nil {
		return err
	}
	r.memory = watchMemory(r.process)
	start := time.Now()
	end := start.Add(r.suite.options.churn)
	var group errgroup.Group
	var touched []int
	group.Go(func() (err error) {
		touched, err = r.steadily(ctx, end)
		return err
	})
	var mu sync.Mutex
	var times []time.Duration
	for probe := range probes {
		group.Go(func() error {
			for state := 1; time.Now().Before(end); state = 1 - state {
				took, err := r.change(ctx, probe, state)
				if err != nil {
					return err
				}
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
				if err := pause(ctx, time.Duration(50+rand.IntN(100))*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	lasted := time.Since(start)
	most := r.memory.end()
	used, cpuErr := cpu(r.process)
	if err := errors.Join(err, cpuErr, r.c.restore(ctx, touched)); err != nil {
		return err
	}
	for _, took := range times {
		if err := r.record(latencyScenario, underLoad, accepted, took.Seconds()); err != nil {
			return err
		}
	}
	return errors.Join(
		r.record(usageScenario, "at 100 changes/s", "CPU (s per s)", (used-before).Seconds()/lasted.Seconds()),
		r.record(usageScenario, "at 100 changes/s", "changes/s", float64(len(touched))/lasted.Seconds()),
		r.record(usageScenario, "at 100 changes/s", "most memory (bytes)", float64(most)),
	)
}

// steadily changes one Service after another at the rate until the end: one of its
// endpoints is replaced, one more comes, or one goes. It says which were changed.
func (r *round) steadily(ctx context.Context, end time.Time) (touched []int, err error) {
	work := r.c.parallel()
	tick := time.NewTicker(time.Second / changesPerSecond)
	defer tick.Stop()
	for order := rand.Perm(r.c.services); time.Now().Before(end) && ctx.Err() == nil; {
		<-tick.C
		i := order[len(touched)%len(order)]
		touched = append(touched, i)
		slice := r.c.slice(i, max(1, r.c.endpoints-1+rand.IntN(3)))
		slice.Endpoints[rand.IntN(len(slice.Endpoints))].Addresses[0] = addrOf(10<<24 | 208<<16 + rand.Uint32N(1<<20)).String()
		work.Go(func() error { return r.c.update(ctx, slice) })
	}
	return touched, work.Wait()
}

// idle is what the proxy uses while nothing happens.
func (r *round) idle(ctx context.Context) error {
	r.tell("idle")
	if err := r.c.settled(ctx, r); err != nil {
		return err
	}
	before, err := cpu(r.process)
	if err != nil {
		return err
	}
	if err := pause(ctx, r.suite.options.idle); err != nil {
		return err
	}
	after, err := cpu(r.process)
	if err != nil {
		return err
	}
	return errors.Join(
		r.record(usageScenario, "idle", "CPU (s per s)", (after-before).Seconds()/r.suite.options.idle.Seconds()),
		r.record(usageScenario, "idle", "memory (bytes)", float64(resident(r.process.Pid(), "VmRSS"))),
	)
}

// tables is the kernel memory of what the proxy has programmed. It is the end of a
// round, as the tables are gone then.
func (r *round) tables(ctx context.Context) error {
	r.tell("kernel memory of the tables")
	r.end()
	n, err := tableMemory(r.site)
	if err != nil {
		return err
	}
	return errors.Join(ctx.Err(), r.record(usageScenario, "kernel", "memory of the tables (bytes)", float64(n)))
}
