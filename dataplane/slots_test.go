package dataplane_test

import (
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// What it costs when an endpoint comes or goes does not depend on how many there are, nor
// on which one it is; a restart finds the endpoints in the slots that they are in.
func TestAnEndpointMovesNoOther(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	w := adopt(t, ns, flat)
	all := many("large", "10.96.0.1", 1000)
	without := func(svc proxy.Service, i int) proxy.Service {
		svc.Ports = slices.Clone(svc.Ports)
		svc.Ports[0].Endpoints = slices.Delete(slices.Clone(svc.Ports[0].Endpoints), i, i+1)
		return svc
	}
	w.program(all)
	for _, change := range []struct {
		what string
		svc  proxy.Service
	}{
		{"the first has gone", without(all, 0)},
		{"it has come back", all},
		{"one in the middle has gone", without(all, 500)},
		{"and another one", without(without(all, 500), 100)},
		{"another came for it", without(all, 100)},
		{"the last has gone", without(without(all, 100), 998)},
	} {
		before := w.conn.Stats()
		w.program(change.svc)
		w.sweep()
		after := w.conn.Stats()
		// An endpoint, the frontend's number, and the number's chain.
		if added, deleted := after.Added-before.Added, after.Deleted-before.Deleted; added > 4 || deleted > 4 {
			t.Errorf("%s: %d elements were added and %d deleted", change.what, added, deleted)
		}
		equalsFresh(t, ns, flat, []proxy.Service{change.svc})

		generation := w.generation()
		w = adopt(t, ns, flat)
		w.program(change.svc)
		w.sweep()
		if w.generation() != generation {
			t.Errorf("%s: a restart wrote something", change.what)
		}
	}
}

// An upgrade takes the order that an earlier version made, and one that others have
// mixed up, as far as each endpoint has a slot.
func TestSlotsOfOthers(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	w := adopt(t, ns, flat)
	svc := service("a", "tcp/80", "10.96.0.1,fd00:10:96::1", "10.254.0.1:8080,10.254.0.2:8080,10.254.0.3:8080,[fd00:10:254::1]:8080,[fd00:10:254::2]:8080")
	w.program(svc)
	for _, tc := range []struct{ what, script string }{
		{"two have one slot each of the other", "delete element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 0, 10.96.0.1 . tcp . 80 . 1 }; " +
			"add element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.254.0.2 . 8080, 10.96.0.1 . tcp . 80 . 1 : 10.254.0.1 . 8080 }"},
		{"one has two slots", "delete element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 2 }; add element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 2 : 10.254.0.1 . 8080 }"},
		{"a slot is empty", "delete element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 1 }"},
		{"a stranger has the first", "delete element ip6 kube-verdict endpoints { fd00:10:96::1 . tcp . 80 . 0 }; add element ip6 kube-verdict endpoints { fd00:10:96::1 . tcp . 80 . 0 : fd00::9 . 1 }"},
	} {
		load(t, ns, tc.script)
		w = adopt(t, ns, flat)
		w.program(svc)
		w.sweep()
		equalsFresh(t, ns, flat, []proxy.Service{svc})
		if t.Failed() {
			t.Fatal(tc.what)
		}
	}
}
