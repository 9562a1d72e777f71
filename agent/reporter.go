package agent

import (
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// reporter makes what becomes of Services known: Events on the Service,
// metrics and logs. A state is told once, when it begins or changes.
type reporter struct {
	log      logr.Logger
	recorder events.EventRecorder
	metrics  *metrics.Metrics

	mu   sync.Mutex
	told map[topic]string
}

// topic is what is told about a Service.
type topic struct {
	name proxy.Name
	what string
}

func newReporter(log logr.Logger, recorder events.EventRecorder, m *metrics.Metrics) *reporter {
	return &reporter{log: log, recorder: recorder, metrics: m, told: map[topic]string{}}
}

// news says whether text is other than what was last told, and notes it.
func (r *reporter) news(name proxy.Name, what, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := topic{name, what}
	if r.told[t] == text {
		return false
	}
	if text == "" {
		delete(r.told, t)
	} else {
		r.told[t] = text
	}
	return true
}

// Problems tells what is wrong with a Service.
func (r *reporter) Problems(svc *corev1.Service, problems []proxy.Problem) {
	name := proxy.Name{Namespace: svc.Namespace, Name: svc.Name}
	text := ""
	for _, p := range problems {
		text += p.String() + "\n"
	}
	if !r.news(name, "problems", text) {
		return
	}
	if len(problems) == 0 {
		r.metrics.Problems.DeleteLabelValues(name.Namespace, name.Name)
		return
	}
	r.metrics.Problems.WithLabelValues(name.Namespace, name.Name).Set(float64(len(problems)))
	for _, p := range problems {
		r.log.Info("Part of a Service was left out or corrected", "service", name, "problem", p.String())
		r.event(name, p.Reason, p.String())
	}
}

// Conflicts tells which frontends a Service does not get.
func (r *reporter) Conflicts(name proxy.Name, conflicts []proxy.Conflict) {
	text := ""
	for _, c := range conflicts {
		text += c.String() + "\n"
	}
	if !r.news(name, "conflicts", text) {
		return
	}
	if len(conflicts) == 0 {
		r.metrics.Conflicts.DeleteLabelValues(name.Namespace, name.Name)
		r.log.Info("A Service has all of its frontends again", "service", name)
		return
	}
	r.metrics.Conflicts.WithLabelValues(name.Namespace, name.Name).Set(float64(len(conflicts)))
	for _, c := range conflicts {
		r.log.Info("A Service does not get a frontend", "service", name, "conflict", c.String())
		r.event(name, "FrontendConflict", c.String())
	}
}

// Refused tells that the kernel did not take a Service, or that it now has.
func (r *reporter) Refused(name proxy.Name, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if !r.news(name, "refused", text) {
		return
	}
	if err == nil {
		r.metrics.Refused.DeleteLabelValues(name.Namespace, name.Name)
		r.log.Info("The kernel takes a Service again", "service", name)
		return
	}
	r.metrics.Refused.WithLabelValues(name.Namespace, name.Name).Set(1)
	r.log.Error(err, "The kernel refused a Service; what it had before stays", "service", name)
	r.event(name, "KernelRefused", fmt.Sprintf("%v; what was programmed before stays", err))
}

// Programmed counts a round.
func (r *reporter) Programmed(changed int, took time.Duration) {
	r.metrics.Services.Add(float64(changed))
	r.metrics.Duration.Observe(took.Seconds())
	r.log.V(1).Info("Programmed", "services", changed, "took", took)
}

// maxNote is the length of an Event's note, in bytes, that the API server takes.
const maxNote = 1024

func (r *reporter) event(name proxy.Name, reason, note string) {
	if len(note) > maxNote {
		note = note[:maxNote-3] + "..."
	}
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: name.Namespace, Name: name.Name}
	r.recorder.Eventf(about, nil, corev1.EventTypeWarning, reason, "Program", "%s", note)
}
