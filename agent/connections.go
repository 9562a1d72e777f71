package agent

import (
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-verdict/kube-verdict/connections"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// countConnections shows new connections as metrics. It reads them over a
// connection of its own; what conn deletes is counted before. Call done at the end.
func countConnections(registry prometheus.Registerer, conn *kernel.Conn, tables []nft.ID, log logr.Logger) (done func(), err error) {
	reader, err := kernel.Open(0)
	if err != nil {
		return nil, err
	}
	counter := connections.New(reader, tables...)
	conn.TellDeleted(counter.Deleted)
	metrics.NewConnections(registry, func() ([]metrics.Connection, error) {
		counts, err := counter.Counts()
		if err != nil {
			log.Error(err, "No connections are shown in the metrics this time")
		}
		list := make([]metrics.Connection, len(counts))
		for i, c := range counts {
			list[i] = metrics.Connection{Count: c.Connections}
			var name string
			list[i].Namespace, name, _ = strings.Cut(c.Service, "/")
			list[i].Service, list[i].Port, _ = strings.Cut(name, ":")
			if c.Endpoint.IsValid() {
				list[i].Endpoint = c.Endpoint.String()
			}
		}
		return list, err
	})
	return func() { _ = reader.Close() }, nil
}
