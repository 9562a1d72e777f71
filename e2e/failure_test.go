package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// A start without the right to program the kernel says so, and ends.
func TestNoNetAdmin(t *testing.T) {
	w := newWorld(t)
	cmd := exec.Command(program, "run", "--kubeconfig", w.api.Kubeconfig())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ended := make(chan error, 1)
	go func() {
		// A right that a thread gives up is gone for good; the thread goes with
		// the goroutine.
		runtime.LockOSThread()
		ended <- errors.Join(
			unix.Setns(w.node.Fd(), unix.CLONE_NEWNET),
			unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0),
			cmd.Run())
	}()
	err := <-ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit status 1", err)
	}
	if text := out.String(); !strings.Contains(text, "error: ") || !strings.Contains(text, "CAP_NET_ADMIN") {
		t.Errorf("it said %q, and nothing about CAP_NET_ADMIN", text)
	}
}

// What the agent listens on may be taken: by another one, most likely.
func TestAddressInUse(t *testing.T) {
	w := newWorld(t)
	first := w.startReady()
	for _, tc := range []struct{ flag, says string }{
		{"--metrics-bind-address=0", "listen tcp :10356: bind: address already in use"},
		{"--health-probe-bind-address=0", "listen tcp 127.0.0.1:10349: bind: address already in use"},
	} {
		second := w.start(tc.flag)
		var exit *exec.ExitError
		if err := second.Wait(limit); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("it ended with %v, want exit status 1", err)
		}
		if err := second.said(tc.says); err != nil {
			t.Errorf("%v: %q", err, tc.says)
		}
	}
	first.terminate()
}

// An API server that can't be reached at the start takes nothing from the kernel;
// the agent says what is wrong and goes on when it is there.
func TestStartWithoutAPIServer(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	before := w.start()
	w.serviceLeadsTo(svc, a)
	w.tidy()
	before.terminate()
	generation := w.generation()

	w.way.Cut()
	agent := w.start()
	w.eventually("the agent to say that it can't reach the API server", func() error {
		return agent.said("The API server can't be reached")
	})
	w.serviceLeadsTo(svc, a)
	if now := w.generation(); now != generation {
		t.Errorf("without the API server, the generation went from %d to %d", generation, now)
	}
	b := w.backend("b", 2)
	w.must(w.way.Open())
	w.serviceLeadsTo(svc, a, b)

	agent.terminate()
	w.way.Cut()
	agent = w.start()
	w.eventually("the agent to say that it can't reach the API server", func() error {
		return agent.said("The API server can't be reached")
	})
	agent.terminate()
	w.serviceLeadsTo(svc, a, b)
}

// While the API server is away the rules stay; what has changed meanwhile shows
// afterwards.
func TestAPIServerGoesAway(t *testing.T) {
	w := newWorld(t)
	svc, gone := w.service("web"), w.service("gone")
	w.create(svc)
	w.create(gone)
	a, b := w.backend("a", 1), w.backend("b", 2)
	w.start()
	w.serviceLeadsTo(svc, a, b)
	w.serviceLeadsTo(gone, a, b)

	w.way.Cut()
	w.must(w.api.SetReady(w.ctx, a.Pod, false))
	w.must(w.api.Client.Delete(w.ctx, gone))
	w.serviceLeadsTo(svc, a, b)
	w.must(w.way.Open())
	w.serviceLeadsTo(svc, b)
	w.leaves(gone)
}

// Whoever deletes the tables: they come back by themselves, and the agent counts
// it and says who it was.
func TestDeletedTablesComeBack(t *testing.T) {
	w := newWorld(t)
	w.hostile()
	svc, other := w.service("web"), w.service("other")
	w.create(svc)
	w.create(other)
	a, b := w.backend("a", 1), w.backend("b", 2)
	agent := w.startReady()
	w.serviceLeadsTo(svc, a, b)
	w.serviceLeadsTo(other, a, b)
	_, err := w.node.Run("nft", "flush", "ruleset")
	w.must(err)
	w.serviceLeadsTo(svc, a, b)
	w.serviceLeadsTo(other, a, b)
	agent.becomes(`kube_verdict_repairs_total{kind="table"}`, 1)
	w.tidy()
	for _, set := range []string{"services", "endpoints", "cluster-ips"} {
		w.eventually("the metric to be that of the kernel's elements of "+set, func() error {
			elements, err := w.elements()
			all := agent.series()
			have := all[`kube_verdict_elements{family="ip",map="`+set+`"}`] + all[`kube_verdict_elements{family="ip6",map="`+set+`"}`]
			if want := len(elements[set]); err == nil && (want == 0 || have != float64(want)) {
				err = fmt.Errorf("it is %v, and the kernel has %d", have, want)
			}
			return err
		})
	}
	w.eventually("the agent to say who it was", func() error {
		return errors.Join(agent.said("Repaired our tables"), agent.said("nft (process "))
	})
}

// A neighbour that goes on changing the tables is told of once, on the Node.
func TestContestedTablesAreToldOnTheNode(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	agent := w.startReady()
	w.serviceLeadsTo(svc, a)
	w.eventually("an Event on the Node", func() error {
		if _, err := w.node.Run("nft", "add table ip kube-verdict; delete table ip kube-verdict"); err != nil {
			return err
		}
		var events corev1.EventList
		if err := w.api.Client.List(w.ctx, &events); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Kind == "Node" && e.InvolvedObject.Name == w.name && e.Reason == "TablesContested" && strings.HasPrefix(e.Message, "nft (process ") {
				return nil
			}
		}
		return errors.New("there is none")
	})
	if n := agent.metric("kube_verdict_tables_contested"); n != 1 {
		t.Errorf("kube_verdict_tables_contested is %v, want 1", n)
	}
	w.serviceLeadsTo(svc, a)
	if n := strings.Count(agent.Output(), "Our tables are contested"); n != 1 {
		t.Errorf("it was logged %d times, want once", n)
	}
}

// With the gate, each new connection is counted, by Service port and by endpoint.
func TestConnectionCounters(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a := w.backend("a", 1)
	agent := w.startReady("--feature-gates=ConnectionCounters=true")
	w.serviceLeadsTo(svc, a)
	const n = 25
	to := frontends(svc)[0]
	before := agent.connections(svc)
	for range n {
		if _, err := w.client.Ask("tcp", to, patience); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the connections to be counted", func() error {
		if got := agent.connections(svc) - before; got < n {
			return fmt.Errorf("%v are counted, of %d", got, n)
		}
		return nil
	})
	if got := agent.connections(svc) - before; got != n {
		t.Errorf("%v connections are counted, want %d", got, n)
	}
}

// connections are those that are counted of a Service.
func (a *agent) connections(svc *corev1.Service) float64 {
	a.w.t.Helper()
	var total float64
	for name, value := range a.series() {
		if strings.HasPrefix(name, "kube_verdict_service_connections_total{") && strings.Contains(name, `service="`+svc.Name+`"`) {
			total += value
		}
	}
	return total
}
