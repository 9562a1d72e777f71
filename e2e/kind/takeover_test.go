package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// A cluster moves from kube-proxy to kube-verdict and back, by the commands that
// docs/migration.md has, in their order. At every step connections and flows through
// ClusterIP, NodePort and load balancer go on, for pods, nodes and the outside, and no
// new one fails. In the end nothing of kube-verdict is left.
func TestTakeOverInNFTablesMode(t *testing.T) { takeOver(t, "nftables") }
func TestTakeOverInIPTablesMode(t *testing.T) { takeOver(t, "iptables") }

func takeOver(t *testing.T, mode string) {
	m := newMove(t, mode)
	m.calling("kube-proxy alone")
	both := []string{m.control.name, m.worker.name}
	after := map[string]func(){
		"shadow":                           func() { m.scope("shadow"); m.sameAsPeer() },
		"labelled":                         func() { m.scope("labelled"); m.ours("one", false) },
		"one Service is ours as well":      func() { m.ours("one", true); m.peerHas("one", true) },
		"one Service gets the label":       func() { m.ours("one", true); m.peerHas("one", false) },
		"all, with kube-proxy beside":      func() { m.scope("all"); m.ours("rest", true) },
		"kube-proxy is stopped":            func() { m.peerPods(); m.peerHas("rest", true) },
		"kube-proxy's rules are removed":   m.peerGone,
		"kube-proxy's health port is ours": func() { m.scope("all"); m.health(10256) },
		"kube-proxy's health port is free": func() { m.scope("all"); m.health(10356) },
		"kube-proxy is back":               func() { m.peerPods(both...); m.health(10256); m.sameAsPeer("one") },
		"labelled again":                   func() { m.scope("labelled"); m.peerPods(both...); m.peerHas("rest", true) },
		"the label is taken off":           func() { m.peerHas("one", true) },
		"the Service is kube-proxy's":      func() { m.ours("one", false) },
		"shadow again":                     func() { m.scope("shadow") },
		"the agent ends":                   m.agentsGone,
		"our tables are removed":           m.nothingLeft,
	}
	for _, step := range runbook(t) {
		check := after[step.title]
		if check == nil || len(step.commands) == 0 {
			t.Fatalf("docs/migration.md has the step %q, with the commands %q: it is not tested", step.title, step.commands)
		}
		t.Log(step.title)
		for _, command := range step.commands {
			m.runs(command)
		}
		check()
		m.calling(step.title)
		if t.Failed() {
			break
		}
	}
	m.callers.stop()
}

// step is one of docs/migration.md.
type step struct {
	title    string
	commands []string
}

var heading = regexp.MustCompile(`^### \d+\. (.*)\n`)

// runbook are the page's steps, with what is to be typed.
func runbook(t *testing.T) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(repository + "/docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false // a step
	more := false   // the command goes on in the next line
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			title := heading.FindStringSubmatch(line)
			if inside = title != nil; inside {
				steps = append(steps, step{title: title[1]})
			}
		}
		command, ok := strings.CutPrefix(line, "    ")
		if !ok || !inside {
			continue
		}
		last := &steps[len(steps)-1]
		if more {
			last.commands[len(last.commands)-1] += command
		} else {
			last.commands = append(last.commands, command)
		}
		more = strings.HasSuffix(command, "\\\n")
	}
	if len(steps) < 16 {
		t.Fatalf("docs/migration.md has only the steps %v", steps)
	}
	return steps
}

// move is a cluster on its way from one proxy to the other.
type move struct {
	*scene
	mode    string
	peer    string // kube-proxy's image
	callers *callers
	// one moves by its label, rest with the scope all; local is for load balancers that
	// ask which nodes have endpoints.
	one, rest, local *corev1.Service
	out              *place
}

func newMove(t *testing.T, mode string) *move {
	s := newScene(t)
	s.peerServes(mode)
	m := &move{scene: s, mode: mode, one: s.balanced("one"), rest: s.balanced("rest"), local: s.balanced("local")}
	m.local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	daemons := &appsv1.DaemonSet{}
	s.must(s.Get(s.ctx, objectKey("kube-system", "kube-proxy"), daemons))
	m.peer = daemons.Spec.Template.Spec.Containers[0].Image
	for i, svc := range []*corev1.Service{m.one, m.rest, m.local} {
		s.create(svc)
		s.balance(svc, i, s.control)
	}
	s.servers("one", 1, 1)
	s.servers("rest", 1, 1)
	s.servers("local", 1, 0)
	places := s.everywhere()
	m.out = places[4]
	var all []*caller
	for _, svc := range []*corev1.Service{m.one, m.rest} {
		some := places
		if svc == m.rest {
			some = []*place{places[1], places[4]}
		}
		all = append(all, s.reached(svc, some...)...)
	}
	m.callers = s.call(all...)
	return m
}

// runs types a command of the page, with what this cluster has for its words in
// capitals.
func (m *move) runs(command string) {
	m.t.Helper()
	image := os.Getenv("KUBE_VERDICT_IMAGE")
	if short, ok := strings.CutPrefix(command, "helm upgrade "); ok {
		m.shell(upgrade + m.settings() + " " + short)
		m.agentsReady()
		return
	}
	command = strings.NewReplacer("NAMESPACE", m.namespace, "NAME", "one", "KUBE-PROXY-IMAGE", m.peer, "IMAGE", image).Replace(command)
	if !strings.Contains(command, "node/NODE") {
		m.shell(command)
		return
	}
	for _, n := range m.nodes() {
		m.shell(strings.ReplaceAll(command, "node/NODE", "node/"+n.name))
	}
}

// calling wants that the callers go on and have lost nothing, and that load balancers
// are told which nodes have endpoints.
func (m *move) calling(what string) {
	m.t.Helper()
	m.callers.settle(what)
	for n, want := range map[*node]int{m.control: http.StatusOK, m.worker: http.StatusServiceUnavailable} {
		m.eventually("an answer for load balancers", func() error {
			status, body, err := m.out.get(netip.AddrPortFrom(n.subnets[0].Addr(), uint16(m.local.Spec.HealthCheckNodePort)), "/")
			if err == nil && status != want {
				err = fmt.Errorf("%s answers %d %s, want %d", n.name, status, body, want)
			}
			return err
		})
	}
}

// scope wants that all agents were told it.
func (m *move) scope(want string) {
	m.t.Helper()
	for _, a := range m.agents() {
		args := a.Spec.Containers[0].Args
		if slices.Contains(args, "--scope="+want) != (want != "all") {
			m.t.Errorf("agent %s is told %v, want the scope %s", a.Name, args, want)
		}
	}
}

// ours waits until each node's kernel has the Service from us, or, if it shouldn't,
// has not.
func (m *move) ours(service string, want bool) {
	m.t.Helper()
	for _, n := range m.nodes() {
		m.eventually(fmt.Sprintf("%s to have %s from us: %t", n.name, service, want), func() error {
			text, err := n.run("nft", "list", "map", "ip", "kube-verdict", "services")
			if has := strings.Contains(text, m.namespace+"/"+service+":"); err == nil && has != want {
				err = fmt.Errorf("it is %t", has)
			}
			return err
		})
	}
}

// peerHas waits until each node's kernel has the Service from kube-proxy, or, if it
// shouldn't, has not.
func (m *move) peerHas(service string, want bool) {
	m.t.Helper()
	for _, n := range m.nodes() {
		m.eventually(fmt.Sprintf("%s to have %s from kube-proxy: %t", n.name, service, want), func() error {
			text, err := m.peerRules(n)
			has := false
			for line := range strings.Lines(text) {
				// In its nftables mode, empty chains stay until there is something else to do.
				chain := strings.HasPrefix(strings.TrimSpace(line), "chain ")
				has = has || !chain && strings.Contains(line, m.namespace+"/"+service)
			}
			if err == nil && has != want {
				err = fmt.Errorf("it is %t", has)
			}
			return err
		})
	}
}

// peerRules are what kube-proxy has in a node's kernel.
func (m *move) peerRules(n *node) (string, error) {
	if m.mode == "iptables" {
		return n.run("iptables-save")
	}
	tables, err := n.run("nft", "list", "tables")
	if err != nil || !strings.Contains(tables, "table ip kube-proxy\n") {
		return "", err
	}
	return n.run("nft", "list", "table", "ip", "kube-proxy")
}

// peerPods waits until kube-proxy has one pod on each of these nodes, which is ready,
// and no others are left.
func (m *move) peerPods(nodes ...string) {
	m.t.Helper()
	m.shell("kubectl -n kube-system rollout status daemonset kube-proxy --timeout=2m")
	m.eventually(fmt.Sprintf("pods of kube-proxy on %v", nodes), func() error {
		pods := &corev1.PodList{}
		err := m.List(m.ctx, pods, client.InNamespace("kube-system"), client.MatchingLabels{"k8s-app": "kube-proxy"})
		if err == nil {
			err = testbed.OneOnEach(pods.Items, nodes...)
		}
		return err
	})
}

// peerGone wants that no node has rules of kube-proxy.
func (m *move) peerGone() {
	m.t.Helper()
	for _, n := range m.nodes() {
		tables, err := n.run("nft", "list", "tables")
		m.must(err)
		both, err := n.run("sh", "-c", "iptables-save; ip6tables-save")
		m.must(err)
		if strings.Contains(tables, " kube-proxy") || strings.Contains(both, "KUBE-SERVICES") {
			m.t.Errorf("%s has rules of kube-proxy:\n%s\n%s", n.name, tables, both)
		}
	}
}

// sameAsPeer waits until the command that the page has people look with shows no
// difference on any node, but for some Services of the test.
func (m *move) sameAsPeer(but ...string) {
	m.t.Helper()
	for _, a := range m.agents() {
		m.eventually("no difference on "+a.Spec.NodeName, func() error {
			// It ends with 1 when there are differences.
			out, err := m.cluster.shell(m.ctx, "kubectl -n kube-system exec "+a.Name+" -- /kube-verdict diff kube-proxy kernel -o json || [ $? = 1 ]")
			if err != nil {
				return err
			}
			var found struct{ Differences []struct{ Service string } }
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				return err
			}
			for _, d := range found.Differences {
				if name, ours := strings.CutPrefix(d.Service, m.namespace+"/"); !ours || !slices.Contains(but, name) {
					return errors.New(out)
				}
			}
			if len(found.Differences) < len(but) {
				return fmt.Errorf("want differences for %v:\n%s", but, out)
			}
			return nil
		})
	}
}

// health waits until a port says of each node that it is fit for traffic.
func (m *move) health(port uint16) {
	m.t.Helper()
	for _, n := range m.nodes() {
		m.eventually(fmt.Sprintf("%s to say at port %d that it is well", n.name, port), func() error {
			status, body, err := m.out.get(netip.AddrPortFrom(n.subnets[0].Addr(), port), "/healthz")
			if err == nil && status != http.StatusOK {
				err = errors.New(body)
			}
			return err
		})
	}
}

// agentsGone wants that no agent is left: one would bring back what is removed next.
func (m *move) agentsGone() {
	m.t.Helper()
	list, err := m.listAgents()
	m.must(err)
	if len(list) > 0 {
		m.t.Errorf("%d agents are left", len(list))
	}
}

// nothingLeft wants that nodes have no table, and waits until the API has no object of
// kube-verdict: what a DaemonSet owned is removed in the background.
func (m *move) nothingLeft() {
	m.t.Helper()
	for _, n := range m.nodes() {
		tables, err := n.run("nft", "list", "tables")
		m.must(err)
		if strings.Contains(tables, "kube-verdict") {
			m.t.Errorf("%s has the tables\n%s", n.name, tables)
		}
	}
	m.eventually("the API to have nothing of ours", func() error {
		left, err := m.cluster.shell(m.ctx, "kubectl api-resources --verbs=list --output=name | grep -v ^events | tr '\\n' , | sed 's/,$//' | xargs -I KINDS kubectl get KINDS --all-namespaces --ignore-not-found --output=name")
		if err != nil {
			return err
		}
		if !strings.Contains(left, "service/kubernetes\n") {
			return fmt.Errorf("these are not all objects:\n%s", left)
		}
		// The cluster may be called kube-verdict as well.
		left = strings.NewReplacer(m.control.name, "control-plane", m.worker.name, "worker").Replace(left)
		for name := range strings.Lines(left) {
			if strings.Contains(name, "kube-verdict") || strings.Contains(name, "kubeverdict") {
				err = errors.Join(err, fmt.Errorf("it has %s", name))
			}
		}
		return err
	})
}
