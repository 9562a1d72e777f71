package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// quietTime is how long nothing must have changed in the kernel until what is there
// is counted.
const quietTime = 250 * time.Millisecond

// coldCPU is counted when the first round of programming has ended.
const coldCPU = "CPU until its first round ended (s)"

// coldStart is the time from the proxy's start on an empty kernel until all Services
// are in it. It looks at nothing but the number of the kernel's last transaction,
// which costs next to nothing; only when there has been none for a while the elements
// are counted, and if all are there, the time is that of the last transaction.
func (r *round) coldStart(ctx context.Context) error {
	r.tell("cold start")
	started, err := r.begin()
	if err != nil {
		return err
	}
	finished, err := r.settle(ctx, started)
	most := r.memory.end()
	if err != nil {
		return err
	}
	if err := r.answered(); err != nil {
		return err
	}
	took := finished.Sub(started)
	r.tell("programmed after %v", took.Round(time.Millisecond))
	if !r.wants(coldScenario) {
		return nil
	}
	// The metric comes when the round ends, a moment after the kernel is done.
	var own work
	err = testbed.Wait(r.suite.options.patience, "the metric of a round of programming", func() (err error) {
		own, err = r.peer.work(r.site)
		return errors.Join(err, r.alive())
	})
	if err != nil {
		return err
	}
	// Children count once they have ended, which those of a round have by now.
	used, err := cpu(r.process)
	if err != nil {
		return err
	}
	return errors.Join(
		r.record(coldScenario, "", "programmed after (s)", took.Seconds()),
		r.record(coldScenario, "", "own rounds of programming (s)", own.seconds),
		r.record(coldScenario, "", coldCPU, used.Seconds()),
		r.record(coldScenario, "", "most memory (bytes)", float64(most)),
	)
}

// settle waits until the kernel has all Services, and gives the time of the last
// transaction.
func (r *round) settle(ctx context.Context, since time.Time) (time.Time, error) {
	// An empty namespace has a generation, too, which counts as seen.
	last, err := r.site.conn.Generation()
	if err != nil {
		return time.Time{}, err
	}
	changed, looked := since, true
	for {
		now, err := r.site.conn.Generation()
		if err != nil {
			return time.Time{}, err
		}
		if now != last {
			last, changed, looked = now, time.Now(), false
		}
		if !looked && time.Since(changed) > quietTime {
			looked = true
			if err = r.peer.programmed(r.site, r.c); err == nil {
				return changed, nil
			}
		}
		if time.Since(since) > r.suite.options.patience {
			return time.Time{}, &lateError{"all Services", r.suite.options.patience}
		}
		if err := errors.Join(ctx.Err(), r.alive()); err != nil {
			return time.Time{}, err
		}
		time.Sleep(time.Millisecond)
	}
}

// answered asks some Services, evenly spread, for whether the right pods answer.
func (r *round) answered() error {
	const asked = 20
	return r.site.asker.Clients(1, func(c *testbed.Client) error {
		for n := range asked {
			i := n * (r.c.services - 1) / (asked - 1)
			answer, err := c.Ask("tcp", frontend(i), 5*time.Second)
			if err != nil {
				return fmt.Errorf("of %d Services, number %d does not answer though all are programmed: %w", r.c.services, i, err)
			}
			low, high := endpointAddr(i, 0), endpointAddr(i, r.c.endpoints-1)
			if at := answer.Server.Addr(); at.Less(low) || high.Less(at) {
				return fmt.Errorf("the Service number %d is answered by %s, which is none of its endpoints", i, at)
			}
		}
		return nil
	})
}

// readings are of a client that only reads. The first at a size is not counted: the API
// server has not sent these objects to anybody yet, which is dearer for it.
const readings = 3

// read is how long a client takes that does nothing but read all Services and
// EndpointSlices, by client-go's informers as they are by default.
func (r *round) read(ctx context.Context) error {
	r.tell("a client that only reads")
	if r.number == 1 {
		if _, err := r.c.read(ctx); err != nil {
			return err
		}
	}
	for range readings {
		took, err := r.c.read(ctx)
		if err != nil {
			return err
		}
		if err := r.record(coldScenario, "", "programmed after (s)", took.Seconds()); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) read(ctx context.Context) (time.Duration, error) {
	// What readings before have left is not to be collected during this one.
	runtime.GC()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	start := time.Now()
	all := informers.NewSharedInformerFactory(c.clients, 0)
	services, endpointSlices := all.Core().V1().Services().Informer(), all.Discovery().V1().EndpointSlices().Informer()
	running.Go(func() { services.RunWithContext(ctx) })
	running.Go(func() { endpointSlices.RunWithContext(ctx) })
	if !cache.WaitFor(ctx, "", services.HasSyncedChecker(), endpointSlices.HasSyncedChecker()) {
		return 0, ctx.Err()
	}
	return time.Since(start), nil
}

// restart ends the proxy and starts it again while nothing changes: how long it takes
// until it is ready, by its own account, and what it writes.
func (r *round) restart(ctx context.Context) error {
	r.tell("restart")
	if err := r.c.settled(ctx, r); err != nil {
		return err
	}
	r.end()
	before, err := r.site.conn.Generation()
	if err != nil {
		return err
	}
	started, err := r.begin()
	if err != nil {
		return err
	}
	defer r.memory.end()
	for {
		if r.peer.ready(r.site) == nil {
			break
		}
		if time.Since(started) > r.suite.options.patience {
			return &lateError{"restart", r.suite.options.patience}
		}
		if err := errors.Join(ctx.Err(), r.alive()); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(started)
	used, err := cpu(r.process)
	if err != nil {
		return err
	}
	// What it still writes when it says that it is ready counts, too.
	if err := pause(ctx, r.suite.options.idle); err != nil {
		return err
	}
	after, err := r.site.conn.Generation()
	if err != nil {
		return err
	}
	if err := r.answered(); err != nil {
		return err
	}
	return errors.Join(
		r.record(restartScenario, "", "ready after (s)", took.Seconds()),
		r.record(restartScenario, "", "CPU (s)", used.Seconds()),
		r.record(restartScenario, "", "transactions", float64(after-before)),
	)
}

// settled waits until the proxy has programmed everything and has nothing left to do.
func (c *cluster) settled(ctx context.Context, r *round) error {
	const quiet = 1500 * time.Millisecond // kube-proxy may still have something for the next second
	start := time.Now()
	last, changed := uint32(0), start
	for {
		now, err := r.site.conn.Generation()
		if err != nil {
			return err
		}
		if now != last {
			last, changed = now, time.Now()
		}
		if time.Since(changed) > quiet && r.peer.programmed(r.site, c) == nil {
			return nil
		}
		if time.Since(start) > r.suite.options.patience {
			return &lateError{"to come to rest", r.suite.options.patience}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
