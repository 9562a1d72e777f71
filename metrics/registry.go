package metrics

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	clientmetrics "k8s.io/client-go/tools/metrics"
)

// NewRegistry makes the registry of all that is shown: ours, and of what libraries
// could tell, the process, the Go runtime and the requests to the API server.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// Handler shows the metrics of a registry. One that can't be collected is left out and
// counted; the others are shown all the same.
func Handler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, Registry: registry})
}

// FollowClient counts the requests to the API server, under the names that the
// components of Kubernetes have. All clients of the process are meant: client-go has
// one place for it, so call this once, before there is a client.
func FollowClient(registry prometheus.Registerer) {
	clientmetrics.RequestResult = requests{register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rest_client_requests_total", Help: "Requests to the API server, by status code, method and host.",
	}, []string{"code", "method", "host"}))}
	clientmetrics.RequestLatency = latencies{register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rest_client_request_duration_seconds", Help: "Time of requests to the API server, by method and host.",
		Buckets: []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60},
	}, []string{"verb", "host"}))}
}

type requests struct{ *prometheus.CounterVec }

// Increment counts a request.
func (r requests) Increment(_ context.Context, code, method, host string) {
	r.WithLabelValues(code, method, host).Inc()
}

type latencies struct{ *prometheus.HistogramVec }

// Observe takes in how long a request took.
func (l latencies) Observe(_ context.Context, verb string, u url.URL, took time.Duration) {
	l.WithLabelValues(verb, u.Host).Observe(took.Seconds())
}
