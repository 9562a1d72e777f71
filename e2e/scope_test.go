package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// load asks for new connections, one after another, until it is stopped. It leaves
// the client enough ports: one that is used again within the kernel's time for
// connections that have ended may meet what is left of the one before.
type load struct {
	asked, lost atomic.Int64
	stop        func() error
}

func (w *world) load(to netip.AddrPort) *load {
	l := &load{}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() {
		done <- w.client.Clients(2, func(c *testbed.Client) error {
			var last error
			for ctx.Err() == nil {
				l.asked.Add(1)
				if _, err := c.Ask("tcp", to, patience); err != nil {
					l.lost.Add(1)
					last = err
				}
				time.Sleep(10 * time.Millisecond)
			}
			return last
		})
	}()
	l.stop = func() error {
		cancel()
		return <-done
	}
	return l
}

// unserved wants that a Service's addresses lead nowhere.
func (w *world) unserved(svc *corev1.Service) {
	w.t.Helper()
	for _, to := range frontends(svc) {
		if got, err := w.reached(to); err != nil || got != unreachable {
			w.t.Errorf("%s leads to %s, %v, and should be left alone", to, got, err)
		}
	}
}

// From scope to scope and back: what is ours throughout is served throughout, what
// is not is left alone, and connections live on even where nothing is served.
func TestScopes(t *testing.T) {
	w := newWorld(t)
	ours, theirs, another := w.service("ours"), w.service("theirs"), w.service("another")
	ours.Labels = map[string]string{proxy.LabelProxyName: proxy.ProxyName}
	another.Labels = map[string]string{proxy.LabelProxyName: "another"}
	for _, svc := range []*corev1.Service{ours, theirs, another} {
		w.create(svc)
	}
	a, b := w.backend("a", 1), w.backend("b", 2)
	for _, svc := range []*corev1.Service{ours, theirs, another} {
		w.sliced(svc)
	}
	var agent *agent
	turn := func(scope proxy.Scope) {
		t.Helper()
		if agent != nil {
			agent.terminate()
		}
		agent = w.startReady("--scope", string(scope))
	}

	turn(proxy.ScopeShadow)
	w.unserved(ours)
	w.unserved(theirs)
	if all, err := w.elements(); err != nil || len(all["services"]) < 4 {
		t.Errorf("in shadow, the tables have %d frontends, %v", len(all["services"]), err)
	}

	turn(proxy.ScopeLabelled)
	w.serviceLeadsTo(ours, a, b)
	w.unserved(theirs)
	var flows []*testbed.Flow
	for _, to := range frontends(ours) {
		flow, err := w.client.Open("tcp", to, patience)
		w.must(err)
		defer flow.Close()
		flows = append(flows, flow)
	}
	live := func(step string) {
		t.Helper()
		for _, flow := range flows {
			if _, err := flow.Ask(patience); err != nil {
				t.Errorf("%s: an established connection: %v", step, err)
			}
		}
	}
	live("labelled")
	load := w.load(frontends(ours)[0])
	w.tidy()
	before := w.generation()
	turn(proxy.ScopeLabelled)
	if now := w.generation(); now != before {
		t.Errorf("a restart in the same scope moved the generation from %d to %d", before, now)
	}
	turn(proxy.ScopeAll)
	w.serviceLeadsTo(theirs, a, b)
	live("all")
	turn(proxy.ScopeLabelled)
	w.eventually("what is not ours to be left alone", func() error {
		return w.lead(theirs, unreachable)
	})
	live("labelled again")
	err := load.stop()
	t.Logf("%d connections while the scope changed, %d lost", load.asked.Load(), load.lost.Load())
	if load.lost.Load() > 0 || load.asked.Load() < 20 {
		t.Errorf("of %d connections to a Service that was ours throughout, %d were lost: %v", load.asked.Load(), load.lost.Load(), err)
	}

	turn(proxy.ScopeShadow)
	w.unserved(ours)
	live("shadow again")
	w.unserved(another)
}

// A Service moves by its label alone.
func TestLabelMovesAService(t *testing.T) {
	w := newWorld(t)
	svc, stays := w.service("moves"), w.service("stays")
	stays.Labels = map[string]string{proxy.LabelProxyName: proxy.ProxyName}
	w.create(svc)
	w.create(stays)
	a := w.backend("a", 1)
	w.sliced(svc)
	w.startReady("--scope=labelled")
	w.serviceLeadsTo(stays, a)
	w.unserved(svc)
	for _, to := range frontends(stays) {
		// Another proxy's Services look unallocated from here: no address is refused.
		free := netip.AddrPortFrom(to.Addr().Next(), 80)
		if got, err := w.reached(free); err != nil || got != unreachable {
			t.Errorf("an address without a Service: %s, %v", got, err)
		}
	}
	w.label(svc, proxy.ProxyName)
	w.serviceLeadsTo(svc, a)
	w.label(svc, "")
	w.eventually("the Service to be left alone", func() error { return w.lead(svc, unreachable) })
}

// lead gives an error unless all of a Service's addresses lead there.
func (w *world) lead(svc *corev1.Service, want string) error {
	for _, to := range frontends(svc) {
		if got, err := w.reached(to); err != nil || got != want {
			return fmt.Errorf("%s leads to %s, %v", to, got, err)
		}
	}
	return nil
}
