package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Every node writes Events, and the API server and its users have to bear the sum. So
// there is one for a Service and reason in eventEvery, with the latest text; all of them
// together go at eventRate, one namespace after the other; and of those that wait there
// are so many at most. client-go starts a goroutine for each that it is given.
const (
	eventEvery  = 5 * time.Minute
	eventRate   = 1 // a second
	eventBurst  = 10
	mostOfAll   = 2048
	mostOfSpace = 128
)

// eventKey is what there is one Event for at a time: a Service, or this node if the name
// is empty.
type eventKey struct {
	about  proxy.Name
	reason string
}

// pendingEvent is an Event that waits.
type pendingEvent struct {
	eventKey
	// topic is what it is about; the Event goes when that is over.
	topic   string
	action  string
	related proxy.Name
	note    string
}

// eventQueue has the Events that wait. It is safe for concurrent use.
type eventQueue struct {
	mu      sync.Mutex
	pending map[eventKey]pendingEvent
	// order has the keys of each namespace, turns the namespaces.
	order   map[string][]eventKey
	turns   []string
	last    map[eventKey]time.Time
	dropped int
	wake    chan struct{}
}

func newEventQueue() *eventQueue {
	return &eventQueue{
		pending: map[eventKey]pendingEvent{}, order: map[string][]eventKey{}, last: map[eventKey]time.Time{},
		wake: make(chan struct{}, 1),
	}
}

// put has an Event wait, in the place of an older one with the same key.
func (q *eventQueue) put(e pendingEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	space := e.about.Namespace
	_, waits := q.pending[e.eventKey]
	switch {
	case waits:
	case len(q.order[space]) >= mostOfSpace, len(q.pending) >= mostOfAll && !q.makeRoom(space):
		q.dropped++
		return
	default:
		if len(q.order[space]) == 0 {
			q.turns = append(q.turns, space)
		}
		q.order[space] = append(q.order[space], e.eventKey)
	}
	q.pending[e.eventKey] = e
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// makeRoom drops the latest Event of the namespace that has the most, if that is another
// one.
func (q *eventQueue) makeRoom(space string) bool {
	most := space
	for other, keys := range q.order {
		if len(keys) > len(q.order[most])+1 {
			most = other
		}
	}
	if most == space {
		return false
	}
	keys := q.order[most]
	q.remove(keys[len(keys)-1])
	q.dropped++
	return true
}

// remove has an Event wait no longer.
func (q *eventQueue) remove(key eventKey) {
	space := key.about.Namespace
	delete(q.pending, key)
	q.order[space] = slices.DeleteFunc(q.order[space], func(k eventKey) bool { return k == key })
	if len(q.order[space]) == 0 {
		delete(q.order, space)
		q.turns = slices.DeleteFunc(q.turns, func(s string) bool { return s == space })
	}
}

// only drops what waits about a topic for other reasons than these: it is over.
func (q *eventQueue) only(about proxy.Name, topic string, reasons ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range slices.Clone(q.order[about.Namespace]) {
		if key.about == about && q.pending[key].topic == topic && !slices.Contains(reasons, key.reason) {
			q.remove(key)
		}
	}
}

// next is the Event whose turn it is, if there is one that is due. Else wait is the time
// until one is, 0 if none waits.
func (q *eventQueue) next(now time.Time) (e pendingEvent, due bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, at := range q.last {
		if now.Sub(at) >= eventEvery {
			delete(q.last, key)
		}
	}
	for i, space := range q.turns {
		for _, key := range q.order[space] {
			at, was := q.last[key]
			if left := eventEvery - now.Sub(at); was {
				if wait == 0 || left < wait {
					wait = left
				}
				continue
			}
			e = q.pending[key]
			q.turns = append(slices.Delete(q.turns, i, i+1), space)
			q.remove(key)
			q.last[key] = now
			return e, true, 0
		}
	}
	return e, false, wait
}

// takeDropped is how many Events were dropped since it was last asked.
func (q *eventQueue) takeDropped() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.dropped
	q.dropped = 0
	return n
}

// sendEvents sends what waits, until the context ends.
func (r *reporter) sendEvents(ctx context.Context) error {
	limiter := rate.NewLimiter(eventRate, eventBurst)
	for {
		var later <-chan time.Time
		e, due, wait := r.events.next(time.Now())
		if n := r.events.takeDropped(); n > 0 {
			r.log.Info("Too many Events wait, so that some are left out; the log has all", "leftOut", n)
		}
		if due {
			if limiter.Wait(ctx) != nil {
				return nil
			}
			r.send(e)
			continue
		}
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.events.wake:
		case <-later:
		}
	}
}
