package metrics

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Description is a metric as it is documented.
type Description struct {
	Name, Type string
	Labels     []string
	Help       string
}

// Descriptions are all metrics that there are, in the order of their names.
func Descriptions() []Description {
	r := &recorder{}
	New(r)
	NewShadow(r)
	NewConnections(r, nil)
	slices.SortFunc(r.all, func(a, b Description) int { return strings.Compare(a.Name, b.Name) })
	return r.all
}

// Table is the metrics as docs/metrics.md lists them.
func Table() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range Descriptions() {
		labels := ""
		if len(d.Labels) > 0 {
			labels = "`" + strings.Join(d.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, labels, d.Help)
	}
	return b.String()
}

// recorder is a registry that only notes what is registered.
type recorder struct {
	prometheus.Registerer
	all []Description
}

// MustRegister notes the metrics.
func (r *recorder) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		descs := make(chan *prometheus.Desc, 8)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			r.all = append(r.all, describe(d, typeOf(c)))
		}
	}
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)",.* constLabels: \{[^}]*\}, variableLabels: \{([^}]*)\}`)

// describe reads a description, which shows itself only as text.
func describe(d *prometheus.Desc, typ string) Description {
	found := described.FindStringSubmatch(d.String())
	out := Description{Name: found[1], Type: typ, Help: strings.ReplaceAll(found[2], `\"`, `"`)}
	if found[3] != "" {
		out.Labels = strings.Split(found[3], ",")
	}
	return out
}

func typeOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.HistogramVec, prometheus.Histogram:
		return "histogram"
	case *prometheus.GaugeVec, prometheus.Gauge:
		return "gauge"
	case *prometheus.CounterVec, prometheus.Counter:
		return "counter"
	}
	return "counter" // of what the kernel counts
}
