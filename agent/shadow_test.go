package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/shadow"
	"github.com/kube-verdict/kube-verdict/view"
)

// differs is a Service with so many findings.
func differs(service string, findings int) view.Difference {
	d := view.Difference{Service: service}
	for range findings {
		d.Findings = append(d.Findings, view.Finding{What: "fate", Want: "rejected", Have: "dropped"})
	}
	return d
}

func reported(changed bool, differences ...view.Difference) shadow.Report {
	r := shadow.Report{Mode: kubeproxy.Nftables, Differences: map[string]view.Difference{}, Frontends: 7}
	for _, d := range differences {
		r.Differences[d.Service] = d
	}
	if changed {
		r.Changed = differences
	}
	return r
}

func newShadowed(lines *[]string) (*shadowed, *prometheus.Registry) {
	log := funcr.New(func(_, args string) { *lines = append(*lines, args) }, funcr.Options{})
	registry := prometheus.NewRegistry()
	return &shadowed{log: log, metrics: metrics.NewShadow(registry)}, registry
}

// values are a metric's, by the values of its labels, joined by slashes.
func values(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				found[strings.Join(labels, "/")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return found
}

// Each difference is logged once; metrics have those that there are.
func TestShadowDifferencesAreTold(t *testing.T) {
	var lines []string
	s, registry := newShadowed(&lines)
	want := func(step string, lineWith ...string) {
		t.Helper()
		if len(lines) != len(lineWith) {
			t.Errorf("%s: %d lines, want %d: %q", step, len(lines), len(lineWith), lines)
		}
		for i := range min(len(lines), len(lineWith)) {
			if !strings.Contains(lines[i], lineWith[i]) {
				t.Errorf("%s: line %d is %s, want %s", step, i, lines[i], lineWith[i])
			}
		}
		lines = nil
	}
	failed := shadow.Report{Err: errors.New("no table")}
	s.told(failed)
	s.told(failed)
	want("nothing to compare with, twice", "no table")
	s.told(reported(true, differs("ns/a", 2), differs("ns/b", 1)))
	want("two differ", `"mode"="nftables"`, "ns/a", "ns/b")
	if got := values(t, registry, "kube_verdict_shadow_differences"); len(got) != 2 || got["ns/a"] != 2 || got["ns/b"] != 1 {
		t.Errorf("the values are %v", got)
	}
	s.told(reported(false, differs("ns/a", 2), differs("ns/b", 1)))
	want("still")
	r := reported(false, differs("ns/a", 2))
	r.Gone, r.Notes = []string{"ns/b"}, []string{"a note"}
	s.told(r)
	s.told(reported(false, differs("ns/a", 2)))
	want("one is gone, and a note", "a note", "ns/b")
	if got := values(t, registry, "kube_verdict_shadow_differences"); len(got) != 1 || got["ns/a"] != 2 {
		t.Errorf("the values are %v", got)
	}
	for name, want := range map[string]float64{"different_services": 1, "frontends": 7, "comparison_failures_total": 2} {
		if got := values(t, registry, "kube_verdict_shadow_"+name); got[""] != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// However many Services differ, the log and the metrics are bounded.
func TestShadowIsBounded(t *testing.T) {
	var lines []string
	s, registry := newShadowed(&lines)
	var all []view.Difference
	for i := range 500 {
		all = append(all, differs(fmt.Sprintf("ns/s%03d", i), 1))
	}
	s.told(reported(true, all...))
	if len(lines) != 1+mostLogged+1 {
		t.Errorf("%d lines", len(lines))
	}
	if got := values(t, registry, "kube_verdict_shadow_differences"); len(got) != mostSeries+1 || got["/"] != 400 {
		t.Errorf("%d values, and the rest has %v", len(got), got["/"])
	}
}

func TestOnlyShadowCompares(t *testing.T) {
	for scope, want := range map[proxy.Scope]bool{proxy.ScopeShadow: true, proxy.ScopeLabelled: false, proxy.ScopeAll: false} {
		c := Config{Scope: scope, Gates: features.New()}
		if got := c.comparesShadow(); got != want {
			t.Errorf("scope %s: %t", scope, got)
		}
	}
	off := features.New()
	if err := off.SetFromMap(map[string]bool{string(features.ShadowComparison): false}); err != nil {
		t.Fatal(err)
	}
	if c := (Config{Scope: proxy.ScopeShadow, Gates: off}); c.comparesShadow() {
		t.Error("the gate is off, but it compares")
	}
}
