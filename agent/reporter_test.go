package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// told is a reporter with what it has told so far.
type told struct {
	*reporter
	t        *testing.T
	registry *prometheus.Registry
	events   []event
	lines    []string
	now      time.Time
}

type event struct {
	about, related string // name and UID
	reason, note   string
}

// newTold knows the Services ns/a and ns/b.
func newTold(t *testing.T) *told {
	r := &told{t: t, registry: prometheus.NewRegistry()}
	log := funcr.New(func(_, args string) { r.lines = append(r.lines, args) }, funcr.Options{})
	r.reporter = newReporter(log, r, known{}, metrics.New(r.registry))
	return r
}

func (r *told) Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	if eventtype != corev1.EventTypeWarning || action == "" {
		r.t.Errorf("an Event has the type %q and the action %q", eventtype, action)
	}
	r.events = append(r.events, event{identity(regarding), identity(related), reason, fmt.Sprintf(note, args...)})
}

func identity(o runtime.Object) string {
	if node, ok := o.(*corev1.Node); ok {
		return "node " + node.Name
	}
	svc, ok := o.(*corev1.Service)
	if !ok {
		return fmt.Sprint(o)
	}
	return svc.Namespace + "/" + svc.Name + " " + string(svc.UID)
}

// known is a cache that has some Services.
type known struct{ client.Reader }

func (known) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if node, ok := object.(*corev1.Node); ok {
		node.Name = key.Name
		return nil
	}
	if key.Namespace != "ns" || key.Name != "a" && key.Name != "b" {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, key.Name)
	}
	*object.(*corev1.Service) = corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID("uid-" + key.Name)}}
	return nil
}

// news are the Events and the log's lines since it was last asked.
func (r *told) news() ([]event, int) {
	r.now = r.now.Add(eventEvery)
	r.sendDue()
	events, lines := r.events, len(r.lines)
	r.events, r.lines = nil, nil
	return events, lines
}

// sendDue sends what is due.
func (r *told) sendDue() {
	for {
		e, due, _ := r.reporter.events.next(r.now)
		if !due {
			return
		}
		r.send(e)
	}
}

// metric is the value for Service ns/a; -1 is for none.
func (r *told) metric(name string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if len(labels) == 0 || labels["kind"] == "table" || labels["namespace"] == "ns" && labels["service"] == "a" {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return -1
}

func (r *told) wants(step string, events []event, lines int, metric string, value float64) {
	r.t.Helper()
	gotEvents, gotLines := r.news()
	if fmt.Sprint(gotEvents) != fmt.Sprint(events) {
		r.t.Errorf("%s: the Events are\n%q, want\n%q", step, gotEvents, events)
	}
	if gotLines != lines {
		r.t.Errorf("%s: %d lines in the log, want %d", step, gotLines, lines)
	}
	if got := r.metric(metric); got != value {
		r.t.Errorf("%s: %s is %v, want %v", step, metric, got, value)
	}
}

var (
	a = proxy.Name{Namespace: "ns", Name: "a"}
	b = proxy.Name{Namespace: "ns", Name: "b"}
)

// A conflict is told once, on the Service that lost, until it changes or ends.
func TestConflictsAreToldOnce(t *testing.T) {
	const metric = "kube_verdict_service_conflicts"
	r := newTold(t)
	lost := func(addr string, owner proxy.Name) proxy.Conflict {
		return proxy.Conflict{Frontend: proxy.Frontend{Addr: netip.MustParseAddr(addr)}, Protocol: proxy.TCP, Port: 80, Owner: owner}
	}
	four, six := lost("10.96.0.1", b), lost("fd00::1", b)
	r.Conflicts(a, nil)
	r.wants("none from the start", nil, 0, metric, -1)
	for _, step := range []string{"new", "still there"} {
		r.Conflicts(a, []proxy.Conflict{four, six})
		if step == "new" {
			r.wants(step, []event{{"ns/a uid-a", "ns/b uid-b", "FrontendConflict", four.String() + "; " + six.String()}}, 2, metric, 2)
		} else {
			r.wants(step, nil, 0, metric, 2)
		}
	}
	r.Conflicts(a, []proxy.Conflict{four})
	r.wants("changed", []event{{"ns/a uid-a", "ns/b uid-b", "FrontendConflict", four.String()}}, 1, metric, 1)
	r.Conflicts(a, nil)
	r.wants("over", nil, 1, metric, -1)
	r.Conflicts(a, []proxy.Conflict{lost("10.96.0.1", proxy.Name{Namespace: "ns", Name: "gone"})})
	if events, _ := r.news(); len(events) != 1 || events[0].related != "<nil>" {
		t.Errorf("with an owner that has gone, the Events are %q", events)
	}
}

// Problems of one reason go into one Event: the client takes Events that differ in
// their note alone for one.
func TestProblemsAreToldOnce(t *testing.T) {
	const metric = "kube_verdict_service_problems"
	r := newTold(t)
	problem := func(reason, field string) proxy.Problem {
		return proxy.Problem{Kind: "EndpointSlice", Name: a, Field: field, Reason: reason, Message: "is wrong"}
	}
	one, two := problem("InvalidAddress", "endpoints[0]"), problem("InvalidAddress", "endpoints[1]")
	for range 2 {
		r.Problems(b, nil)
	}
	r.wants("none", nil, 0, metric, -1)
	r.Problems(a, []proxy.Problem{one, two})
	r.wants("two", []event{{"ns/a uid-a", "<nil>", "InvalidAddress", one.String() + "; " + two.String()}}, 2, metric, 2)
	r.Problems(a, []proxy.Problem{one, two})
	r.wants("still two", nil, 0, metric, 2)
	r.Problems(a, nil)
	r.wants("over", nil, 1, metric, -1)

	r.Problems(a, []proxy.Problem{one, problem("UnknownProtocol", "ports[0]")})
	if events, _ := r.news(); len(events) != 2 {
		t.Errorf("two reasons make the Events %q, want one for each", events)
	}
	r.Problems(proxy.Name{Namespace: "ns", Name: "gone"}, []proxy.Problem{one})
	if events, lines := r.news(); len(events) != 0 || lines != 1 {
		t.Errorf("of a Service that has gone, the Events are %q, and %d lines in the log", events, lines)
	}
}

// What the kernel refuses is told, and when it no longer does.
func TestRefusalsAreToldOnce(t *testing.T) {
	const metric = "kube_verdict_service_refused"
	r := newTold(t)
	r.Refused(a, errors.New("no room"))
	r.wants("refused", []event{{"ns/a uid-a", "<nil>", "KernelRefused", "no room; what was programmed before stays"}}, 1, metric, 1)
	r.Refused(a, errors.New("no room"))
	r.wants("again", nil, 0, metric, 1)
	r.Refused(a, nil)
	r.wants("over", nil, 1, metric, -1)
}

// A repair is told with who made it necessary; of many, only that there are.
func TestRepairsAreTold(t *testing.T) {
	r := newTold(t)
	r.node = "node-a"
	by := kernel.Change{Process: "nft", PID: 7}
	repair := dataplane.Repair{By: by, Kind: dataplane.KindTable, Operations: 9}
	r.Repaired(repair)
	if !strings.Contains(r.lines[0], `"by"="nft (process 7)" "kind"="table" "operations"=9`) {
		t.Errorf("the log says %s", r.lines[0])
	}
	r.wants("a repair", nil, 1, "kube_verdict_repairs_total", 1)
	r.Contested(by, true)
	r.sendDue()
	if len(r.events) != 1 || r.events[0].about != "node node-a" || r.events[0].reason != "TablesContested" || !strings.HasPrefix(r.events[0].note, "nft (process 7): ") {
		t.Errorf("the Events are %q", r.events)
	}
	r.events = nil
	r.wants("many", nil, 1, "kube_verdict_tables_contested", 1)
	r.Repaired(repair)
	r.wants("one of many", nil, 0, "kube_verdict_repairs_total", 2)
	r.Contested(kernel.Change{}, false)
	r.wants("over", nil, 1, "kube_verdict_tables_contested", 0)
}

// The API server refuses longer notes.
func TestNotesFit(t *testing.T) {
	r := newTold(t)
	for _, text := range []string{strings.Repeat("x", 1024), strings.Repeat("x", 1025), strings.Repeat("é", 600), "x" + strings.Repeat("é", 600)} {
		r.event(a, proxy.Name{}, "topic", "Reason", []string{text})
		events, _ := r.news()
		note := events[0].note
		if len(note) > 1024 || !utf8.ValidString(note) || len(text) <= 1024 && note != text || len(text) > 1024 && !strings.HasSuffix(note, "...") {
			t.Errorf("%d bytes of text make this note of %d bytes: %s", len(text), len(note), note)
		}
	}
}

// An Event is shown at a terminal, and may quote what a Service says.
func TestNotesAreSafe(t *testing.T) {
	r := newTold(t)
	r.event(a, proxy.Name{}, "topic", "Reason", []string{"not an address: \x1b[2J\u009b\n"})
	events, _ := r.news()
	if got, want := events[0].note, `not an address: \u001b[2J\u009b\u000a`; got != want {
		t.Errorf("the note is %q, want %q", got, want)
	}
}

// Rounds are counted.
func TestRoundsAreCounted(t *testing.T) {
	r := newTold(t)
	r.Programmed(3, time.Millisecond)
	r.Programmed(4, time.Millisecond)
	if got := r.metric("kube_verdict_services_programmed_total"); got != 7 {
		t.Errorf("%v Services are counted, want 7", got)
	}
	if got := r.metric("kube_verdict_programming_duration_seconds"); got != 2 {
		t.Errorf("%v rounds are counted, want 2", got)
	}
}
