package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// state is a time in which the same pods are endpoints. It begins somewhere in the
// apply that makes it so, and ends somewhere in the next.
type state struct {
	removed, added netip.Addr // the change, if any
	pods           []pod
	start, end     time.Time // of the apply
}

// churn changes the Service's endpoints while requests go on.
//
// All pods go on serving, as a pod that is being stopped does for a while: whoever
// is still sent to one that is no endpoint any more shows.
func (c *cluster) churn(p *page) error {
	p.text("The client asks all three ports in turn, without a break, while three changes are applied:\n")
	var asked atomic.Int32
	var over atomic.Bool
	var requests []request
	done := make(chan error)
	go func() {
		var err error
		requests, err = c.traffic(func() (servicePort, bool) {
			time.Sleep(2 * time.Millisecond) // the source ports have to last
			return ports[int(asked.Add(1))%len(ports)], !over.Load()
		})
		done <- err
	}()
	states, err := c.change(p)
	over.Store(true)
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	states = append(states, state{start: time.Now(), end: time.Now()})
	printChurn(p, states, requests)
	return firstWrong(requests, func(r request) bool { return mayAnswer(states, r) })
}

// change brings one state after the other about, and lets each last a while.
func (c *cluster) change(p *page) ([]state, error) {
	const pause = time.Second
	old, without := c.pods[0].ip, c.pods[1:]
	states := []state{
		{pods: c.pods, start: time.Now(), end: time.Now()},
		{removed: old, pods: without},
		{added: joining.ip, pods: append(slices.Clone(without), joining)},
		{removed: joining.ip, added: old, pods: c.pods},
	}
	for i := range states[1:] {
		time.Sleep(pause)
		s := &states[i+1]
		text, err := c.objects.with(s.pods)
		if err != nil {
			return nil, err
		}
		s.start = time.Now()
		said, err := c.run(apply("-"), text)
		s.end = time.Now()
		if err != nil {
			return nil, err
		}
		p.text("%s\n  %s", s, said)
	}
	time.Sleep(pause)
	return states, nil
}

func (s state) String() string {
	switch {
	case !s.added.IsValid():
		return fmt.Sprintf("%s removed", s.removed)
	case !s.removed.IsValid():
		return fmt.Sprintf("%s added", s.added)
	}
	return fmt.Sprintf("%s replaced by %s", s.removed, s.added)
}

// mayAnswer says whether who answered a request may have been an endpoint while it
// was on its way. The last state only ends the one before.
func mayAnswer(states []state, r request) bool {
	for i, next := range states[1:] {
		begun, over := !r.end.Before(states[i].start), r.start.After(next.end)
		if begun && !over && r.answeredBy(states[i].pods) {
			return true
		}
	}
	return false
}

// outcome is what happened to the requests that began in a state.
type outcome struct {
	requests, failed   int
	settled            int // those that began when the apply had ended
	byRemoved, byAdded int // who answered those
}

func (s state) outcome(requests []request, until time.Time) outcome {
	var o outcome
	for _, r := range requests {
		if r.start.Before(s.start) || !r.start.Before(until) {
			continue
		}
		o.requests++
		switch {
		case r.err != nil:
			o.failed++
		case !r.start.Before(s.end):
			o.settled++
			switch r.answer.Server.Addr() {
			case s.removed:
				o.byRemoved++
			case s.added:
				o.byAdded++
			}
		}
	}
	return o
}

func printChurn(p *page, states []state, requests []request) {
	const row = "%-35s %9s %8s %6s %15s %15s"
	p.text("")
	p.text(row, "CHANGE", "ENDPOINTS", "REQUESTS", "FAILED", "TO THE REMOVED", "TO THE ADDED")
	for i := 1; i < len(states)-1; i++ {
		s := states[i]
		o := s.outcome(requests, states[i+1].start)
		removed, added := "-", "-"
		if s.removed.IsValid() {
			removed = fmt.Sprint(o.byRemoved)
		}
		if s.added.IsValid() {
			added = percent(float64(o.byAdded) / float64(max(1, o.settled)))
		}
		p.text(row, s, fmt.Sprint(len(s.pods)), fmt.Sprint(o.requests), fmt.Sprint(o.failed), removed, added)
	}
	slowest := slices.MaxFunc(requests, func(a, b request) int { return int(a.end.Sub(a.start) - b.end.Sub(b.start)) })
	p.text(`
%d requests; the slowest took %s. The last two columns count those that began when apply
had returned. A removed pod serves on here, so whatever was still sent to it would show.`,
		len(requests), slowest.end.Sub(slowest.start).Round(100*time.Microsecond))
}
