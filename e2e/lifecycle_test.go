package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// The rules outlive the agent: connections go on and new ones are made. The next
// start finds what it wants and writes nothing.
func TestRulesOutliveTheAgent(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a, b := w.backend("a", 1), w.backend("b", 2)
	agent := w.start()
	w.serviceLeadsTo(svc, a, b)
	flow, err := w.client.Open("tcp", frontends(svc)[0], patience)
	w.must(err)
	defer flow.Close()
	first, err := flow.Ask(patience)
	w.must(err)
	w.tidy()
	before := w.generation()

	for range 2 {
		agent.terminate()
		if now, err := flow.Ask(patience); err != nil || now.Server != first.Server {
			t.Errorf("without the agent, a connection to %s is at %s, %v", first.Server, now.Server, err)
		}
		w.serviceLeadsTo(svc, a, b)
		agent = w.startReady()
		w.serviceLeadsTo(svc, a, b)
		if now := w.generation(); now != before {
			t.Errorf("a restart moved the generation from %d to %d", before, now)
		}
	}
}

// What changes while there is no agent shows when there is one again.
func TestAStartCatchesUp(t *testing.T) {
	w := newWorld(t)
	stays, goes := w.service("stays"), w.service("goes")
	w.create(stays)
	w.create(goes)
	a, b := w.backend("a", 1), w.backend("b", 2)
	agent := w.start()
	w.serviceLeadsTo(stays, a, b)
	w.serviceLeadsTo(goes, a, b)
	agent.terminate()

	comes := w.service("comes")
	w.create(comes)
	w.must(w.api.Client.Delete(w.ctx, goes))
	w.must(w.api.SetReady(w.ctx, a.Pod, false))
	w.sliced(comes)
	w.start()
	w.serviceLeadsTo(stays, b)
	w.serviceLeadsTo(comes, b)
	w.leaves(goes)
	w.tidy()
}

// Ready means that the Services are programmed, and not before. All is served
// where the flags say.
func TestReadiness(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	w.sliced(svc)
	w.way.Cut()
	agent := w.start("--metrics-bind-address=127.0.0.1:19349", "--health-probe-bind-address=127.0.0.1:19356")
	agent.metrics, agent.health = 19349, 19356
	w.eventually("an answer from the agent", func() error {
		_, _, err := w.get(agent.health, "/livez")
		return err
	})
	for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusInternalServerError} {
		if status, body, err := w.get(agent.health, path); err != nil || status != want {
			t.Errorf("without the API server, %s says %d %s %v, want %d", path, status, body, err, want)
		}
	}
	w.must(w.way.Open())
	agent.waitReady()
	for _, to := range frontends(svc) {
		want := a.at4
		if to.Addr().Is6() {
			want = a.at6
		}
		if got, err := w.reached(to); err != nil || got != want {
			t.Errorf("the agent is ready, and %s leads to %s, %v, want %s", to, got, err, want)
		}
	}
	if got := agent.metric("kube_verdict_services_programmed_total"); got < 1 {
		t.Errorf("it has counted %v programmed Services", got)
	}
	for _, port := range []int{10349, 10356} {
		if status, _, err := w.get(port, "/"); err == nil {
			t.Errorf("port %d answers %d, but the flags say another", port, status)
		}
	}
	agent.terminate()

	agent = w.start("--metrics-bind-address=0", "--health-probe-bind-address=0")
	w.eventually("the agent to have programmed", func() error { return agent.said("Services are programmed") })
	for _, port := range []int{10349, 10356} {
		if status, _, err := w.get(port, "/"); err == nil {
			t.Errorf("port %d answers %d, but the flags say that nothing is served", port, status)
		}
	}
}

// said gives an error until the agent has printed this.
func (a *agent) said(text string) error {
	if !strings.Contains(a.Output(), text) {
		return errors.New("it has not said so")
	}
	return nil
}
