package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A node moves from kube-proxy to kube-verdict and back, as docs/migration.md says,
// with kube-proxy in each of its modes. At every step connections and flows through
// ClusterIP, NodePort and load balancer go on, and no new one fails.
func TestTakeOverAndRollBack(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			m := newMove(t, mode)
			steps := map[string]func(){
				"shadow":                           func() { m.turn("shadow") },
				"labelled":                         func() { m.turn("labelled"); m.leaves(m.one) },
				"one Service is ours as well":      func() { m.share(m.one) },
				"one Service gets the label":       func() { m.give(m.one) },
				"all, with kube-proxy beside":      func() { m.turn("all") },
				"kube-proxy is stopped":            m.stopPeer,
				"kube-proxy's rules are removed":   m.cleanUpPeer,
				"kube-proxy's health port is ours": func() { m.turn("all", "--health-probe-bind-address=:10256") },
				"kube-proxy's health port is free": func() { m.turn("all") },
				"kube-proxy is back":               m.startPeer,
				"labelled again":                   func() { m.turn("labelled"); m.restartPeer() },
				"the label is taken off":           func() { m.giveBack(m.one) },
				"the Service is kube-proxy's":      func() { m.leave(m.one) },
				"shadow again":                     func() { m.turn("shadow") },
				"the agent ends":                   func() { m.agent.terminate(); m.agent = nil },
				"our tables are removed":           m.cleanUpOurs,
			}
			for _, step := range runbook(t) {
				if steps[step] == nil {
					t.Fatalf("docs/migration.md has the step %q, which is not tested", step)
				}
				steps[step]()
				m.callers.settle(step)
				m.fails(step)
				if t.Failed() {
					break
				}
			}
			t.Log(m.callers.stop())
		})
	}
}

// runbook are the steps in docs/migration.md.
func runbook(t *testing.T) (steps []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, fmt.Sprintf("### %d. ", len(steps)+1)); ok {
			steps = append(steps, strings.TrimSpace(heading))
		}
	}
	if len(steps) < 16 {
		t.Fatalf("docs/migration.md has only the steps %q", steps)
	}
	return steps
}

// move is a node on its way from one proxy to the other.
type move struct {
	*world
	mode    string
	agent   *agent
	peer    *peer
	callers *callers
	// one moves by its label, rest with the scope all; empty has no endpoints, and
	// local is for load balancers that ask which nodes have endpoints.
	one, rest, empty, local *corev1.Service
}

func newMove(t *testing.T, mode string) *move {
	w := newWorld(t)
	m := &move{world: w, mode: mode, one: w.everyWay("one", 1), rest: w.everyWay("rest", 2), empty: w.service("empty"), local: w.service("local")}
	m.empty.Spec.Selector = map[string]string{"app": "none"}
	w.create(m.empty)
	m.local.Spec.Type = corev1.ServiceTypeLoadBalancer
	m.local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	w.create(m.local)
	w.balance(m.local, 3)
	w.backend("a", 1)
	w.backend("b", 2)
	w.backend("c", 3)
	for _, svc := range []*corev1.Service{m.one, m.rest, m.local} {
		w.sliced(svc)
	}
	w.useless()
	m.startPeer()
	m.callers = w.call(append(w.everyCaller(m.one), w.everyCaller(m.rest)...)...)
	m.callers.settle("kube-proxy alone")
	m.fails("kube-proxy alone")
	return m
}

// turn restarts the agent in another scope.
func (m *move) turn(scope string, flags ...string) {
	m.t.Helper()
	if m.agent != nil {
		m.agent.terminate()
	}
	m.agent = m.start(append([]string{"--scope=" + scope}, flags...)...)
	if len(flags) > 0 {
		m.agent.health = 10256
	}
	m.agent.waitReady()
}

// share has us serve a Service that kube-proxy has, too.
func (m *move) share(svc *corev1.Service) {
	m.t.Helper()
	m.setLabel(svc, "kubeverdict.io/serve", "true")
	m.eventually("the kernel to have "+svc.Name, func() error {
		if m.holds(svc) == "" {
			return errors.New("it has nothing of it")
		}
		return nil
	})
	m.must(m.peerHas(svc, true))
}

// give hands a Service to us, and waits until kube-proxy has let it go.
func (m *move) give(svc *corev1.Service) {
	m.t.Helper()
	m.setLabel(svc, labelProxyName, "kube-verdict")
	m.eventually("kube-proxy to let "+svc.Name+" go", func() error { return m.peerHas(svc, false) })
	if m.holds(svc) == "" {
		m.t.Errorf("%s is nobody's", svc.Name)
	}
}

// giveBack has kube-proxy program a Service that we go on to serve.
func (m *move) giveBack(svc *corev1.Service) {
	m.t.Helper()
	m.setLabel(svc, labelProxyName, "")
	m.eventually("kube-proxy to program "+svc.Name, func() error { return m.peerHas(svc, true) })
	if m.holds(svc) == "" {
		m.t.Errorf("we have let %s go", svc.Name)
	}
}

// leave leaves a Service to kube-proxy alone, and waits until we have let it go.
func (m *move) leave(svc *corev1.Service) {
	m.t.Helper()
	m.setLabel(svc, "kubeverdict.io/serve", "")
	m.leaves(svc)
	m.must(m.peerHas(svc, true))
}

// setLabel gives a Service a label, or, without a value, takes it off.
func (m *move) setLabel(svc *corev1.Service, key, value string) {
	m.t.Helper()
	before := svc.DeepCopy()
	if value == "" {
		delete(svc.Labels, key)
	} else {
		metav1.SetMetaDataLabel(&svc.ObjectMeta, key, value)
	}
	m.must(m.api.Client.Patch(m.ctx, svc, client.MergeFrom(before)))
}

func (m *move) startPeer() {
	m.t.Helper()
	m.peer = m.kubeProxy(m.node, m.mode)
	for _, svc := range []*corev1.Service{m.rest, m.empty, m.local} {
		m.eventually("kube-proxy to program "+svc.Name, func() error { return m.peerHas(svc, true) })
	}
}

// restartPeer has kube-proxy open the ports that load balancers ask at, which were
// ours when it started: it tries once, and then only with a change of some Service.
func (m *move) restartPeer() {
	m.t.Helper()
	m.must(m.peer.Stop())
	m.startPeer()
}

// peerHas says whether kube-proxy has rules for a Service, in both families, or, if
// it shouldn't, any.
func (m *move) peerHas(svc *corev1.Service, want bool) error {
	both, err := m.peer.rules()
	if err != nil {
		return err
	}
	for _, text := range both {
		has := false
		for line := range strings.Lines(text) {
			// In its nftables mode, empty chains stay until there is something else to do.
			chain := strings.HasPrefix(strings.TrimSpace(line), "chain ")
			has = has || !chain && strings.Contains(line, svc.Namespace+"/"+svc.Name)
		}
		if has != want {
			return fmt.Errorf("that kube-proxy has rules for %s is %t", svc.Name, !want)
		}
	}
	return nil
}

func (m *move) stopPeer() {
	m.t.Helper()
	m.must(m.peer.Stop())
	m.must(m.peerHas(m.rest, true)) // its rules outlive it
}

func (m *move) cleanUpPeer() {
	m.t.Helper()
	m.peer.cleanUp()
	both, err := m.peer.rules()
	m.must(err)
	if text := both[0] + both[1]; strings.Contains(text, "KUBE-SERVICES") || strings.Contains(text, "kube-proxy") {
		m.t.Errorf("kube-proxy has left:\n%s", text)
	}
}

func (m *move) cleanUpOurs() {
	m.t.Helper()
	_, err := m.node.Run(program, "cleanup")
	m.must(err)
	if tables, err := m.tables(); err != nil || len(tables) > 0 {
		m.t.Errorf("%d of our tables are left, %v", len(tables), err)
	}
}

// fails wants that what has to fail does so at once, whoever answers, and that load
// balancers get an answer.
func (m *move) fails(what string) {
	m.t.Helper()
	nothing := frontends(m.empty)
	if m.mode == "nftables" { // in its iptables mode, kube-proxy does not answer for those
		nothing = append(nothing, netip.AddrPortFrom(frontends(m.rest)[0].Addr(), 81))
	}
	for _, to := range nothing {
		if got, err := m.reached(to); err != nil || got != refused {
			m.t.Errorf("%s: %s, which leads to nothing, is %s, %v", what, to, got, err)
		}
	}
	port := int(m.local.Spec.HealthCheckNodePort)
	m.eventually("an answer for load balancers", func() error {
		status, body, err := m.ask(netip.AddrPortFrom(m.node.Addrs[0], uint16(port)), "/")
		if err == nil && (status != 200 || !strings.Contains(body, `"localEndpoints": 3`)) {
			err = errors.New(body)
		}
		return err
	})
}
