package agent

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// meter keeps the metrics that kube-proxy has, too.
type meter struct {
	metrics *metrics.Metrics
	started time.Time

	mu sync.Mutex
	// triggers are when Services changed that have not been handed over since, and
	// handed those that were, and are to be programmed.
	triggers map[proxy.Name][]time.Time
	handed   map[proxy.Name]handed
	// noLocal are the Services that lack endpoints on this node.
	noLocal map[proxy.Name]noLocal
}

// handed is when a Service was handed over, and when it had changed.
type handed struct {
	at       time.Time
	triggers []time.Time
}

// noLocal counts Service ports without an endpoint on this node, by family and
// traffic policy.
type noLocal map[[2]string]int

func newMeter(m *metrics.Metrics) *meter {
	return &meter{metrics: m, started: time.Now(), triggers: map[proxy.Name][]time.Time{}, handed: map[proxy.Name]handed{}, noLocal: map[proxy.Name]noLocal{}}
}

// families are the values of the label ip_family: both are programmed together.
var families = []string{metrics.IPv4, metrics.IPv6}

// queued notes that a Service was handed over; gone is for one that is not there or
// not ours.
func (m *meter) queued(name proxy.Name, gone bool) {
	m.mu.Lock()
	if triggers := m.triggers[name]; triggers != nil {
		delete(m.triggers, name)
		if !gone {
			m.handed[name] = handed{time.Now(), append(m.handed[name].triggers, triggers...)}
		}
	}
	m.mu.Unlock()
	for _, f := range families {
		m.metrics.SyncQueued.WithLabelValues(f).SetToCurrentTime()
	}
}

// maxTriggers bounds the changes of a Service that wait: as many as there may be
// EndpointSlices of one in a large cluster.
const maxTriggers = 256

// triggered notes when an EndpointSlice changed for which a Service has to be
// programmed again. What was before this process is not its delay.
func (m *meter) triggered(name proxy.Name, at time.Time) {
	if at.Before(m.started) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.triggers[name]) < maxTriggers && !slices.Contains(m.triggers[name], at) {
		m.triggers[name] = append(m.triggers[name], at)
	}
}

// programmed notes a round.
func (m *meter) programmed(changes []dataplane.Applied, took time.Duration) {
	for _, f := range families {
		m.metrics.SyncDuration.WithLabelValues(f).Observe(took.Seconds())
		m.metrics.SyncLast.WithLabelValues(f).SetToCurrentTime()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for i := range changes {
		c := &changes[i]
		changed := m.metrics.ServiceChanges
		if endpointsOnly(c.Old, c.Now) {
			changed = m.metrics.EndpointChanges
		}
		is := familiesOf(&c.Old, &c.Now)
		for _, f := range is {
			changed.WithLabelValues(f).Inc()
			for _, at := range m.handed[c.Name].triggers {
				m.metrics.NetworkProgramming.WithLabelValues(f).Observe(now.Sub(at).Seconds())
			}
		}
		delete(m.handed, c.Name)
		m.count(c.Name, noLocalOf(&c.Now))
	}
	// What was handed over before the round and is not in it has changed nothing.
	for name, h := range m.handed {
		if h.at.Before(now.Add(-took)) {
			delete(m.handed, name)
		}
	}
}

func (m *meter) failed() {
	for _, f := range families {
		m.metrics.SyncFailures.WithLabelValues(f).Inc()
	}
}

// endpointsOnly says that nothing but endpoints has changed.
func endpointsOnly(old, now proxy.Service) bool {
	return bare(old).Equal(bare(now))
}

// bare is a Service without its endpoints.
func bare(svc proxy.Service) proxy.Service {
	svc.Ports = slices.Clone(svc.Ports)
	for i := range svc.Ports {
		p := &svc.Ports[i]
		p.Endpoints, p.LocalEndpoints, p.Lingering, p.Elsewhere = nil, nil, nil, false
	}
	if svc.HealthCheck.Port != 0 {
		svc.HealthCheck.IPv4, svc.HealthCheck.IPv6 = min(svc.HealthCheck.IPv4, 0), min(svc.HealthCheck.IPv6, 0)
	}
	return svc
}

func familyOf(p *proxy.Port) string {
	if p.Frontends[0].Addr.Is4() {
		return metrics.IPv4
	}
	return metrics.IPv6
}

func familiesOf(services ...*proxy.Service) []string {
	var is []string
	for _, svc := range services {
		for i := range svc.Ports {
			if p := &svc.Ports[i]; len(p.Frontends) > 0 && !slices.Contains(is, familyOf(p)) {
				is = append(is, familyOf(p))
			}
		}
	}
	return is
}

func noLocalOf(svc *proxy.Service) noLocal {
	var found noLocal
	for i := range svc.Ports {
		p := &svc.Ports[i]
		policy := ""
		switch {
		case len(p.Frontends) == 0:
		case p.InternalLocal && p.Elsewhere:
			policy = metrics.PolicyInternal
		case p.LocalOnly && len(p.LocalEndpoints) == 0 && len(p.Endpoints) > 0:
			policy = metrics.PolicyExternal
		}
		if policy != "" {
			if found == nil {
				found = noLocal{}
			}
			found[[2]string{familyOf(p), policy}]++
		}
	}
	return found
}

// count takes over what a Service lacks now.
func (m *meter) count(name proxy.Name, now noLocal) {
	for at, n := range m.noLocal[name] {
		m.metrics.NoLocal.WithLabelValues(at[0], at[1]).Sub(float64(n))
	}
	delete(m.noLocal, name)
	if now != nil {
		m.noLocal[name] = now
	}
	for at, n := range now {
		m.metrics.NoLocal.WithLabelValues(at[0], at[1]).Add(float64(n))
	}
}

// answers counts a handler's answers by their status code.
func answers(count *prometheus.CounterVec, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told := &status{w, http.StatusOK}
		h.ServeHTTP(told, r)
		count.WithLabelValues(strconv.Itoa(told.code)).Inc()
	})
}

type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader notes the status code.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}
