package healthcheck

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// answer tells a load balancer about one Service in one family, whatever path
// it asks for.
type answer struct {
	name      proxy.Name
	endpoints *atomic.Int64
	healthy   func() bool
}

// body is kube-proxy's, to the byte.
const body = `{
	"service": {
		"namespace": %q,
		"name": %q
	},
	"localEndpoints": %d,
	"serviceProxyHealthy": %t
}`

// ServeHTTP answers 200 OK if the node has ready endpoints and its proxy is
// healthy, else 503 Service Unavailable.
func (a answer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	endpoints, healthy := a.endpoints.Load(), a.healthy()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	// For balancers that spread by weight (KEP-1669).
	h.Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(endpoints, 10))
	if endpoints == 0 || !healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, body, a.name.Namespace, a.name.Name, endpoints, healthy)
}
