package kind

import (
	"fmt"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// upgrade is what docs/migration.md has "helm upgrade" short for.
const upgrade = "helm upgrade kube-verdict charts/kube-verdict --install --reset-then-reuse-values -n kube-system"

// settings are what the chart has to be told about a cluster. The image is the chart's own,
// which "make image" has made.
func (s *scene) settings() string {
	return fmt.Sprintf(" --set kubernetesServiceHost=%s --set 'podCIDRs={node}'", s.control.subnets[0].Addr())
}

func split(image string) (repository, tag string) {
	at := strings.LastIndex(image, ":")
	return image[:at], image[at+1:]
}

// served has all Services served by the agents alone, as a cluster without kube-proxy.
func (s *scene) served() {
	s.t.Helper()
	s.shell(strings.Replace(upgrade, "--reset-then-reuse-values", "--reset-values", 1) + s.settings())
	s.agentsReady()
	if s.hasDaemonSet("kube-proxy") {
		s.kubeProxy("del")
	}
	s.shell("kubectl -n kube-system rollout status deployment coredns --timeout=2m")
}

// peerServes has all Services served by kube-proxy alone, in one of its modes.
func (s *scene) peerServes(mode string) {
	s.t.Helper()
	if s.hasDaemonSet("kube-proxy") {
		s.kubeProxy("del")
	}
	s.kubeProxy("add", mode)
	s.shell("kubectl -n kube-system rollout status daemonset kube-proxy --timeout=2m")
	if s.hasDaemonSet("kube-verdict") {
		s.shell("helm uninstall kube-verdict -n kube-system --wait")
		// An agent that has yet to end would bring its tables back.
		s.shell("kubectl -n kube-system wait --for=delete pod --selector app.kubernetes.io/name=kube-verdict --timeout=2m")
		s.onEachNode(os.Getenv("KUBE_VERDICT_IMAGE"), "/kube-verdict cleanup")
	}
}

// kubeProxy brings kube-proxy to the cluster, or takes it away.
func (s *scene) kubeProxy(args ...string) {
	s.t.Helper()
	s.shell("hack/kind/kind.sh proxy " + strings.Join(args, " "))
}

// agentsReady waits until each node has one agent, which is as it is wanted now and
// ready, and all those before have ended: a rollout is complete while the last of them
// does, and its status is a moment behind the pods.
func (s *scene) agentsReady() {
	s.t.Helper()
	s.shell("kubectl -n kube-system rollout status daemonset kube-verdict --timeout=2m")
	s.eventually("one agent on each node", func() error {
		list, err := s.listAgents()
		if err == nil {
			err = testbed.OneOnEach(list, s.control.name, s.worker.name)
		}
		return err
	})
}

func (s *scene) hasDaemonSet(name string) bool {
	s.t.Helper()
	err := s.Get(s.ctx, client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: name}, &appsv1.DaemonSet{})
	if !apierrors.IsNotFound(err) {
		s.must(err)
	}
	return err == nil
}

// agents are the agents' pods that have not been asked to end.
func (s *scene) agents() []corev1.Pod {
	s.t.Helper()
	list, err := s.listAgents()
	s.must(err)
	return testbed.Staying(list)
}

// listAgents are all pods of agents, those that have yet to end among them.
func (s *scene) listAgents() ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := s.List(s.ctx, list, client.InNamespace(metav1.NamespaceSystem), client.MatchingLabels{"app.kubernetes.io/name": "kube-verdict"})
	return list.Items, err
}

// onEachNode runs a program of an image with the rights over each node's network.
func (s *scene) onEachNode(image, command string) (said string) {
	s.t.Helper()
	for _, n := range s.nodes() {
		said += s.shell(fmt.Sprintf("kubectl debug node/%s --attach --profile=netadmin --image=%s -- %s", n.name, image, command))
	}
	s.shell("kubectl delete pod -l app.kubernetes.io/managed-by=kubectl-debug")
	return said
}
