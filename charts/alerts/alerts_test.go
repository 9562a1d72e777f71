package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
)

// step is the time between two values, and between two evaluations.
const step = 30 * time.Second

var language = parser.NewParser(parser.Options{})

// load reads the chart's alerts as Prometheus does.
func load(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("../kube-verdict/files/alerts.yaml", false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	all := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			all[rule.Alert] = rule
		}
	}
	return all
}

// Each alert fires when it should, about whom it should, and at no other time.
func TestAlerts(t *testing.T) {
	all, monitor := load(t), chartsMonitor(t)
	fires, stays := map[string]bool{}, map[string]bool{}
	for _, c := range checks() {
		rule, ok := all[c.alert]
		if !ok {
			t.Errorf("there is no alert %s", c.alert)
			continue
		}
		at := stays
		if c.want != nil {
			at = fires
		}
		at[c.alert] = true
		t.Run(c.alert+"/"+c.what, func(t *testing.T) {
			last, ever := evaluate(t, rule, monitor, c.nodes)
			var got []map[string]string
			for _, alert := range last {
				own := alert.Labels.Map()
				delete(own, model.AlertNameLabel)
				if own["severity"] == "" {
					t.Error("it has no severity")
				}
				delete(own, "severity")
				got = append(got, own)
				if text := alert.Annotations.Get("summary") + "\n" + alert.Annotations.Get("description"); !strings.Contains(text, c.says) || strings.Contains(text, "error expanding") || strings.Contains(text, "<no value>") {
					t.Errorf("it says %q, want %q", text, c.says)
				}
			}
			order := func(a, b map[string]string) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
			slices.SortFunc(got, order)
			slices.SortFunc(c.want, order)
			if !slices.EqualFunc(got, c.want, maps.Equal) {
				t.Errorf("in the end these fire: %v, want %v", got, c.want)
			}
			if c.want == nil && ever {
				t.Error("it has fired")
			}
		})
	}
	for name := range all {
		if !fires[name] || !stays[name] {
			t.Errorf("alert %s has no case in which it fires, or none in which it does not", name)
		}
	}
}

// Without the labels kept, alerts would be about the agents' namespace: that is what the
// cases above would show.
func TestLabelsHaveToBeKept(t *testing.T) {
	monitor := chartsMonitor(t)
	monitor.Spec.PodMetricsEndpoints[0].HonorLabels = false
	last, _ := evaluate(t, load(t)["KubeVerdictServiceProblem"], monitor, on("w1", `kube_verdict_service_problems{namespace="shop",service="web"} 1x40`))
	if len(last) != 1 || last[0].Labels.Get("namespace") != "kube-system" {
		t.Errorf("these fire: %v", last)
	}
}

// evaluate gives the alerts that fire in the end, and whether any has before.
func evaluate(t *testing.T, rule rulefmt.Rule, monitor podMonitor, nodes map[string][]string) (last []*rules.Alert, ever bool) {
	t.Helper()
	db, steps := fill(t, monitor, nodes)
	expr, err := language.ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: language})
	t.Cleanup(func() { _ = engine.Close() })
	alert := rules.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), time.Duration(rule.KeepFiringFor),
		labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	for i := range steps {
		if _, err := alert.Eval(context.Background(), 0, at(i), rules.EngineQueryFunc(engine, db), &url.URL{}, 0); err != nil {
			t.Fatal(err)
		}
		last = nil
		for _, a := range alert.ActiveAlerts() {
			if a.State == rules.StateFiring {
				last, ever = append(last, a), true
			}
		}
	}
	return last, ever
}

func at(i int) time.Time { return time.Unix(0, 0).Add(time.Duration(i) * step) }

// fill is a Prometheus that has looked at the agents for that many steps.
func fill(t *testing.T, monitor podMonitor, nodes map[string][]string) (db *tsdb.DB, steps int) {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	type series struct {
		labels labels.Labels
		values []parser.SequenceValue
	}
	var all []series
	for node, texts := range nodes {
		for _, text := range texts {
			l, values, err := language.ParseSeriesDesc(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			all = append(all, series{stored(t, monitor, node, l), values})
			steps = max(steps, len(values))
		}
	}
	for i := range steps {
		app := db.Appender(context.Background())
		for _, s := range all {
			if i < len(s.values) && !s.values[i].Omitted {
				if _, err := app.Append(0, s.labels, at(i).UnixMilli(), s.values[i].Value); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return db, steps
}

// With the job that docs/migration.md says, what was made for kube-proxy finds our agents:
// kubernetes-mixin's alert about it is silent, which fires without.
func TestJobOfKubeProxy(t *testing.T) {
	mixin := rulefmt.Rule{Alert: "KubeProxyDown", Expr: `absent(up{job="kube-proxy"} == 1)`, For: model.Duration(15 * time.Minute)}
	monitor := chartsMonitor(t)
	if last, _ := evaluate(t, mixin, monitor, on("w1", "up 1x60")); len(last) != 1 {
		t.Errorf("with the job kube-verdict these fire: %v", last)
	}
	job := "kube-proxy"
	e := &monitor.Spec.PodMetricsEndpoints[0]
	e.Relabelings = append(e.Relabelings, relabeling{TargetLabel: "job", Replacement: &job})
	if last, ever := evaluate(t, mixin, monitor, on("w1", "up 1x60")); ever {
		t.Errorf("with the job kube-proxy these fire: %v", last)
	}
}

// What the dashboard asks is Prometheus' language, and of Services it asks by their own
// namespace.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../kube-verdict/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "5m", "$__interval", "1m", "$__range", "1h")
	exprs := 0
	db, steps := fill(t, chartsMonitor(t), on("w1", `kube_verdict_service_problems{namespace="shop",service="web"} 1x10`))
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: language})
	t.Cleanup(func() { _ = engine.Close() })
	named := false
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			exprs++
			found, err := rules.EngineQueryFunc(engine, db)(context.Background(), variables.Replace(target.Expr), at(steps-1))
			if err != nil {
				t.Errorf("%s: %s: %v", panel.Title, target.Expr, err)
			}
			for _, sample := range found {
				if math.IsNaN(sample.F) {
					t.Errorf("%s: %s is no number", panel.Title, target.Expr)
				}
				if ns := sample.Metric.Get("namespace"); ns != "" {
					named = true
					if ns != "shop" {
						t.Errorf("%s: %s names the namespace %s", panel.Title, target.Expr, ns)
					}
				}
			}
		}
	}
	if exprs < 20 || !named {
		t.Errorf("%d expressions; a Service is named: %v", exprs, named)
	}
}
