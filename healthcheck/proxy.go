package healthcheck

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// Proxy is the health of the proxy itself: whether it keeps up with changes.
// Its methods may be called at the same time.
type Proxy struct {
	clock    clock.PassiveClock
	timeout  time.Duration
	eligible func() bool

	mu sync.Mutex
	// updated is when a family's rules were last brought up to date, queued since
	// when they have not been.
	updated, queued map[corev1.IPFamily]time.Time
}

// NewProxy makes a Proxy that is unhealthy when a change has waited for as long
// as timeout; kube-proxy allows twice its sync period. Eligible says whether
// this node should get traffic, which NodeEligible knows.
func NewProxy(clock clock.PassiveClock, timeout time.Duration, eligible func() bool) *Proxy {
	return &Proxy{
		clock: clock, timeout: timeout, eligible: eligible,
		updated: map[corev1.IPFamily]time.Time{}, queued: map[corev1.IPFamily]time.Time{},
	}
}

// Queued says that a change of the family's rules has become necessary.
func (p *Proxy) Queued(family corev1.IPFamily) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, waiting := p.queued[family]; !waiting {
		p.queued[family] = p.clock.Now()
	}
}

// Updated says that the family's rules are what they should be.
func (p *Proxy) Updated(family corev1.IPFamily) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.queued, family)
	p.updated[family] = p.clock.Now()
}

// Healthy says whether the rules of every family are kept up to date. A family
// whose rules have never been written is still starting, and healthy.
func (p *Proxy) Healthy() bool { return p.health().Healthy }

// familyHealth and proxyHealth are the body of an answer about the proxy.
type familyHealth struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

type proxyHealth struct {
	// LastUpdated is the time of the answer while the proxy is healthy: it once
	// was that of the last periodic sync.
	LastUpdated  time.Time                        `json:"lastUpdated"`
	CurrentTime  time.Time                        `json:"currentTime"`
	NodeEligible *bool                            `json:"nodeEligible,omitempty"`
	Healthy      bool                             `json:"healthy"`
	Status       map[corev1.IPFamily]familyHealth `json:"status,omitempty"`
}

func (p *Proxy) health() proxyHealth {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := proxyHealth{CurrentTime: p.clock.Now(), Healthy: true, Status: map[corev1.IPFamily]familyHealth{}}
	for family, updated := range p.updated {
		queued, waiting := p.queued[family]
		late := waiting && h.CurrentTime.Sub(queued) >= p.timeout
		h.Status[family] = familyHealth{LastUpdated: updated, Healthy: !late}
		h.Healthy = h.Healthy && !late
		if updated.After(h.LastUpdated) {
			h.LastUpdated = updated
		}
	}
	return h
}

// Healthz answers 200 when the proxy is healthy and the node eligible, and 503
// otherwise. It is for load balancers: a node that is about to go should get no
// new connections while the proxy serves those it has (KEP-3458).
func (p *Proxy) Healthz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := p.health()
		eligible := p.eligible()
		h.NodeEligible = &eligible
		p.reply(w, h, h.Healthy && eligible)
	})
}

// Livez answers 200 when the proxy is healthy and 503 otherwise. It is for the
// kubelet, which should not restart the proxy of a node that is about to go.
func (p *Proxy) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := p.health()
		p.reply(w, h, h.Healthy)
	})
}

func (p *Proxy) reply(w http.ResponseWriter, h proxyHealth, ok bool) {
	if ok {
		h.LastUpdated = p.clock.Now()
	}
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(h) // holds nothing that can fail
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// toBeDeletedTaint is set by the Cluster Autoscaler on a node that it is about
// to delete.
const toBeDeletedTaint = "ToBeDeletedByClusterAutoscaler"

// NodeEligible says whether load balancers should send traffic to a node: it
// exists (is not nil), and is neither being deleted nor about to be.
func NodeEligible(node *corev1.Node) bool {
	if node == nil || !node.DeletionTimestamp.IsZero() {
		return false
	}
	for _, taint := range node.Spec.Taints {
		if taint.Key == toBeDeletedTaint {
			return false
		}
	}
	return true
}
