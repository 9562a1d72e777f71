package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// churnDefault is the number of Services in TestChurn; KUBE_VERDICT_SCALE is
// another. Each has ten changes of its endpoints: 100 000 at 10 000 Services, which
// take about ten minutes.
const churnDefault = 200

// A day's changes leave nothing behind: not in the kernel, which equals a fresh
// build, and not in memory. A Service that does not change loses no connection.
func TestChurn(t *testing.T) {
	testbed.Need(t)
	api, stop, err := startControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w := newWorldAt(t, api)
	services := rounds(t, scaleVariable, churnDefault)
	bystander := w.everyWay("bystander", 1)
	w.backend("a", 1)
	w.backend("b", 2)
	agent := w.startReady()
	w.sliced(bystander)
	w.settled()
	callers := w.call(w.everyCaller(bystander)...)

	f := newFleet(w)
	f.grow(services)
	w.equalsFresh()

	// What a start needs besides is given back before the count begins.
	f.churn(0)
	before := rss(t, agent.Process)
	start := time.Now()
	const parts = 9
	var last int64
	for part := range parts {
		f.churn(part + 1)
		last = rss(t, agent.Process)
		t.Logf("after %d changes: %d KB resident, %d KB at the beginning", (part+1)*services, last, before)
	}
	took := time.Since(start)
	w.equalsFresh()
	t.Logf("%d changes of endpoints in %v; %s", parts*services, took.Round(time.Second), memory(agent.Process))
	// The heap's own slack, and some for what grows once.
	if most := before + before/4 + 16<<10; last > most {
		t.Errorf("the agent has grown from %d to %d KB", before, last)
	}
	t.Log(callers.stop())
}

// churn changes the endpoints of every other Service, of the odd ones in odd parts, in
// all the ways there are, and back to what they were.
func (f *fleet) churn(part int) {
	f.w.t.Helper()
	f.rewrite(part%2, func(service int) *discoveryv1.EndpointSlice {
		slice := f.slice(service, max(1, perService-3+rand.IntN(6)))
		for range rand.IntN(4) {
			slice.Endpoints[rand.IntN(len(slice.Endpoints))].Addresses[0] = netip.AddrFrom4([4]byte{10, 127, byte(rand.IntN(256)), byte(rand.IntN(256))}).String()
		}
		if rand.IntN(20) == 0 {
			slice.Endpoints = nil
		}
		return slice
	})
	f.rewrite(part%2, func(service int) *discoveryv1.EndpointSlice { return f.slice(service, perService) })
	f.w.settled() // the kernel may not have seen the changes yet, and have what it had
	f.inKernel()
}

// rewrite updates the slices of every other Service.
func (f *fleet) rewrite(first int, to func(int) *discoveryv1.EndpointSlice) {
	f.w.t.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for service := first; service < f.n; service += 2 {
		group.Go(func() error {
			return f.write(to(service))
		})
	}
	f.w.must(group.Wait())
}

// rss is a process's resident memory in KB.
func rss(t testing.TB, p *testbed.Process) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
