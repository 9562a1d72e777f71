package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Of two Services with one address the older has it, the other is told, and gets
// it when the older is gone.
func TestTheOlderServiceHasTheAddress(t *testing.T) {
	w := newWorld(t)
	// Age decides, not the name.
	older, newer := w.service("z-older"), w.service("a-newer")
	older.Spec.Selector, newer.Spec.Selector = nil, nil
	a, b := w.backend("a", 1), w.backend("b", 2)
	w.create(older)
	w.create(w.slice(older, a.at4))
	w.secondPasses(older)
	// The API server refuses an address that is taken. Two Services have come to
	// the same one when its record of the first was lost.
	w.must(w.api.Client.Create(w.ctx, newer, client.DryRunAll))
	newer.Spec.ClusterIPs = older.Spec.ClusterIPs
	newer.Spec.ClusterIP = older.Spec.ClusterIP
	w.must(w.api.Store(w.ctx, testbed.Stored{
		Key: "/registry/services/specs/" + newer.Namespace + "/" + newer.Name, Version: corev1.SchemeGroupVersion, Object: newer,
	}))
	w.create(w.slice(newer, b.at4))
	vip := frontends(older)[0]

	agent := w.startReady()
	w.leadsTo(vip, a.at4)
	conflicts := fmt.Sprintf("kube_verdict_service_conflicts{namespace=%q,service=%q}", w.namespace, newer.Name)
	agent.becomes(conflicts, 2) // one for each family
	w.describes(newer, "FrontendConflict", vip.String(), w.namespace+"/z-older")
	agent.logs(newer, vip.String()+" tcp belongs to the older Service "+w.namespace+"/z-older")

	w.must(w.api.Client.Delete(w.ctx, older))
	w.leadsTo(vip, b.at4)
	agent.becomes(conflicts, 0)
	agent.logs(newer, "lacks no frontend any more")
}

// What can't be programmed of a Service is told where its owner looks, and no
// longer when it is gone.
func TestProblemsAreTold(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	svc.Spec.Selector = nil
	w.create(svc)
	a := w.backend("a", 1)
	w.create(w.slice(svc, "239.1.1.1", a.at4))
	agent := w.startReady()
	w.leadsTo(frontends(svc)[0], a.at4)

	problems := fmt.Sprintf("kube_verdict_service_problems{namespace=%q,service=%q}", w.namespace, svc.Name)
	agent.becomes(problems, 1)
	w.describes(svc, "InvalidAddress", "239.1.1.1 is a multicast address")
	agent.logs(svc, "239.1.1.1 is a multicast address")

	w.must(w.api.Client.Delete(w.ctx, svc))
	w.leaves(svc)
	agent.becomes(problems, 0)
}

// secondPasses waits until objects are younger by the API server's clock, which
// counts seconds.
func (w *world) secondPasses(than *corev1.Service) {
	w.t.Helper()
	w.eventually("the clock", func() error {
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "clock-"}}
		w.create(probe)
		if !probe.CreationTimestamp.After(than.CreationTimestamp.Time) {
			return errors.New("still the same second")
		}
		return nil
	})
}

// describes waits until kubectl shows an Event with all of these words on a
// Service.
func (w *world) describes(svc *corev1.Service, words ...string) {
	w.t.Helper()
	kubectl, err := testbed.Tool("kubectl")
	w.must(err)
	w.eventually("an Event", func() error {
		text, err := w.node.Run(kubectl, "--kubeconfig="+w.api.Kubeconfig(), "-n", svc.Namespace, "describe", "service", svc.Name)
		if err != nil {
			return err
		}
		_, events, _ := strings.Cut(text, "Events:")
		for _, word := range words {
			if !strings.Contains(events, word) {
				return fmt.Errorf("no %q among these Events:%s", word, events)
			}
		}
		return nil
	})
}

// logs waits for a line about a Service with this text in one of its values. All
// lines have to be JSON.
func (a *agent) logs(svc *corev1.Service, text string) {
	a.w.t.Helper()
	a.w.eventually(fmt.Sprintf("a line of the log that names %s/%s and says %q", svc.Namespace, svc.Name, text), func() error {
		for line := range strings.Lines(a.Output()) {
			if !strings.HasSuffix(line, "\n") {
				break // it is being written
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				return fmt.Errorf("a line of the log is not JSON: %w: %s", err, line)
			}
			if fields["service"] == svc.Namespace+"/"+svc.Name && strings.Contains(line, text) {
				return nil
			}
		}
		return errors.New("there is none")
	})
}
