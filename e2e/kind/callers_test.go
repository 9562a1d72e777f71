package kind

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// pace is the pause between the requests of one caller.
const pace = 150 * time.Millisecond

// caller is a client that asks one frontend without a break: over one connection or
// flow that it keeps, and by new ones. Nothing of it may fail.
type caller struct {
	from     *place
	protocol string
	to       frontend
	// moves says that pods end. A TCP connection would end with its pod, so none is kept
	// then. A UDP flow is, and has to come to another pod; what it asks meanwhile may be
	// for a pod that is no more, and is not lost.
	moves bool

	kept, fresh, late, moving atomic.Int64
	mu                        sync.Mutex
	lost                      []error
	told                      int
}

func (c *caller) String() string {
	return fmt.Sprintf("%s asks %s (%s/%s)", c.from.what, c.to.what, c.to.at, c.protocol)
}

// callers ask until they are stopped.
type callers struct {
	s     *scene
	all   []*caller
	ended chan struct{}
	done  sync.WaitGroup
	late  int64 // as many were told of
}

// call starts callers, and returns when all of them have their connection.
func (s *scene) call(all ...*caller) *callers {
	s.t.Helper()
	c := &callers{s: s, all: all, ended: make(chan struct{})}
	for i, one := range all {
		// Not all in the same moment.
		shift := pace * time.Duration(i) / time.Duration(len(all))
		if one.protocol == "udp" || !one.moves {
			var talking *talk
			s.must(one.from.Do(func() (err error) {
				talking, err = begin(one.protocol, one.to.at, patience)
				return err
			}))
			pod, err := talking.ask("hostname")
			if err != nil {
				s.t.Fatalf("%s: %v", one, err)
			}
			c.done.Go(func() {
				defer func() { _ = talking.Close() }()
				c.repeat(one, shift, func() error { return one.keep(talking, pod) })
			})
		}
		c.done.Go(func() {
			_ = one.from.Do(func() error {
				c.repeat(one, shift+pace/2, one.start)
				return nil
			})
		})
	}
	s.t.Cleanup(c.end)
	return c
}

// repeat asks until the callers are stopped.
func (c *callers) repeat(one *caller, shift time.Duration, ask func() error) {
	for wait := shift; ; wait = pace {
		select {
		case <-c.ended:
			return
		case <-time.After(wait):
		}
		if err := ask(); err != nil {
			one.mu.Lock()
			one.lost = append(one.lost, fmt.Errorf("at %s: %w", time.Now().Format("15:04:05.000"), err))
			one.mu.Unlock()
			if errors.Is(err, errBroken) {
				return
			}
		}
	}
}

// errBroken is for what is kept and can't be used any more.
var errBroken = errors.New("what was kept is broken")

func (c *caller) keep(talking *talk, first string) error {
	pod, err := talking.ask("hostname")
	switch {
	case err != nil && c.moves:
		c.moving.Add(1)
		return nil
	case err != nil && c.protocol == "tcp":
		return fmt.Errorf("%w: %w", errBroken, err)
	case err != nil:
		return err
	case pod != first && !c.moves:
		return fmt.Errorf("%w: it was at %s, and is at %s", errBroken, first, pod)
	}
	c.kept.Add(1)
	return nil
}

func (c *caller) start() error {
	talking, err := begin(c.protocol, c.to.at, patience)
	if err != nil {
		return err
	}
	defer func() { _ = talking.Close() }()
	if _, err = talking.ask("hostname"); err != nil {
		return err
	}
	c.fresh.Add(1)
	if talking.late {
		c.late.Add(1)
	}
	return nil
}

// settle waits until each caller has got some more answers, and wants that nothing was
// lost so far.
func (c *callers) settle(what string) {
	c.s.t.Helper()
	const more = 5
	kept, fresh := make([]int64, len(c.all)), make([]int64, len(c.all))
	for i, one := range c.all {
		kept[i], fresh[i] = one.kept.Load(), one.fresh.Load()
	}
	err := testbed.Wait(limit, "more answers", func() error {
		for i, one := range c.all {
			if k, f := one.kept.Load()-kept[i], one.fresh.Load()-fresh[i]; (k < more && one.keeps()) || f < more {
				if len(one.errors()) > 0 {
					return nil // told below
				}
				return fmt.Errorf("%s, and has had %d over its connection, %d by new ones", one, k, f)
			}
		}
		return nil
	})
	if err != nil {
		c.s.t.Errorf("%s: %v", what, err)
	}
	var late int64
	for _, one := range c.all {
		c.tell(what, one)
		late += one.late.Load()
	}
	if late > c.late {
		c.s.t.Logf("%s: %d requests needed a retransmit", what, late-c.late)
	}
	c.late = late
}

func (c *caller) keeps() bool { return c.protocol == "udp" || !c.moves }

func (c *caller) errors() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// tell reports what was lost since the last time.
func (c *callers) tell(what string, one *caller) {
	c.s.t.Helper()
	lost := one.errors()
	for i, err := range lost[one.told:] {
		if i == 3 {
			c.s.t.Errorf("%s: %s: and %d more", what, one, len(lost)-one.told-i)
			break
		}
		c.s.t.Errorf("%s: %s: %v", what, one, err)
	}
	one.told = len(lost)
}

// end ends the callers, if they are not.
func (c *callers) end() {
	select {
	case <-c.ended:
	default:
		close(c.ended)
	}
	c.done.Wait()
}

// stop ends the callers, wants that nothing was lost, and says how much was asked.
func (c *callers) stop() {
	c.s.t.Helper()
	c.end()
	var kept, fresh, late, moving int64
	lost := 0
	for _, one := range c.all {
		if one.fresh.Load() == 0 || one.keeps() && one.kept.Load() == 0 {
			c.s.t.Errorf("%s: nothing was answered", one)
		}
		c.tell("in the end", one)
		kept, fresh, late, lost = kept+one.kept.Load(), fresh+one.fresh.Load(), late+one.late.Load(), lost+len(one.errors())
		moving += one.moving.Load()
	}
	c.s.t.Logf("%d callers: %d requests over connections that were kept, %d over new ones (%d by a retransmit), %d lost; %d for a pod that had ended",
		len(c.all), kept, fresh, late, lost, moving)
}

// callersOf ask for a Service from a place at each kind of address, in both protocols
// and families.
func (s *scene) callersOf(from *place, svc *corev1.Service) (all []*caller) {
	for _, protocol := range []string{"tcp", "udp"} {
		list := append(externals(svc), nodePorts(svc, protocol, s.worker)...)
		if from.what != "outside" {
			list = append(list, clusterIPs(svc)...)
		}
		for _, to := range list {
			all = append(all, &caller{from: from, protocol: protocol, to: to})
		}
	}
	return all
}

// spread asks from a place until all of the pods have answered, and wants nobody else.
func (s *scene) spread(from *place, protocol string, to netip.AddrPort, pods []string) error {
	seen := map[string]int{}
	want := map[string]bool{}
	for _, p := range pods {
		want[p] = true
	}
	// With four pods, one is left out of so many in one of 10^10 times.
	for asked := 0; asked < 100 && len(seen) < len(want); asked++ {
		a, err := from.askOnce(protocol, to)
		if err != nil {
			return err
		}
		if !want[a.pod] {
			return fmt.Errorf("%s answers, want one of %v", a.pod, pods)
		}
		seen[a.pod]++
	}
	if len(seen) < len(want) {
		return fmt.Errorf("of %v, only %v answer", pods, seen)
	}
	return nil
}
