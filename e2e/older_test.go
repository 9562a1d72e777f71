package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// Before Kubernetes 1.33 the API server has no ServiceCIDRs (networking.k8s.io/v1):
// Services are programmed all the same, and it is told.
func TestAPIServerWithoutServiceCIDRs(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	agent := w.startReady("--kubeconfig=" + w.without("/apis/networking.k8s.io/v1/servicecidrs"))
	w.serviceLeadsTo(svc, a)
	w.must(agent.said("The API server does not have a resource"))
	b := w.backend("b", 2)
	w.serviceLeadsTo(svc, a, b)
	agent.terminate()
}

// without is a kubeconfig for the same API server, which does not have what is at a path.
func (w *world) without(path string) string {
	w.t.Helper()
	to, err := url.Parse(w.api.Config.Host)
	w.must(err)
	transport, err := rest.TransportFor(w.api.Config)
	w.must(err)
	through := httputil.NewSingleHostReverseProxy(to)
	through.Transport, through.FlushInterval = transport, -1 // watches
	server := &http.Server{Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.URL.Path, path) {
			http.NotFound(answer, request)
			return
		}
		through.ServeHTTP(answer, request)
	})}
	var listener net.Listener
	w.must(w.node.Do(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}))
	go func() { _ = server.Serve(listener) }()
	w.t.Cleanup(func() { _ = server.Close() })
	file := filepath.Join(w.t.TempDir(), "kubeconfig")
	w.must(os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: older, cluster: {server: "http://%s"}}]
contexts: [{name: older, context: {cluster: older}}]
current-context: older
`, listener.Addr()), 0o600))
	return file
}
