package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	// slicesPerSecond is how fast a rolling update goes through a Service's slices of
	// 100 endpoints.
	slicesPerSecond = 20
	// goneAfter is how long after its removal from the API a pod still answers. Who is
	// sent to it later has lost a request.
	goneAfter = time.Second
	// mostRolling are as many endpoints as have two addresses each in the Service's range.
	mostRolling = 1 << 14
)

// rolling replaces all endpoints of a large Service, slice by slice, while clients make
// connections without a break.
func (r *round) rolling(ctx context.Context) error {
	if r.c.size != r.suite.options.rollingSize {
		return nil
	}
	for _, n := range r.suite.options.rolling {
		if err := r.roll(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (r *round) roll(ctx context.Context, n int) (err error) {
	what := fmt.Sprintf("%d endpoints", n)
	r.tell("rolling update of a Service with %s", what)
	f := fixture{what: what, number: mostServices + 20, endpoints: n}
	remove, err := r.bring(ctx, f)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	if err := r.rest(ctx); err != nil {
		return err
	}
	used, err := cpu(r.process)
	if err != nil {
		return err
	}
	u := &update{
		// The addresses after the old ones, in the same order.
		old: specialAddr(f.number, 0), fresh: specialAddr(f.number, n),
		writes: make([]atomic.Int64, (n+mostEndpoints-1)/mostEndpoints),
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	asking := make(chan error, 1)
	go func() {
		asking <- r.site.asker.Clients(2, func(c *testbed.Client) error { return u.ask(watching, c, frontend(f.number)) })
	}()
	start := time.Now()
	if err := r.write(ctx, f, u); err != nil {
		return err
	}
	written := time.Unix(0, u.writes[len(u.writes)-1].Load()) // the last one's begin
	// Converged is when the last connection went to an old endpoint.
	const calm = 3 * time.Second
	for time.Since(u.lastOld(written)) < calm {
		if time.Since(written) > r.suite.options.patience {
			return &lateError{what, r.suite.options.patience}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	converged := u.lastOld(written).Sub(written)
	// No client may have asked between the last write and what it brought about.
	converged = max(converged, time.Millisecond)
	stop()
	if err := <-asking; err != nil {
		return err
	}
	after, err := cpu(r.process)
	if err != nil {
		return err
	}
	return errors.Join(
		r.record(rollingScenario, what, "last write to converged (s)", converged.Seconds()),
		r.record(rollingScenario, what, "writes before the last (s)", written.Sub(start).Seconds()),
		r.record(rollingScenario, what, "CPU (s)", (after-used).Seconds()),
		r.record(rollingScenario, what, "requests", float64(u.asked.Load())),
		r.record(rollingScenario, what, "failed requests", float64(u.failed.Load())),
	)
}

// rest waits until nothing has been written to the kernel for a while. What has to be
// there is not counted here, as the Service is not one of the cluster's.
func (r *round) rest(ctx context.Context) error {
	const quiet = 1500 * time.Millisecond
	start := time.Now()
	last, changed := uint32(0), start
	for time.Since(changed) < quiet {
		now, err := r.site.conn.Generation()
		if err != nil {
			return err
		}
		if now != last {
			last, changed = now, time.Now()
		}
		if time.Since(start) > r.suite.options.patience {
			return &lateError{"to come to rest", r.suite.options.patience}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// update is what clients see of a rolling update.
type update struct {
	old, fresh netip.Addr
	writes     []atomic.Int64 // when each slice's write began, in ns since 1970
	last       atomic.Int64   // when a connection last went to an old endpoint after that
	asked      atomic.Int64
	failed     atomic.Int64
}

func (u *update) lastOld(atLeast time.Time) time.Time {
	if last := time.Unix(0, u.last.Load()); last.After(atLeast) {
		return last
	}
	return atLeast
}

// write replaces the endpoints, slice by slice, at its pace.
func (r *round) write(ctx context.Context, f fixture, u *update) error {
	var addrs []netip.Addr
	for j := range f.endpoints {
		addrs = append(addrs, specialAddr(f.number, f.endpoints+j))
	}
	names, parts := slicesOf(f.number, addrs)
	tick := time.NewTicker(time.Second / slicesPerSecond)
	defer tick.Stop()
	for i, name := range names {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		u.writes[i].Store(time.Now().UnixNano())
		if err := r.c.update(ctx, newSlice(serviceName(f.number), name, parts[i])); err != nil {
			return err
		}
	}
	return nil
}

// whole asks, and lets the server close the connection. If the client did, a FIN of the
// server's might be on its way: when connection tracking sees that behind the client's reset, it
// keeps the connection for ten seconds, with its endpoint, for the next that comes from the
// same port (nf_conntrack_proto_tcp.c), whatever the proxy.
func whole(c *testbed.Client, to netip.AddrPort) (testbed.Answer, error) {
	const patience = 3 * time.Second
	f, err := c.Open("tcp", to, patience)
	if err != nil {
		return testbed.Answer{}, err
	}
	defer f.Close()
	answer, err := f.Ask(patience)
	if err != nil {
		return answer, err
	}
	return answer, f.AwaitEnd(patience)
}

// ask makes connections without a break.
func (u *update) ask(ctx context.Context, c *testbed.Client, to netip.AddrPort) error {
	for ctx.Err() == nil {
		began := time.Now()
		answer, err := whole(c, to)
		u.asked.Add(1)
		if err != nil {
			u.failed.Add(1)
			continue
		}
		at := answer.Server.Addr()
		if at.Less(u.old) || !at.Less(u.fresh) {
			continue // a new one
		}
		number := toNumber(at) - toNumber(u.old)
		written := u.writes[number/mostEndpoints].Load()
		if written == 0 || began.UnixNano() < written {
			continue // old, and still right
		}
		for last := u.last.Load(); last < began.UnixNano() && !u.last.CompareAndSwap(last, began.UnixNano()); {
			last = u.last.Load()
		}
		if began.UnixNano()-written > int64(goneAfter) {
			u.failed.Add(1)
		}
	}
	return nil
}
