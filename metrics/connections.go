package metrics

import "github.com/prometheus/client_golang/prometheus"

// Connection is a count of new connections.
type Connection struct {
	Namespace, Service, Port string
	// Endpoint is empty for the Service port itself.
	Endpoint string
	Count    uint64
}

// connections are read when they are asked for.
type connections struct {
	read               func() ([]Connection, error)
	services, endpoint *prometheus.Desc
	failures           prometheus.Counter
}

// NewConnections registers counts of new connections that read gives. When it fails
// there are none, and one failure more.
func NewConnections(registry prometheus.Registerer, read func() ([]Connection, error)) {
	labels := []string{"namespace", "service", "port"}
	registry.MustRegister(&connections{
		read: read,
		services: prometheus.NewDesc("kube_verdict_service_connections_total",
			"New connections to a Service port, at all of its addresses. Only with the gate ConnectionCounters.", labels, nil),
		endpoint: prometheus.NewDesc("kube_verdict_endpoint_connections_total",
			"New connections to an endpoint of a Service port; without those of clients that session affinity sends where they were before. Only with the gate ConnectionCounters.",
			append(labels[:3:3], "endpoint"), nil),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_verdict_connection_counts_failures_total",
			Help: "Times that the kernel's counts of connections could not be read, or a count not be shown. Only with the gate ConnectionCounters.",
		}),
	})
}

// Describe sends the descriptions of all.
func (c *connections) Describe(to chan<- *prometheus.Desc) {
	to <- c.services
	to <- c.endpoint
	to <- c.failures.Desc()
}

// Collect reads the counts.
func (c *connections) Collect(to chan<- prometheus.Metric) {
	counts, err := c.read()
	if err != nil {
		c.failures.Inc()
		counts = nil
	}
	for i := range counts {
		n := &counts[i]
		desc, labels := c.services, []string{n.Namespace, n.Service, n.Port}
		if n.Endpoint != "" {
			desc, labels = c.endpoint, append(labels, n.Endpoint)
		}
		// Names are what the kernel holds, which others can write as well.
		metric, err := prometheus.NewConstMetric(desc, prometheus.CounterValue, float64(n.Count), labels...)
		if err != nil {
			c.failures.Inc()
			continue
		}
		to <- metric
	}
	to <- c.failures
}
