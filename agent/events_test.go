package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// sent are the Events that go in some time, at most so many, as "namespace/name reason
// note".
func sent(q *eventQueue, now time.Time, most int) (list []string) {
	for len(list) < most {
		e, due, _ := q.next(now)
		if !due {
			break
		}
		list = append(list, fmt.Sprintf("%s %s %s", e.about, e.reason, e.note))
	}
	return list
}

func waiting(namespace string, number int, reason, note string) pendingEvent {
	return pendingEvent{eventKey: eventKey{proxy.Name{Namespace: namespace, Name: fmt.Sprint(number)}, reason}, topic: "problems", note: note}
}

// Of 500 changes of one Service there is one Event, and one with the latest text when its
// time has come; what is over is not told.
func TestOneEventForAServiceAndReason(t *testing.T) {
	q, start := newEventQueue(), time.Now()
	var list []string
	for i := range 500 {
		q.put(waiting("noisy", 0, "Invalid", fmt.Sprint(i)))
		list = append(list, sent(q, start.Add(time.Duration(i)*74*time.Millisecond), 100)...)
	}
	if want := "[noisy/0 Invalid 0]"; fmt.Sprint(list) != want {
		t.Errorf("the Events are %v, want %s", list, want)
	}
	if _, due, wait := q.next(start.Add(eventEvery - time.Second)); due || wait != time.Second {
		t.Errorf("before its time the next is due: %t, in %v", due, wait)
	}
	if list, want := sent(q, start.Add(eventEvery), 100), "[noisy/0 Invalid 499]"; fmt.Sprint(list) != want {
		t.Errorf("then the Events are %v, want %s", list, want)
	}
	q.put(waiting("noisy", 0, "Invalid", "again"))
	q.put(waiting("noisy", 0, "Other", "another reason"))
	q.only(proxy.Name{Namespace: "noisy", Name: "0"}, "problems", "Other")
	if list, want := sent(q, start.Add(3*eventEvery), 100), "[noisy/0 Other another reason]"; fmt.Sprint(list) != want {
		t.Errorf("when it is over, the Events are %v, want %s", list, want)
	}
}

// A namespace with much to tell keeps no other one waiting, nor this node, and what waits
// is bounded.
func TestEventsTakeTurns(t *testing.T) {
	q, now := newEventQueue(), time.Now()
	for i := range 10_000 {
		q.put(waiting("noisy", i, "Invalid", ""))
	}
	q.put(waiting("quiet", 1, "Invalid", ""))
	q.put(pendingEvent{eventKey: eventKey{reason: "SysctlNotSet"}})
	if len(q.pending) != mostOfSpace+2 || q.takeDropped() != 10_000-mostOfSpace || q.takeDropped() != 0 {
		t.Errorf("%d wait", len(q.pending))
	}
	if list, want := sent(q, now, 4), "[noisy/0 Invalid  quiet/1 Invalid   SysctlNotSet  noisy/1 Invalid ]"; fmt.Sprint(list) != want {
		t.Errorf("the first Events are %v, want %s", list, want)
	}

	q = newEventQueue()
	for i := range 10 * mostOfAll {
		q.put(waiting(fmt.Sprint("noisy-", i%20), i, "Invalid", ""))
	}
	q.put(waiting("quiet", 1, "Invalid", ""))
	if len(q.pending) != mostOfAll {
		t.Errorf("%d wait, want %d", len(q.pending), mostOfAll)
	}
	found := false
	for _, e := range sent(q, now, 21) {
		found = found || e == "quiet/1 Invalid "
	}
	if !found {
		t.Error("the Event of a quiet namespace does not wait")
	}
}
