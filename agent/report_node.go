package agent

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Configuration tells that the configuration file has become invalid, or that it
// is valid again.
func (r *reporter) Configuration(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if !r.news(proxy.Name{}, "configuration", text) {
		return
	}
	if err == nil {
		r.metrics.Invalid.Set(0)
		r.log.Info("The configuration file is valid again")
		return
	}
	r.metrics.Invalid.Set(1)
	r.log.Error(err, "The configuration file has become invalid; what was before goes on")
	r.nodeEvent("InvalidConfiguration", "Configure", []string{text, "what was before goes on"})
}

// Sysctls tells which settings of the kernel could not be set.
func (r *reporter) Sysctls(failed []error) {
	r.metrics.Sysctls.Set(float64(len(failed)))
	if len(failed) == 0 {
		return
	}
	var texts []string
	for _, err := range failed {
		r.log.Error(err, "A setting of the kernel stays as it is")
		texts = append(texts, err.Error())
	}
	r.nodeEvent("SysctlNotSet", "Configure", texts)
}

// nodeEvent has texts told on this machine's Node.
func (r *reporter) nodeEvent(reason, action string, texts []string) {
	r.events.put(pendingEvent{eventKey: eventKey{reason: reason}, action: action, note: note(strings.Join(texts, "; "))})
}

// sendNodeEvent puts an Event on this machine's Node, if there is one.
func (r *reporter) sendNodeEvent(e pendingEvent) {
	node := &corev1.Node{}
	if err := r.services.Get(context.Background(), client.ObjectKey{Name: r.node}, node); err == nil {
		r.recorder.Eventf(node, nil, corev1.EventTypeWarning, e.reason, e.action, "%s", e.note)
	}
}
