package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/shadow"
)

// shadowed tells what looks at kube-proxy's rules show.
type shadowed struct {
	log     logr.Logger
	metrics *metrics.Shadow
	// failed is the last failure, notes what was said of kube-proxy's rules: each is
	// logged once.
	failed string
	notes  []string
	mode   kubeproxy.Mode
	// series are the names that metrics have now.
	series map[[2]string]bool
}

// comparesShadow says that what is programmed is compared with kube-proxy's rules.
func (c *Config) comparesShadow() bool {
	return c.Scope == proxy.ScopeShadow && c.Gates.Enabled(features.ShadowComparison)
}

// newComparer makes what compares.
func newComparer(c *Config, node *node, services client.Reader, s *shadowed, from *kubeproxy.Reader) *shadow.Comparer {
	return shadow.New(from, shadow.Options{
		Period: c.ShadowPeriod,
		View:   c.Layout.View(),
		Addresses: func() []netip.Addr {
			n := node.model()
			return slices.Concat(n.NodePorts, n.Addresses)
		},
		// kube-proxy leaves alone what has the label, also when it names us.
		Others: func(name proxy.Name) bool {
			svc := &corev1.Service{}
			key := types.NamespacedName{Namespace: name.Namespace, Name: name.Name}
			if err := services.Get(context.Background(), key, svc); err != nil {
				return false
			}
			_, labelled := svc.Labels[proxy.LabelProxyName]
			return labelled
		},
		Told: s.told,
	})
}

// mostTold is how many Services are named in one look's log, and in metrics.
const (
	mostLogged = 20
	mostSeries = 100
)

// told logs what has changed, and has the metrics say what is.
func (s *shadowed) told(r shadow.Report) {
	s.metrics.Duration.Observe(r.Took.Seconds())
	if r.Err != nil {
		s.metrics.Failures.Inc()
		if text := r.Err.Error(); text != s.failed {
			s.failed = text
			s.log.Error(r.Err, "kube-proxy's rules can't be compared with ours")
		}
		return
	}
	if s.failed != "" || s.mode != r.Mode {
		s.log.Info("Comparing with kube-proxy's rules", "mode", r.Mode, "frontends", r.Frontends)
	}
	s.failed, s.mode = "", r.Mode
	for _, note := range r.Notes {
		if !slices.Contains(s.notes, note) {
			s.log.Info("Of kube-proxy's rules", "note", note)
		}
	}
	s.notes = r.Notes
	s.metrics.Last.SetToCurrentTime()
	s.metrics.Frontends.Set(float64(r.Frontends))
	s.metrics.Services.Set(float64(len(r.Differences)))
	for i, d := range r.Changed {
		if i == mostLogged {
			s.log.Info("More Services differ: kube-verdict diff desired kube-proxy shows all", "services", len(r.Changed)-i)
			break
		}
		var lines []string
		for _, f := range d.Findings[:min(len(d.Findings), 5)] {
			lines = append(lines, f.Text("kube-verdict", "kube-proxy"))
		}
		s.log.Info("kube-proxy serves a Service otherwise than we would", "service", d.Service, "findings", len(d.Findings), "first", strings.Join(lines, "; "))
	}
	for i, service := range r.Gone {
		if i == mostLogged {
			s.log.Info("More Services differ no more", "services", len(r.Gone)-i)
			break
		}
		s.log.Info("kube-proxy serves a Service as we would again", "service", service)
	}
	s.count(r)
}

// count sets a value for each Service that differs, and forgets the others.
func (s *shadowed) count(r shadow.Report) {
	values := map[[2]string]float64{}
	names := make([]string, 0, len(r.Differences))
	for name := range r.Differences {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, text := range names {
		labels := [2]string{}
		if name, ok := proxy.ParseName(text); ok && i < mostSeries {
			labels = [2]string{name.Namespace, name.Name}
		}
		values[labels] += float64(len(r.Differences[text].Findings))
	}
	for labels := range s.series {
		if _, still := values[labels]; !still {
			s.metrics.Differences.DeleteLabelValues(labels[0], labels[1])
		}
	}
	s.series = map[[2]string]bool{}
	for labels, value := range values {
		s.metrics.Differences.WithLabelValues(labels[0], labels[1]).Set(value)
		s.series[labels] = true
	}
}
