package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// wants waits until a page has this status and text.
func (a *agent) wants(port int, path string, status int, text string) {
	a.w.t.Helper()
	a.w.eventually(fmt.Sprintf("%s to say %d %q", path, status, text), func() error {
		got, body, err := a.w.get(port, path)
		if err == nil && (got != status || !strings.Contains(body, text)) {
			err = fmt.Errorf("it says %d %s", got, body)
		}
		return err
	})
}

// While the API server is away, readiness says so, and nothing else changes.
func TestReadinessTellsOfTheAPIServer(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	agent := w.startReady()
	w.serviceLeadsTo(svc, a)
	generation := w.generation()
	w.way.Cut()
	for _, port := range []int{agent.health, agent.metrics} {
		agent.wants(port, "/readyz", http.StatusInternalServerError, "[-]api-server failed: the API server has not been reached for ")
		agent.wants(port, "/livez", http.StatusOK, "")
	}
	agent.wants(agent.metrics, "/readyz", http.StatusInternalServerError, "[+]services ok\n")
	w.serviceLeadsTo(svc, a)
	if now := w.generation(); now != generation {
		t.Errorf("without the API server, the generation went from %d to %d", generation, now)
	}
	w.must(w.way.Open())
	agent.wants(agent.health, "/readyz", http.StatusOK, "ok")
	agent.wants(agent.metrics, "/readyz?verbose", http.StatusOK, "[+]api-server ok\n")
	agent.wants(agent.metrics, "/configz", http.StatusOK, `"scope":"all"`)
	agent.wants(agent.metrics, "/flagz", http.StatusOK, "\nnode-name="+w.name+"\n")
	agent.wants(agent.metrics, "/statusz", http.StatusOK, "Paths: /configz /flagz /healthz /livez /metrics /proxyMode /readyz /statusz")
}

// The metrics answer from the start on, before there is a table to count connections in;
// and they are ours, not those of the libraries.
func TestMetricsAnswerBeforeAnythingIsProgrammed(t *testing.T) {
	w := newWorld(t)
	w.way.Cut()
	agent := w.start("--feature-gates=ConnectionCounters=true")
	agent.wants(agent.metrics, "/metrics", http.StatusOK, "kube_verdict_connection_counts_failures_total 0")
	w.must(w.way.Open())
	svc := w.service("web")
	w.create(svc)
	w.serviceLeadsTo(svc, w.backend("a", 1))
	agent.wants(agent.metrics, "/metrics", http.StatusOK, `kube_verdict_service_connections_total{namespace="`+svc.Namespace)
	for name := range agent.series() {
		if !slices.ContainsFunc([]string{"kube_verdict_", "kubeproxy_", "process_", "go_", "promhttp_", "rest_client_"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("the metrics have %s", name)
		}
	}
	if n := agent.metric("kube_verdict_connection_counts_failures_total"); n != 0 {
		t.Errorf("%v times no connections could be counted", n)
	}
}
