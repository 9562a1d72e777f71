package agent

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// healthTimeout is how long a change may wait for the kernel before the node is
// no longer fit for traffic; kube-proxy's default.
const healthTimeout = time.Minute

// health is whether the agent keeps up, as others are told.
type health struct {
	*healthcheck.Proxy
	ready   func() bool
	metrics *metrics.Metrics
	reach   *reach
}

func newHealth(ready, eligible func() bool, m *metrics.Metrics, reach *reach) *health {
	return &health{healthcheck.NewProxy(clock.RealClock{}, healthTimeout, eligible), ready, m, reach}
}

// probes are those that the components of Kubernetes have.
func (h *health) probes() map[string]http.Handler {
	programming := check{"programming", func() error {
		if !h.Healthy() {
			return fmt.Errorf("a change has waited for the kernel for more than %v", healthTimeout)
		}
		return nil
	}}
	services := check{"services", func() error {
		if h.ready() {
			return nil
		}
		if err := h.reach.rights(); err != nil {
			return fmt.Errorf("the Services are not programmed yet: %w", err)
		}
		return errors.New("the Services are not programmed yet")
	}}
	return map[string]http.Handler{
		"/healthz": probe("healthz", programming),
		"/livez":   probe("livez", programming),
		"/readyz":  probe("readyz", services, programming, check{"api-server", h.reach.check}),
	}
}

// Both families are programmed together.
var bothFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}

func (h *health) queued() {
	for _, f := range bothFamilies {
		h.Queued(f)
	}
}

func (h *health) updated() {
	for _, f := range bothFamilies {
		h.Updated(f)
	}
}

// sink notes when a change began to wait.
type sink struct {
	controllers.Sink
	health *health
	meter  *meter
}

func (s sink) Update(svc proxy.Service) {
	s.health.queued()
	s.meter.queued(svc.Name, false)
	s.Sink.Update(svc)
}

func (s sink) Delete(name proxy.Name) {
	s.health.queued()
	s.meter.queued(name, true)
	s.Sink.Delete(name)
}

func (s sink) Release(name proxy.Name) {
	s.health.queued()
	s.meter.queued(name, true)
	s.Sink.Release(name)
}

// handler answers /healthz to load balancers, /livez and /readyz to the kubelet.
func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", answers(h.metrics.Healthz, h.Healthz()))
	mux.Handle("/livez", answers(h.metrics.Livez, h.Livez()))
	mux.Handle("/readyz", h.probes()["/readyz"])
	return mux
}
