package metrics_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

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
