package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	benchServices = 10000 // KUBE_VERDICT_SCALE is another number
	benchTime     = time.Minute
	benchRate     = 100 // changes a second
	benchProbes   = 4
)

// BenchmarkChurn is what endpoint changes cost while they come at a steady rate, on a
// node that the agent programs and on one that the real kube-proxy does, at the same
// time and from the same API server: the time from writing an EndpointSlice until a
// new connection goes where it says, and the CPU time of the proxies and of what they
// run.
//
//	go test -run '^$' -bench Churn -benchtime 1x -timeout 30m -v ./e2e
func BenchmarkChurn(b *testing.B) {
	testbed.Need(b)
	api, stop, err := startControlPlane()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stop)
	w := newWorldAt(b, api)
	var probes []*corev1.Service
	for i := range benchProbes {
		svc := w.service(fmt.Sprintf("probe-%d", i))
		svc.Spec.Selector = nil
		w.create(svc)
		w.create(w.slice(svc, probed[0]))
		probes = append(probes, svc)
	}
	agent := w.startReady()
	f := newFleet(w)
	f.grow(rounds(b, scaleVariable, benchServices))
	theirs := f.kubeProxy()
	sides := []*side{
		{name: "kube-verdict", proxy: agent.Process, client: w.answer(w.node)},
		{name: "kube-proxy", proxy: theirs.Process, client: w.answer(theirs.node)},
	}
	before := []time.Duration{cpu(b, agent.Process), cpu(b, theirs.Process)}

	var group errgroup.Group
	end := time.Now().Add(benchTime)
	changes := 0
	written, told := &side{name: "written"}, &side{name: "told"}
	group.Go(func() (err error) {
		changes, err = f.steadily(end)
		return err
	})
	for _, svc := range probes {
		group.Go(func() error { return f.probe(svc, written, told, sides, end) })
	}
	w.must(group.Wait())

	b.Logf("%d changes in %v, %d Services of %d endpoints", changes, benchTime, f.n, perService)
	for _, s := range append([]*side{written, told}, sides...) {
		slices.Sort(s.took)
		n := len(s.took)
		b.Logf("%-12s  %d probes: p50 %v, p99 %v, most %v; a connection took %v at most", s.name, n,
			s.took[n/2].Round(100*time.Microsecond), s.took[n*99/100].Round(100*time.Microsecond), s.took[n-1].Round(100*time.Microsecond),
			s.connected.Round(100*time.Microsecond))
		b.ReportMetric(s.took[n/2].Seconds()*1000, s.name+"-p50-ms")
		b.ReportMetric(s.took[n*99/100].Seconds()*1000, s.name+"-p99-ms")
	}
	for i, s := range sides {
		b.ReportMetric((cpu(b, s.proxy) - before[i]).Seconds(), s.name+"-cpu-s")
	}
}

// side is a node and the proxy that programs it, or a stage that a change passes
// before any proxy can know of it: the API server has written it, or told a watch.
type side struct {
	name   string
	proxy  *testbed.Process
	client *testbed.Namespace
	took   []time.Duration
	// connected is the longest that a connection took, wherever it went. From a
	// second on, its first packet was lost.
	connected time.Duration
}

// note adds the time since a change was asked for.
func (s *side) note(since time.Time) {
	noting.Lock()
	defer noting.Unlock()
	s.took = append(s.took, time.Since(since))
}

// probed are the endpoints that the probes' Services have in turn.
var probed = []string{"10.244.0.1", "10.244.0.2"}

// answer has a node's pods answer for the probes, and gives one that asks.
func (w *world) answer(node *testbed.Node) *testbed.Namespace {
	w.t.Helper()
	for _, a := range probed {
		pod, err := node.AddPod(a, addr(a))
		w.must(err)
		server, err := pod.Serve("tcp", netip.AddrPortFrom(addr(a), 8080))
		w.must(err)
		w.t.Cleanup(server.Close)
	}
	asker, err := node.AddPod("asks", addr("10.244.9.8"))
	w.must(err)
	return asker.Namespace
}

// probe moves a Service from one endpoint to the other again and again, and notes how
// long that takes on each side.
func (f *fleet) probe(svc *corev1.Service, written, told *side, sides []*side, end time.Time) error {
	w := f.w
	slice := w.slice(svc)
	if err := w.api.Client.Get(w.ctx, client.ObjectKeyFromObject(slice), slice); err != nil {
		return err
	}
	events, err := f.clients.DiscoveryV1().EndpointSlices(w.namespace).Watch(w.ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + slice.Name, ResourceVersion: slice.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer events.Stop()
	for turn := 1; time.Now().Before(end); turn++ {
		want := probed[turn%2]
		slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{want}}}
		start := time.Now()
		var both errgroup.Group
		both.Go(func() error { return told.hear(events, want, start) })
		if err := w.api.Client.Update(w.ctx, slice); err != nil {
			return err
		}
		written.note(start)
		for _, s := range sides {
			both.Go(func() error {
				return s.client.Clients(1, func(c *testbed.Client) error { return s.await(c, frontends(svc)[0], want, start) })
			})
		}
		if err := both.Wait(); err != nil {
			return err
		}
		time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond)
	}
	return nil
}

// hear waits until a watch tells of the right endpoint.
func (s *side) hear(events watch.Interface, want string, since time.Time) error {
	for {
		select {
		case e := <-events.ResultChan():
			slice, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				return fmt.Errorf("a watch ended: %v %v", e.Type, e.Object)
			}
			if slice.Endpoints[0].Addresses[0] == want {
				s.note(since)
				return nil
			}
		case <-time.After(limit):
			return fmt.Errorf("a watch was not told of %s after %v", want, limit)
		}
	}
}

// noting guards the times of all sides.
var noting sync.Mutex

// await asks until the right endpoint answers.
func (s *side) await(c *testbed.Client, to netip.AddrPort, want string, since time.Time) error {
	for time.Since(since) < limit {
		asked := time.Now()
		answer, err := c.Ask("tcp", to, patience)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		took := time.Since(asked)
		noting.Lock()
		s.connected = max(s.connected, took)
		noting.Unlock()
		if answer.Server.Addr().String() == want {
			s.note(since)
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%s: no connection to %s after %v", s.name, want, limit)
}

// steadily changes one of a Service's endpoints at the rate, until the end, and says
// how often it did.
func (f *fleet) steadily(end time.Time) (changes int, err error) {
	var group errgroup.Group
	group.SetLimit(16)
	tick := time.NewTicker(time.Second / benchRate)
	defer tick.Stop()
	for order := rand.Perm(f.n); time.Now().Before(end); changes++ {
		<-tick.C
		service := order[changes%f.n]
		group.Go(func() error {
			// One is replaced, one comes, or one goes.
			slice := f.slice(service, perService-1+rand.IntN(3))
			slice.Endpoints[rand.IntN(perService-1)].Addresses[0] = netip.AddrFrom4([4]byte{10, 127, byte(rand.IntN(256)), byte(rand.IntN(256))}).String()
			return f.write(slice)
		})
	}
	return changes, group.Wait()
}

// cpu is the CPU time of a process and of those that it has run.
func cpu(t testing.TB, p *testbed.Process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	// The name, in brackets, may have spaces; after it, the first field is the third.
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}
