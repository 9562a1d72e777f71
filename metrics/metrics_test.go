package metrics_test

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	clientmetrics "k8s.io/client-go/tools/metrics"

	"github.com/kube-verdict/kube-verdict/metrics"
)

var update = flag.Bool("update", false, "write the table in docs/metrics.md anew")

// docs/metrics.md lists what is registered, no more and no less.
func TestMetricsAreDocumented(t *testing.T) {
	const file = "../docs/metrics.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?m)^\| metric \| type(?:.*\n)+?(?:\n|\z)`)
	if *update {
		text = table.ReplaceAllLiteral(text, []byte(metrics.Table()+"\n"))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.TrimSpace(table.FindString(string(text))); got != strings.TrimSpace(metrics.Table()) {
		t.Errorf("the table in %s is not that of the code; write it with: go test ./metrics -update", file)
	}
}

// Names, types and labels are as Prometheus wants them; those of kube-proxy are as
// it has them.
func TestNamesFollowConventions(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry)
	for _, vec := range []*prometheus.GaugeVec{m.Conflicts, m.Problems, m.Refused, m.Held} {
		vec.WithLabelValues("a", "b").Set(1)
	}
	m.Repairs.WithLabelValues("table").Inc()
	m.Elements.WithLabelValues("add").Inc()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "kubeproxy_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if len(families) < 12 {
		t.Errorf("only %d metrics were looked at", len(families))
	}
	for _, d := range metrics.Descriptions() {
		if !strings.HasPrefix(d.Name, "kube_verdict_") && !strings.HasPrefix(d.Name, "kubeproxy_") {
			t.Errorf("%s is neither ours nor kube-proxy's", d.Name)
		}
		if d.Help == "" || strings.ContainsAny(d.Help, "|\n") {
			t.Errorf("%s has no meaning that fits a table: %q", d.Name, d.Help)
		}
	}
}

// page is what Prometheus gets of a registry.
func page(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	metrics.Handler(registry).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("the page says %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// What can't be read, or not be shown, is counted, and takes nothing else from the page.
func TestThePageAlwaysAnswers(t *testing.T) {
	registry := metrics.NewRegistry()
	metrics.New(registry).Services.Inc()
	var counts []metrics.Connection
	var failure error
	metrics.NewConnections(registry, func() ([]metrics.Connection, error) { return counts, failure })
	wants := func(want ...string) {
		t.Helper()
		got := page(t, registry)
		for _, line := range append(want, "kube_verdict_services_programmed_total 1", "go_goroutines ") {
			if !strings.Contains(got, "\n"+line) {
				t.Errorf("the page has no line %q:\n%s", line, got)
			}
		}
	}
	counts = []metrics.Connection{{Namespace: "shop", Service: "web", Port: "http", Count: 7}}
	wants(`kube_verdict_service_connections_total{namespace="shop",port="http",service="web"} 7`, "kube_verdict_connection_counts_failures_total 0")
	failure = errors.New("netlink: no buffer space available")
	wants("kube_verdict_connection_counts_failures_total 1")
	failure = nil
	// Another process can give our elements any comment.
	counts = append(counts, metrics.Connection{Namespace: "shop", Service: "web\xff", Endpoint: "10.0.0.1:80"})
	wants(`kube_verdict_service_connections_total{namespace="shop",port="http",service="web"} 7`, "kube_verdict_connection_counts_failures_total 2")
	// And the same one twice, which the registry refuses.
	counts = append(counts[:1:1], counts[0])
	wants(`promhttp_metric_handler_errors_total{cause="gathering"}`)
}

// The registry has what is ours, and of what libraries could tell only the process, the
// Go runtime and the requests to the API server.
func TestNobodyElseIsInTheRegistry(t *testing.T) {
	result, latency := clientmetrics.RequestResult, clientmetrics.RequestLatency
	t.Cleanup(func() { clientmetrics.RequestResult, clientmetrics.RequestLatency = result, latency })
	registry := metrics.NewRegistry()
	metrics.New(registry)
	metrics.NewShadow(registry)
	metrics.FollowClient(registry)
	clientmetrics.RequestResult.Increment(context.Background(), "200", "GET", "192.0.2.10:6443")
	clientmetrics.RequestLatency.Observe(context.Background(), "GET", url.URL{Host: "192.0.2.10:6443"}, 0)
	text := page(t, registry)
	for _, want := range []string{
		`rest_client_requests_total{code="200",host="192.0.2.10:6443",method="GET"} 1`,
		`rest_client_request_duration_seconds_bucket{host="192.0.2.10:6443",verb="GET",le="0.005"} 1`,
		"process_resident_memory_bytes ", "process_cpu_seconds_total ", "go_goroutines ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
	others := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		switch prefix, _, _ := strings.Cut(name, "_"); prefix {
		case "kube", "kubeproxy":
		case "go", "process", "promhttp", "rest":
			others++
		default:
			t.Errorf("%s is in the registry", name)
		}
	}
	if others > 90 {
		t.Errorf("%d series are not ours", others)
	}
	t.Logf("%d series are not ours", others)
}
