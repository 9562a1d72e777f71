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
}

// NewConnections registers counts of new connections that read gives.
func NewConnections(registry prometheus.Registerer, read func() ([]Connection, error)) {
	labels := []string{"namespace", "service", "port"}
	registry.MustRegister(&connections{
		read: read,
		services: prometheus.NewDesc("kube_verdict_service_connections_total",
			"New connections to a Service port, at all of its addresses. Only with the gate ConnectionCounters.", labels, nil),
		endpoint: prometheus.NewDesc("kube_verdict_endpoint_connections_total",
			"New connections to an endpoint of a Service port; without those of clients that session affinity sends where they were before. Only with the gate ConnectionCounters.",
			append(labels[:3:3], "endpoint"), nil),
	})
}

// Describe tells of both metrics.
func (c *connections) Describe(to chan<- *prometheus.Desc) {
	to <- c.services
	to <- c.endpoint
}

// Collect reads the counts.
func (c *connections) Collect(to chan<- prometheus.Metric) {
	counts, err := c.read()
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.services, err)
		return
	}
	for i := range counts {
		n := &counts[i]
		if n.Endpoint == "" {
			to <- prometheus.MustNewConstMetric(c.services, prometheus.CounterValue, float64(n.Count), n.Namespace, n.Service, n.Port)
		} else {
			to <- prometheus.MustNewConstMetric(c.endpoint, prometheus.CounterValue, float64(n.Count), n.Namespace, n.Service, n.Port, n.Endpoint)
		}
	}
}
