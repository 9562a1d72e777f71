package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func newTestMeter() (*meter, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return newMeter(metrics.New(registry)), registry
}

// count is how many values a histogram has taken.
func count(t *testing.T, registry *prometheus.Registry, name, family string) uint64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == family {
				return m.GetHistogram().GetSampleCount()
			}
		}
	}
	return 0
}

// The time from a change of an EndpointSlice until it is programmed counts once,
// and only for what was programmed for it.
func TestNetworkProgrammingIsMeasured(t *testing.T) {
	const name = "kubeproxy_network_programming_duration_seconds"
	m, registry := newTestMeter()
	now := time.Now()
	svc := dns()
	change := []dataplane.Applied{{Name: a, Now: svc}}
	m.triggered(a, m.started.Add(-time.Second))
	m.queued(a, false)
	m.programmed(change, 0)
	if n := count(t, registry, name, "IPv4"); n != 0 {
		t.Errorf("%d changes from before the start count", n)
	}
	m.triggered(a, now)
	m.triggered(a, now)
	m.triggered(a, now.Add(time.Millisecond))
	m.programmed(change, 0)
	if n := count(t, registry, name, "IPv4"); n != 0 {
		t.Errorf("%d changes count that were not handed over", n)
	}
	m.queued(a, false)
	m.programmed(change, 0)
	m.programmed(change, 0)
	if n := count(t, registry, name, "IPv4"); n != 2 {
		t.Errorf("%d changes count, want 2", n)
	}
	if n := count(t, registry, name, "IPv6"); n != 0 {
		t.Errorf("%d changes count for IPv6, which the Service does not have", n)
	}
	// What is gone, or changes nothing, counts with no later change.
	for _, gone := range []bool{true, false} {
		m.triggered(a, now)
		m.queued(a, gone)
		m.programmed(nil, -time.Second)
		m.queued(a, false)
		m.programmed(change, 0)
	}
	if n := count(t, registry, name, "IPv4"); n != 2 {
		t.Errorf("%d changes count, want 2 still", n)
	}
	if len(m.triggers)+len(m.handed) != 0 {
		t.Errorf("left: %v, %v", m.triggers, m.handed)
	}
}

func TestChangesAreCounted(t *testing.T) {
	m, _ := newTestMeter()
	one, two, moved := dns(), dns(), dns()
	two.Ports[0].Endpoints = append(two.Ports[0].Endpoints, proxy.Endpoint{AddrPort: netip.MustParseAddrPort("10.254.0.2:53")})
	moved.Ports[0].Port = 54
	m.programmed([]dataplane.Applied{{Name: a, Now: one}}, 0)
	m.programmed([]dataplane.Applied{{Name: a, Old: one, Now: two}}, 0)
	m.programmed([]dataplane.Applied{{Name: a, Old: two, Now: one}, {Name: b, Old: one, Now: moved}}, 0)
	m.programmed([]dataplane.Applied{{Name: a, Old: one}}, 0)
	for what, tc := range map[string]struct {
		vec  *prometheus.CounterVec
		want float64
	}{"endpoints": {m.metrics.EndpointChanges, 2}, "Services": {m.metrics.ServiceChanges, 3}} {
		if got := testutil.ToFloat64(tc.vec.WithLabelValues("IPv4")); got != tc.want {
			t.Errorf("%v changes of %s, want %v", got, what, tc.want)
		}
	}
}

// Service ports without an endpoint on this node are counted by policy, also when
// they are told again after a repair.
func TestNoLocalEndpoints(t *testing.T) {
	m, _ := newTestMeter()
	endpoint := []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort("10.254.0.1:53")}}
	external := dns()
	external.Ports[0].LocalOnly = true
	internal := dns()
	internal.Ports[0].InternalLocal, internal.Ports[0].Elsewhere, internal.Ports[0].Endpoints = true, true, nil
	both := external
	both.Ports = append(both.Ports[:1:1], internal.Ports[0])
	served := dns()
	served.Ports[0].LocalOnly, served.Ports[0].LocalEndpoints = true, endpoint
	empty := dns()
	empty.Ports[0].LocalOnly, empty.Ports[0].Endpoints = true, nil
	for i, step := range []struct {
		a, b proxy.Service
		want string
	}{
		{external, internal, "1 1"}, {external, internal, "1 1"}, {both, internal, "2 1"}, {served, both, "1 1"},
		{empty, proxy.Service{}, "0 0"}, {internal, external, "1 1"}, {proxy.Service{}, proxy.Service{}, "0 0"},
	} {
		m.programmed([]dataplane.Applied{{Name: a, Now: step.a}, {Name: b, Now: step.b}}, 0)
		got := fmt.Sprintf("%v %v", testutil.ToFloat64(m.metrics.NoLocal.WithLabelValues("IPv4", "internal")), testutil.ToFloat64(m.metrics.NoLocal.WithLabelValues("IPv4", "external")))
		if got != step.want {
			t.Errorf("step %d: internal and external are %s, want %s", i, got, step.want)
		}
	}
}

func TestAnswersAreCounted(t *testing.T) {
	m, _ := newTestMeter()
	codes := []int{0, 200, 503, 503}
	h := answers(m.metrics.Healthz, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if code := codes[0]; code != 0 {
			w.WriteHeader(code)
		}
		codes = codes[1:]
		_, _ = w.Write([]byte("text"))
	}))
	for range 4 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	}
	for code, want := range map[string]float64{"200": 2, "503": 2} {
		if got := testutil.ToFloat64(m.metrics.Healthz.WithLabelValues(code)); got != want {
			t.Errorf("%v answers %s, want %v", got, code, want)
		}
	}
}
