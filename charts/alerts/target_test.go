package alerts

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"
)

// podMonitor is the chart's, as far as it changes labels.
type podMonitor struct {
	Metadata struct{ Namespace, Name string }
	Spec     struct {
		JobLabel            string `yaml:"jobLabel"`
		PodMetricsEndpoints []struct {
			Port        string
			HonorLabels bool `yaml:"honorLabels"`
			Relabelings []relabeling
		} `yaml:"podMetricsEndpoints"`
	}
}

type relabeling struct {
	SourceLabels model.LabelNames `yaml:"sourceLabels"`
	TargetLabel  string           `yaml:"targetLabel"`
	Replacement  *string
}

func chartsMonitor(t *testing.T) podMonitor {
	t.Helper()
	text, err := os.ReadFile("testdata/podmonitor.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var m podMonitor
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&m); err != nil {
		t.Fatal(err)
	}
	if len(m.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("the PodMonitor is %+v", m)
	}
	return m
}

// discovered is what Prometheus finds out about the agent on a node.
func discovered(m podMonitor, node string) labels.Labels {
	return labels.FromMap(map[string]string{
		"__address__":                                        addressOf(node),
		"__meta_kubernetes_namespace":                        m.Metadata.Namespace,
		"__meta_kubernetes_pod_name":                         "kube-verdict-" + node,
		"__meta_kubernetes_pod_node_name":                    node,
		"__meta_kubernetes_pod_container_name":               "kube-verdict",
		"__meta_kubernetes_pod_container_port_name":          "metrics",
		"__meta_kubernetes_pod_label_app_kubernetes_io_name": "kube-verdict",
	})
}

// addressOf is where a node's agent has its metrics.
func addressOf(node string) string { return node + ".example.com:10349" }

// relabelings are those that prometheus-operator makes of a PodMonitor, in its order:
// its own first, then the PodMonitor's.
func relabelings(m podMonitor) (all []*relabel.Config) {
	add := func(target, replacement string, sources ...model.LabelName) {
		c := relabel.DefaultRelabelConfig
		c.SourceLabels, c.TargetLabel, c.NameValidationScheme = sources, target, model.UTF8Validation
		if replacement != "" {
			c.Replacement = replacement
		}
		all = append(all, &c)
	}
	add("namespace", "", "__meta_kubernetes_namespace")
	add("container", "", "__meta_kubernetes_pod_container_name")
	add("pod", "", "__meta_kubernetes_pod_name")
	add("job", m.Metadata.Namespace+"/"+m.Metadata.Name)
	if l := m.Spec.JobLabel; l != "" {
		add("job", "", model.LabelName("__meta_kubernetes_pod_label_"+strings.NewReplacer(".", "_", "/", "_").Replace(l)))
	}
	e := m.Spec.PodMetricsEndpoints[0]
	add("endpoint", e.Port)
	for _, r := range e.Relabelings {
		replacement := ""
		if r.Replacement != nil {
			replacement = *r.Replacement
		}
		add(r.TargetLabel, replacement, r.SourceLabels...)
	}
	return all
}

// stored is a series of the agent on a node as Prometheus stores it: with the labels of
// the target, those of the series kept or renamed as the PodMonitor has it.
func stored(t *testing.T, m podMonitor, node string, series labels.Labels) labels.Labels {
	t.Helper()
	target := labels.NewBuilder(discovered(m, node))
	if !relabel.ProcessBuilder(target, relabelings(m)...) {
		t.Fatal("the agent is no target")
	}
	if target.Get("instance") == "" {
		target.Set("instance", target.Get("__address__"))
	}
	out := labels.NewBuilder(series)
	target.Labels().Range(func(l labels.Label) {
		switch own := series.Get(l.Name); {
		case strings.HasPrefix(l.Name, "__"):
		case own == "":
			out.Set(l.Name, l.Value)
		case !m.Spec.PodMetricsEndpoints[0].HonorLabels:
			out.Set("exported_"+l.Name, own).Set(l.Name, l.Value)
		}
	})
	return out.Labels()
}
