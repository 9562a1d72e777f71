package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/plain"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// reporter makes what becomes of Services known: Events on the Service,
// metrics and logs. A state is told once, when it begins or changes.
type reporter struct {
	log      logr.Logger
	recorder events.EventRecorder
	// services finds the objects that Events are about.
	services client.Reader
	metrics  *metrics.Metrics
	// node names the Node that Events about the whole of it are on.
	node string

	contested atomic.Bool
	events    *eventQueue

	mu   sync.Mutex
	told map[topic]string
}

// topic is what is told about a Service.
type topic struct {
	name proxy.Name
	what string
}

func newReporter(log logr.Logger, recorder events.EventRecorder, services client.Reader, m *metrics.Metrics) *reporter {
	return &reporter{log: log, recorder: recorder, services: services, metrics: m, events: newEventQueue(), told: map[topic]string{}}
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
func (r *reporter) Problems(name proxy.Name, problems []proxy.Problem) {
	var all []string
	reasons := map[string][]string{}
	for _, p := range problems {
		all = append(all, p.String())
		reasons[p.Reason] = append(reasons[p.Reason], p.String())
	}
	if !r.news(name, "problems", strings.Join(all, "\n")) {
		return
	}
	r.events.only(name, "problems", slices.Collect(maps.Keys(reasons))...)
	if len(problems) == 0 {
		r.metrics.Problems.DeleteLabelValues(name.Namespace, name.Name)
		r.log.Info("There are no more problems with a Service", "service", name)
		return
	}
	r.metrics.Problems.WithLabelValues(name.Namespace, name.Name).Set(float64(len(problems)))
	for _, text := range all {
		r.log.Info("Part of a Service was left out or corrected", "service", name, "problem", text)
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		r.event(name, proxy.Name{}, "problems", reason, reasons[reason])
	}
}

// mostConflicts bounds those that are told of one Service: it may claim thousands.
const mostConflicts = 16

// Conflicts tells which frontends a Service does not get.
func (r *reporter) Conflicts(name proxy.Name, conflicts []proxy.Conflict) {
	var all []string
	for i, c := range conflicts {
		if i == mostConflicts {
			all = append(all, fmt.Sprintf("%d more frontends like these", len(conflicts)-i))
			break
		}
		all = append(all, c.String())
	}
	if !r.news(name, "conflicts", strings.Join(all, "\n")) {
		return
	}
	if len(conflicts) == 0 {
		r.events.only(name, "conflicts")
		r.metrics.Conflicts.DeleteLabelValues(name.Namespace, name.Name)
		r.log.Info("A Service lacks no frontend any more", "service", name)
		return
	}
	r.metrics.Conflicts.WithLabelValues(name.Namespace, name.Name).Set(float64(len(conflicts)))
	for _, text := range all {
		r.log.Info("A Service does not get a frontend", "service", name, "conflict", text)
	}
	r.event(name, conflicts[0].Owner, "conflicts", "FrontendConflict", all)
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
		r.events.only(name, "refused")
		r.metrics.Refused.DeleteLabelValues(name.Namespace, name.Name)
		r.log.Info("The kernel refuses a Service no more", "service", name)
		return
	}
	r.metrics.Refused.WithLabelValues(name.Namespace, name.Name).Set(1)
	r.log.Error(err, "The kernel refused a Service; what it had before stays", "service", name)
	r.event(name, proxy.Name{}, "refused", "KernelRefused", []string{text, "what was programmed before stays"})
}

// Unchecked tells that load balancers that ask about a Service get no answer, or
// that they do again.
func (r *reporter) Unchecked(name proxy.Name, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if !r.news(name, "unchecked", text) {
		return
	}
	if err == nil {
		r.events.only(name, "unchecked")
		r.log.Info("Load balancers get an answer about a Service again", "service", name)
		return
	}
	r.log.Error(err, "Load balancers get no answer from this node about a Service", "service", name)
	r.event(name, proxy.Name{}, "unchecked", "FailedToStartServiceHealthcheck", []string{err.Error()})
}

// Programmed counts a round.
func (r *reporter) Programmed(changed int, took time.Duration) {
	r.metrics.Services.Add(float64(changed))
	r.metrics.Duration.Observe(took.Seconds())
	r.log.V(1).Info("Programmed", "services", changed, "took", took)
}

// Repaired tells that others had changed our tables.
func (r *reporter) Repaired(repair dataplane.Repair) {
	r.metrics.Repairs.WithLabelValues(repair.Kind.String()).Inc()
	log := r.log
	if r.contested.Load() {
		log = log.V(1) // it was told that there are many
	}
	log.Info("Repaired our tables, which another process had changed", "by", repair.By.String(), "kind", repair.Kind.String(),
		"operations", repair.Operations, "took", repair.Took)
}

// Contested tells that another process changes our tables all the time, or has
// ceased.
func (r *reporter) Contested(by kernel.Change, on bool) {
	r.contested.Store(on)
	if !on {
		r.metrics.Contested.Set(0)
		r.log.Info("Our tables are left alone again")
		return
	}
	r.metrics.Contested.Set(1)
	const text = "another process changes the tables of kube-verdict again and again, so Services fail at times on this node; repairs wait in between. Stop it, or have it leave tables named kube-verdict alone"
	r.log.Info("Our tables are contested: "+text, "by", by.String())
	r.nodeEvent("TablesContested", "Repair", []string{by.String() + ": " + text})
}

// maxNote is the length of an Event's note, in bytes, that the API server takes.
const maxNote = 1024

// event has texts of one reason told on a Service. They go together, because the
// client takes Events that differ in nothing but the note for one and the same.
func (r *reporter) event(name, related proxy.Name, topic, reason string, texts []string) {
	r.events.put(pendingEvent{
		eventKey: eventKey{name, reason}, topic: topic, action: "Program", related: related, note: note(strings.Join(texts, "; ")),
	})
}

// send puts an Event on its object, unless that has gone.
func (r *reporter) send(e pendingEvent) {
	if e.about == (proxy.Name{}) {
		r.sendNodeEvent(e)
		return
	}
	var related runtime.Object
	if e.related != (proxy.Name{}) {
		related = r.object(e.related)
	}
	if about := r.object(e.about); about != nil {
		r.recorder.Eventf(about, related, corev1.EventTypeWarning, e.reason, e.action, "%s", e.note)
	}
}

// note is as much of a text as the API server takes, for terminals.
func note(text string) string {
	text = plain.Text(text)
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote-3], "") + "..."
	}
	return text
}

// object is a Service's object, or nil when it has gone. Only with its UID is an
// Event shown beside the Service.
func (r *reporter) object(name proxy.Name) runtime.Object {
	svc := &corev1.Service{}
	err := r.services.Get(context.Background(), client.ObjectKey{Namespace: name.Namespace, Name: name.Name}, svc)
	if err != nil {
		return nil
	}
	return svc
}
