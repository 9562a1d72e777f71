package metrics

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what the agent reports about itself.
type Metrics struct {
	// Conflicts has a value for each Service that does not get all of its
	// frontends.
	Conflicts *prometheus.GaugeVec
	// Problems has a value for each Service that is wrong in some part.
	Problems *prometheus.GaugeVec
	// Refused has a value for each Service that the kernel does not take.
	Refused *prometheus.GaugeVec
	// Services counts the Services changed in the kernel.
	Services prometheus.Counter
	// Duration is how long the rounds of programming took.
	Duration prometheus.Histogram
	// Transactions, Messages and Elements count what was committed: netlink
	// messages, and elements of sets and maps by operation, add or delete.
	Transactions, Messages prometheus.Counter
	Elements               *prometheus.CounterVec
	// Bytes counts what was sent for it. Held is how many elements there are, by
	// family and by set or map.
	Bytes prometheus.Counter
	Held  *prometheus.GaugeVec
	// Flows counts the stale UDP flows that were deleted.
	Flows prometheus.Counter
	// Repairs counts repairs of our tables by the greatest kind of object that was
	// amiss: table, chain, set, rule or element.
	Repairs *prometheus.CounterVec
	// Contested is 1 while others change our tables so often that repairs wait.
	Contested prometheus.Gauge
	// Invalid says that the configuration file has become invalid, and Sysctls how
	// many of the kernel's settings could not be set.
	Invalid, Sysctls prometheus.Gauge
	// KubeProxy are kube-proxy's.
	KubeProxy
}

// Shadow are what is told of comparing with another proxy.
type Shadow struct {
	// Differences has a value for each Service that the other proxy serves
	// otherwise; when there are too many, the rest has one value without names.
	Differences *prometheus.GaugeVec
	// Services is how many such Services there are.
	Services prometheus.Gauge
	// Frontends is how many were compared; Last is when.
	Frontends, Last prometheus.Gauge
	Duration        prometheus.Histogram
	Failures        prometheus.Counter
}

// NewShadow makes the metrics and registers them.
func NewShadow(registry prometheus.Registerer) *Shadow {
	s := &Shadow{
		Differences: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_verdict_shadow_differences",
			Help: "What connections to a Service meet otherwise by kube-proxy's rules than by ours, as two looks have shown. Only Services with differences have a value; beyond the first 100 of them, all others together have one without names.",
		}, []string{"namespace", "service"}),
		Services: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kube_verdict_shadow_different_services",
			Help: "Services that kube-proxy serves otherwise than we would.",
		}),
		Frontends: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kube_verdict_shadow_frontends",
			Help: "Addresses and ports of Services that were compared with kube-proxy's rules.",
		}),
		Last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kube_verdict_shadow_last_comparison_timestamp_seconds",
			Help: "When kube-proxy's rules were last compared with ours.",
		}),
		Duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_verdict_shadow_comparison_duration_seconds",
			Help:    "Time to read kube-proxy's rules and compare them.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		Failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_verdict_shadow_comparison_failures_total",
			Help: "Times that there were no rules of kube-proxy's, or that they could not be read.",
		}),
	}
	registry.MustRegister(s.Differences, s.Services, s.Frontends, s.Last, s.Duration, s.Failures)
	return s
}

// New makes the metrics and registers them.
func New(registry prometheus.Registerer) *Metrics {
	service := []string{"namespace", "service"}
	m := &Metrics{
		Conflicts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_verdict_service_conflicts",
			Help: "Frontends that a Service does not get because another Service has the same address, protocol and port. Only Services with conflicts have a value.",
		}, service),
		Problems: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_verdict_service_problems",
			Help: "Parts of a Service or its EndpointSlices that are wrong and were left out. Only Services with problems have a value.",
		}, service),
		Refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_verdict_service_refused",
			Help: "1 for a Service whose change the kernel refused; what it had before is still programmed.",
		}, service),
		Services: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_verdict_services_programmed_total",
			Help: "Services whose change was brought into the kernel.",
		}),
		Duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_verdict_programming_duration_seconds",
			Help:    "Time from taking a batch of changes to its last commit.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 18),
		}),
		Transactions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_verdict_transactions_total",
			Help: "Transactions that nf_tables has committed.",
		}),
		Messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_verdict_netlink_messages_total",
			Help: "Netlink messages in committed transactions. A message holds up to some thousand elements of one set.",
		}),
		Elements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_verdict_elements_total",
			Help: "Elements of sets and maps that were added or deleted. One that is replaced counts as both.",
		}, []string{"operation"}),
		Flows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_verdict_conntrack_flows_deleted_total",
			Help: "UDP flows that were deleted because the endpoint that they went to is none any more, or is one now.",
		}),
	}
	m.Bytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kube_verdict_netlink_bytes_total",
		Help: "Bytes of netlink messages in committed transactions.",
	})
	m.Held = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kube_verdict_elements",
		Help: "Elements that the kernel holds, by family of the table and by set or map. Those that rules write are not counted.",
	}, []string{"family", "map"})
	m.KubeProxy = newKubeProxy(registry)
	m.Repairs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kube_verdict_repairs_total",
		Help: "Repairs of our tables after another process had changed them, by the greatest kind of object that was amiss: table, chain, set, rule or element.",
	}, []string{"kind"})
	m.Contested = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kube_verdict_tables_contested",
		Help: "1 while another process changes our tables so often that repairs have to wait.",
	})
	registry.MustRegister(m.Repairs, m.Contested, m.Bytes, m.Held,
		m.Conflicts, m.Problems, m.Refused, m.Services, m.Duration, m.Transactions, m.Messages, m.Elements, m.Flows)
	m.Invalid = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kube_verdict_configuration_invalid",
		Help: "1 while the configuration file has a change that is not valid and was not taken over.",
	})
	m.Sysctls = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kube_verdict_sysctls_not_set",
		Help: "Settings of the kernel for connection tracking that are configured and could not be set.",
	})
	registry.MustRegister(m.Invalid, m.Sysctls)
	return m
}
