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
	agent := w.startReady("--kubeconfig=" + w.older("/apis/networking.k8s.io/v1/servicecidrs", http.StatusNotFound))
	w.serviceLeadsTo(svc, a)
	w.eventually("the agent to say it", func() error { return agent.said("The API server is too old for a request") })
	b := w.backend("b", 2)
	w.serviceLeadsTo(svc, a, b)
	agent.terminate()
}

// Before Kubernetes 1.31 Services can't be selected by spec.clusterIP, as the agent asks
// for them: readiness says what is the matter.
func TestAPIServerIsTooOld(t *testing.T) {
	w := newWorld(t)
	agent := w.start("--kubeconfig=" + w.older("/api/v1/services", http.StatusBadRequest))
	agent.wants(agent.health, "/readyz", http.StatusInternalServerError, `[-]services failed: the Services are not programmed yet: the API server does not understand`)
	agent.wants(agent.health, "/readyz", http.StatusInternalServerError, "Kubernetes 1.31 or newer")
	agent.terminate()
}

// older is a kubeconfig for the same API server, which answers with this status at a
// path.
func (w *world) older(path string, status int) string {
	w.t.Helper()
	to, err := url.Parse(w.api.Config.Host)
	w.must(err)
	transport, err := rest.TransportFor(w.api.Config)
	w.must(err)
	through := httputil.NewSingleHostReverseProxy(to)
	through.Transport, through.FlushInterval = transport, -1 // watches
	server := &http.Server{Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.URL.Path, path) {
			http.Error(answer, http.StatusText(status), status)
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
