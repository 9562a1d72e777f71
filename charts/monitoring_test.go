package charts_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/metrics"
)

// dashboard is what we look at in a dashboard of Grafana's.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Query string }
	}
	Panels []struct {
		ID                       int
		Type, Title, Description string
		Targets                  []struct{ Expr string }
	}
}

// rules are a file of rules of Prometheus'.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func readDashboard(t *testing.T, text string) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func readRules(t *testing.T, text string) (r rules) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// selector is a metric in an expression, with what is asked of its labels.
var (
	selector = regexp.MustCompile(`\b([a-z]+(?:_[a-z0-9]+)+)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`^\s*([a-z_]+)\s*(=~|!=|=)\s*"[^"]*"\s*$`)
	grouping = regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
)

// checkExpr says what is wrong with an expression: names that the agent does not
// have, labels that a metric does not have, brackets that don't match.
func checkExpr(expr string) []string {
	known := map[string][]string{}
	for _, d := range metrics.Descriptions() {
		known[d.Name] = d.Labels
		if d.Type == "histogram" {
			delete(known, d.Name)
			known[d.Name+"_bucket"] = append(slices.Clone(d.Labels), "le")
			known[d.Name+"_count"], known[d.Name+"_sum"] = d.Labels, d.Labels
		}
	}
	// Of the process and the client of the API server.
	known["process_resident_memory_bytes"], known["process_cpu_seconds_total"] = nil, nil
	known["rest_client_requests_total"] = []string{"code", "method", "host"}
	ours := []string{"job", "instance", "node"} // node is of the PodMonitor

	var wrong []string
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			wrong = append(wrong, "the brackets "+pair+" don't match")
		}
	}
	functions := []string{"histogram_quantile", "label_values"}
	found := slices.Clone(ours)
	bare := grouping.ReplaceAllString(expr, "")
	for _, m := range selector.FindAllStringSubmatch(bare, -1) {
		name := m[1]
		if slices.Contains(functions, name) || strings.Contains(m[0], `"`) && m[2] == "" {
			continue
		}
		labels, ok := known[name]
		if !ok {
			wrong = append(wrong, name+" is no metric of the agent")
			continue
		}
		found = append(found, labels...)
		for part := range strings.SplitSeq(m[2], ",") {
			if m[2] == "" {
				break
			}
			asked := matcher.FindStringSubmatch(part)
			switch {
			case asked == nil:
				wrong = append(wrong, part+" is no matcher")
			case !slices.Contains(append(labels, ours...), asked[1]):
				wrong = append(wrong, name+" has no label "+asked[1])
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if !slices.Contains(found, strings.TrimSpace(label)) {
				wrong = append(wrong, "no metric has the label "+label)
			}
		}
	}
	return wrong
}

func TestExpressionsAreChecked(t *testing.T) {
	for _, wrong := range []string{
		"sum(rate(kube_verdict_no_such_total[5m]))", "sum(rate(kube_verdict_repairs_total[5m])", `kube_verdict_repairs_total{set="a"}`,
		"sum by (set) (kube_verdict_repairs_total)", "kube_verdict_programming_duration_seconds > 1", `kube_verdict_repairs_total{kind=table}`,
	} {
		if checkExpr(wrong) == nil {
			t.Errorf("nothing is wrong with %s", wrong)
		}
	}
}

// Panels and alerts ask for metrics that the agent has.
func TestDashboardAndAlertsAskForOurMetrics(t *testing.T) {
	d := readDashboard(t, file(t, "kube-verdict/files/dashboard.json"))
	ids := map[int]bool{}
	exprs := 0
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q has another's number", p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %q has no description, or shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs++
			for _, wrong := range checkExpr(target.Expr) {
				t.Errorf("panel %q: %s: %s", p.Title, target.Expr, wrong)
			}
		}
	}
	for _, v := range d.Templating.List {
		if _, query, ok := strings.Cut(v.Query, "label_values("); ok {
			exprs++
			name, _, _ := strings.Cut(query, ",")
			for _, wrong := range checkExpr(strings.TrimSuffix(name, "{job")) {
				t.Errorf("variable %q: %s: %s", v.Name, v.Query, wrong)
			}
		}
	}
	for _, group := range readRules(t, file(t, "kube-verdict/files/alerts.yaml")).Groups {
		for _, r := range group.Rules {
			exprs++
			for _, wrong := range checkExpr(r.Expr) {
				t.Errorf("alert %s: %s: %s", r.Alert, r.Expr, wrong)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s has no severity, summary or description", r.Alert)
			}
		}
	}
	if d.Title != "kube-verdict" || exprs < 30 {
		t.Errorf("%d expressions in %q and the alerts, want 30 at least", exprs, d.Title)
	}
}

// With the values set, the chart installs both files as they are.
func TestChartInstallsDashboardAndAlerts(t *testing.T) {
	text := render(t, "dashboard: {enabled: true, labels: {grafana_dashboard: '1'}}\nalerts: {enabled: true, labels: {release: prometheus}}")
	var seen []string
	for document := range strings.SplitSeq(text, "\n---\n") {
		var object struct {
			Kind     string
			Metadata struct{ Labels map[string]string }
			Data     map[string]string
			Spec     json.RawMessage
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatalf("%v, in:\n%s", err, document)
		}
		switch object.Kind {
		case "ConfigMap":
			if object.Data["config.yaml"] != "" {
				continue // the agent's configuration
			}
			if got, want := readDashboard(t, object.Data["kube-verdict.json"]), readDashboard(t, file(t, "kube-verdict/files/dashboard.json")); len(got.Panels) != len(want.Panels) || object.Metadata.Labels["grafana_dashboard"] != "1" {
				t.Errorf("the ConfigMap is\n%s", document)
			}
			seen = append(seen, object.Kind)
		case "PrometheusRule":
			got, want := readRules(t, string(object.Spec)), readRules(t, file(t, "kube-verdict/files/alerts.yaml"))
			if len(got.Groups) != 1 || len(got.Groups[0].Rules) != len(want.Groups[0].Rules) || object.Metadata.Labels["release"] != "prometheus" {
				t.Errorf("the PrometheusRule is\n%s", document)
			}
			seen = append(seen, object.Kind)
		}
	}
	if len(seen) != 2 {
		t.Errorf("the chart installs only %v", seen)
	}
	if text := render(t, ""); strings.Contains(text, "PrometheusRule") || strings.Contains(text, "grafana") {
		t.Error("they are installed though no value asks for them")
	}
}
