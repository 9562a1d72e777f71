package metrics

import "github.com/prometheus/client_golang/prometheus"

// KubeProxy are metrics that kube-proxy has, too, under its names and with its
// labels, so that its dashboards and alerts go on. Both families are programmed
// together, so each round counts for both.
type KubeProxy struct {
	// SyncDuration is the time of a round.
	SyncDuration *prometheus.HistogramVec
	// SyncLast is when a round ended, SyncQueued when a change last came.
	SyncLast, SyncQueued *prometheus.GaugeVec
	// SyncFailures counts rounds that failed.
	SyncFailures *prometheus.CounterVec
	// EndpointChanges and ServiceChanges count changes of Services that were
	// programmed: of their endpoints, and of anything else.
	EndpointChanges, ServiceChanges *prometheus.CounterVec
	// NetworkProgramming is the time from a change of a Pod or Service, as the
	// EndpointSlice controller notes it, until it is programmed.
	NetworkProgramming *prometheus.HistogramVec
	// NoLocal is the number of Service ports with a policy Local and no endpoint on
	// this node, by policy, internal or external.
	NoLocal *prometheus.GaugeVec
	// Healthz and Livez count answers by their status code.
	Healthz, Livez *prometheus.CounterVec
	// ConntrackDuration is the time of a clean-up of flows, ConntrackDeleted the
	// number of flows deleted.
	ConntrackDuration prometheus.Histogram
	ConntrackDeleted  prometheus.Counter
}

// Values of the label ip_family.
const (
	IPv4 = "IPv4"
	IPv6 = "IPv6"
)

// Values of the label traffic_policy.
const (
	PolicyInternal = "internal"
	PolicyExternal = "external"
)

func newKubeProxy(r prometheus.Registerer) KubeProxy {
	family := []string{"ip_family"}
	const prefix = "kubeproxy_"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels))
	}
	// kube-proxy's buckets, so that quantiles of both can be compared.
	syncBuckets := prometheus.ExponentialBuckets(0.001, 2, 15)
	return KubeProxy{
		SyncDuration: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    prefix + "sync_proxy_rules_duration_seconds",
			Help:    "Time of a round of programming, in seconds; kube_verdict_programming_duration_seconds has it in finer buckets.",
			Buckets: syncBuckets,
		}, family)),
		SyncLast:        gauge("sync_proxy_rules_last_timestamp_seconds", "When a round of programming last succeeded, in seconds since 1970.", family...),
		SyncQueued:      gauge("sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came to be programmed, in seconds since 1970.", family...),
		SyncFailures:    counter("sync_proxy_rules_nftables_sync_failures_total", "Rounds of programming that failed, and were tried again.", family...),
		EndpointChanges: counter("sync_proxy_rules_endpoint_changes_total", "Services whose endpoints have changed, and were programmed.", family...),
		ServiceChanges:  counter("sync_proxy_rules_service_changes_total", "Services that have changed in something else than their endpoints, and were programmed.", family...),
		NetworkProgramming: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "network_programming_duration_seconds",
			Help: "Time from a change of a Pod or Service, as the EndpointSlice has it, until it is programmed, in seconds.",
			Buckets: append(append(
				[]float64{0.25, 0.5}, prometheus.LinearBuckets(1, 1, 59)...),
				append(prometheus.LinearBuckets(60, 5, 12), prometheus.LinearBuckets(120, 30, 7)...)...),
		}, family)),
		NoLocal: gauge("sync_proxy_rules_no_local_endpoints_total",
			"Service ports with a traffic policy Local and no endpoint on this node, though there are some elsewhere.", "ip_family", "traffic_policy"),
		Healthz: counter("proxy_healthz_total", "Answers at /healthz by their status code.", "code"),
		Livez:   counter("proxy_livez_total", "Answers at /livez by their status code.", "code"),
		ConntrackDuration: register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "conntrack_reconciler_sync_duration_seconds", Help: "Time of a clean-up of stale flows, in seconds.", Buckets: syncBuckets,
		})),
		ConntrackDeleted: register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "conntrack_reconciler_deleted_entries_total", Help: "Stale flows that were deleted.",
		})),
	}
}

// register registers a metric and gives it back.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	r.MustRegister(c)
	return c
}
