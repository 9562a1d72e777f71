package dataplane_test

import (
	"regexp"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// lists counts what is listed whole.
type lists struct {
	*kernel.Conn
	n int
}

func (l *lists) Read(id nft.ID) (*nft.Held, error) {
	l.n++
	return l.Conn.Read(id)
}

// A start asks a kernel that holds a lot for what the Services want, and lists it only when
// there is more: what was changed while no agent was there is mended all the same.
func TestAStartWithALargeSet(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	const n, endpoints = 3400, 5
	services := cluster(n, endpoints)
	w := adopt(t, ns, flat)
	w.program(services...)
	w.sweep()
	if got := w.count("endpoints"); got != n*endpoints {
		t.Fatalf("%d endpoints are in the kernel", got)
	}
	for _, tc := range []struct {
		what     string
		services []proxy.Service
		script   string
		lists    int
	}{
		{"nothing has changed", services, "", 0},
		{"Services were deleted", services[100:], "", 1},
		{"all but one are gone", services[:1], "", 1},
		{"all are back", services, "", 0},
		{"someone deleted an endpoint", services, "delete element ip kube-verdict endpoints { 10.96.0.7 . tcp . 80 . 2 }", 0},
		{"someone added one", services, "add element ip kube-verdict endpoints { 10.96.0.7 . tcp . 80 . 9 : 10.0.0.1 . 80 }", 1},
		{"someone changed one", services, "delete element ip kube-verdict endpoints { 10.96.0.7 . tcp . 80 . 2 }; add element ip kube-verdict endpoints { 10.96.0.7 . tcp . 80 . 2 : 10.0.0.1 . 80 }", 0},
	} {
		load(t, ns, tc.script)
		conn := &lists{Conn: second(t, ns)}
		again := adopted(t, conn, conn.Conn, flat)
		again.program(tc.services...)
		again.sweep()
		if conn.n > tc.lists {
			t.Errorf("%s: %d tables were listed, want %d at most", tc.what, conn.n, tc.lists)
		}
		fresh := testbed.NewTestNamespace(t)
		adopt(t, fresh, flat).program(tc.services...)
		if diff := differs(withoutAhead(listing(t, ns, tc.what)), withoutAhead(listing(t, fresh, "fresh"))); diff != "" {
			t.Errorf("%s: against a fresh start, the kernel has\n%s", tc.what, diff)
		}
	}
}

var ahead = regexp.MustCompile(`\n\tchain cluster-[0-9]+ \{[^}]*\}\n`)

// withoutAhead is a listing without the chains that a large load makes ahead.
func withoutAhead(listing string) string { return ahead.ReplaceAllString(listing, "") }
