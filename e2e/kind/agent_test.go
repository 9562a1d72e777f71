package kind

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// "helm upgrade" to another version replaces the agents. Connections go on, and new
// ones are made all the time.
func TestUpgradeBreaksNoConnection(t *testing.T) {
	s := newScene(t)
	s.served()
	callers := s.underLoad()
	image := os.Getenv("KUBE_VERDICT_IMAGE_2")
	_, tag := split(image)
	s.shell(upgrade + " --set image.tag=" + tag)
	s.agentsReady()
	for _, a := range s.agents() {
		if got := a.Spec.Containers[0].Image; got != image {
			t.Errorf("agent %s is of %s, want %s", a.Name, got, image)
		}
	}
	callers.settle("after the upgrade")
	s.follows("upgraded")
	s.shell("helm rollback kube-verdict -n kube-system")
	s.agentsReady()
	callers.settle("after the rollback")
	s.follows("rolled-back")
	callers.stop()
}

// An agent that is killed leaves its rules, and the next one goes on from them.
func TestKilledAgentBreaksNoConnection(t *testing.T) {
	s := newScene(t)
	s.served()
	callers := s.underLoad()
	for _, n := range s.nodes() {
		before := s.restarts(n)
		s.killAgent(n)
		s.startedAgain(n, before)
		s.agentsReady()
		callers.settle(n.name + "'s agent was killed")
	}
	s.follows("after-kills")
	callers.stop()
}

// The agent runs under the runtime's seccomp profile, which the other tests so
// show to leave it all that it needs.
func TestAgentRunsUnderSeccomp(t *testing.T) {
	s := newScene(t)
	s.served()
	for _, n := range s.nodes() {
		dir, err := n.agentProcess()
		s.must(err)
		status, err := os.ReadFile(dir + "/status")
		s.must(err)
		// 2 is SECCOMP_MODE_FILTER: proc_pid_status(5).
		if !strings.Contains(string(status), "\nSeccomp:\t2\n") {
			t.Errorf("the agent on %s has no seccomp filter:\n%s", n.name, status)
		}
	}
}

// "helm test" passes, as a Pod.
func TestHelmTest(t *testing.T) {
	s := newScene(t)
	s.served()
	s.eventually("the test to pass", func() error {
		out, err := s.cluster.shell(s.ctx, "helm test kube-verdict -n kube-system")
		if err == nil && !strings.Contains(out, "Phase:          Succeeded") {
			err = errors.New(out)
		}
		return err
	})
}

// underLoad is a Service with pods on both nodes, and callers from everywhere.
func (s *scene) underLoad() *callers {
	s.t.Helper()
	s.servers("load", 1, 1)
	svc := s.balanced("load")
	s.create(svc)
	s.balance(svc, 0, s.control)
	return s.call(s.reached(svc, s.everywhere()...)...)
}

// reached are callers from some places to a Service that all of them reach.
func (s *scene) reached(svc *corev1.Service, places ...*place) (all []*caller) {
	s.t.Helper()
	s.each(places, func(from *place) error {
		return s.reachable(from, svc, func(protocol string, to frontend) error {
			_, err := from.askOnce(protocol, to.at)
			return err
		})
	})
	for _, from := range places {
		all = append(all, s.callersOf(from, svc)...)
	}
	return all
}

// follows wants that the agents take over a change: a new Service, with a new pod.
func (s *scene) follows(name string) {
	s.t.Helper()
	pods := names(s.servers(name, 0, 1))
	svc := s.balanced(name)
	s.create(svc)
	s.balance(svc, 7, s.control)
	places := []*place{s.on(s.control), s.on(s.worker), s.out()}
	s.each(places, func(from *place) error {
		return s.reachable(from, svc, func(protocol string, to frontend) error { return s.spread(from, protocol, to.at, pods) })
	})
	s.must(s.Delete(s.ctx, svc))
}

// restarts is how often the agent's container on a node was started again. A kubelet
// writes it together with the pod's readiness.
func (s *scene) restarts(n *node) (times int32) {
	s.t.Helper()
	for _, a := range s.agents() {
		if a.Spec.NodeName == n.name {
			for _, c := range a.Status.ContainerStatuses {
				times += c.RestartCount
			}
		}
	}
	return times
}

// startedAgain waits until the API server has been told that the agent's container on a
// node was started again, after so many times before. Until then its pod is still the
// ready one that it was.
func (s *scene) startedAgain(n *node, before int32) {
	s.t.Helper()
	s.eventually("the agent on "+n.name+" to be started again", func() error {
		if now := s.restarts(n); now <= before {
			return fmt.Errorf("it has been %d times", now)
		}
		return nil
	})
}

// killAgent kills the agent's process in a node, and waits until there is another.
func (s *scene) killAgent(n *node) {
	s.t.Helper()
	before, err := n.agentProcess()
	s.must(err)
	number, err := strconv.Atoi(filepath.Base(before))
	s.must(err)
	s.must(unix.Kill(number, unix.SIGKILL))
	s.eventually("another agent on "+n.name, func() error {
		now, err := n.agentProcess()
		if err == nil && now == before {
			err = fmt.Errorf("process %d has not ended", number)
		}
		return err
	})
}

// agentProcess is the directory in /proc of the agent in a node: the process of this
// name in its network namespace.
func (n *node) agentProcess() (string, error) {
	pid, err := n.pid()
	if err != nil {
		return "", err
	}
	here, err := os.Readlink("/proc/" + pid + "/ns/net")
	if err != nil {
		return "", err
	}
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return "", err
	}
	for _, path := range all {
		name, err := os.ReadFile(path)
		if err != nil || string(name) != "kube-verdict\n" {
			continue
		}
		dir := filepath.Dir(path)
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil && ns == here {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no process of the agent on %s", n.name)
}
