package kind

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// scene is a test's part of the cluster: a namespace, and what is in it.
type scene struct {
	*cluster
	t         *testing.T
	ctx       context.Context
	namespace string
	// number is the scene's, among those of a run.
	number int
}

// newScene makes a namespace for the test. When the test fails, what it did to the
// cluster is kept first.
func newScene(t *testing.T) *scene {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a cluster, which -short leaves out")
	}
	shared.scenes++
	s := &scene{cluster: shared, t: t, ctx: context.Background(), number: shared.scenes, namespace: strings.ToLower(t.Name()) + fmt.Sprintf("-%x", time.Now().Unix()&0xffff)}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	t.Cleanup(func() {
		if t.Failed() {
			s.keepEvidence()
		}
		s.must(s.Delete(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}))
	})
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// eventually waits until the check gives nothing to complain of.
func (s *scene) eventually(what string, check func() error) {
	s.t.Helper()
	s.must(testbed.Wait(limit, what, check))
}

func (s *scene) create(object client.Object) {
	s.t.Helper()
	s.must(s.Create(s.ctx, object))
}

// change writes what f changes of an object.
func (s *scene) change(object client.Object, f func()) {
	s.t.Helper()
	before := object.DeepCopyObject().(client.Object)
	f()
	s.must(s.Patch(s.ctx, object, client.MergeFrom(before)))
}

// shell runs a command as a user would, which has to succeed.
func (s *scene) shell(command string) string {
	s.t.Helper()
	ctx, stop := context.WithTimeout(s.ctx, 2*limit)
	defer stop()
	out, err := s.cluster.shell(ctx, command)
	s.must(err)
	return out
}

// agnhost is a container of the tests' pods.
func agnhost(args ...string) corev1.Container {
	return corev1.Container{Name: "agnhost", Image: os.Getenv("AGNHOST_IMAGE"), ImagePullPolicy: corev1.PullIfNotPresent, Args: args}
}

// server answers at port 8080, TCP and UDP, and is ready once it does.
func server() corev1.Container {
	c := agnhost("netexec", "--http-port=8080", "--udp-port=8080")
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8080)}},
		PeriodSeconds: 1,
	}
	return c
}

// pod starts a pod on a node; wait until it is ready.
func (s *scene) pod(n *node, name, app string, container corev1.Container) *corev1.Pod {
	s.t.Helper()
	grace := int64(1)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: n.name, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{container}},
	}
	s.create(p)
	return p
}

// servers starts pods that serve an app, so many on each node.
func (s *scene) servers(app string, onControl, onWorker int) (pods []*corev1.Pod) {
	s.t.Helper()
	for i := range onControl {
		pods = append(pods, s.pod(s.control, fmt.Sprintf("%s-control-%d", app, i), app, server()))
	}
	for i := range onWorker {
		pods = append(pods, s.pod(s.worker, fmt.Sprintf("%s-worker-%d", app, i), app, server()))
	}
	s.ready(pods...)
	return pods
}

// ready waits until pods are, and reads them.
func (s *scene) ready(pods ...*corev1.Pod) {
	s.t.Helper()
	for _, p := range pods {
		s.eventually("pod "+p.Name+" to be ready", func() error {
			if err := s.Get(s.ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			if !testbed.Ready(p) || len(p.Status.PodIPs) != 2 {
				return fmt.Errorf("it is %s, %v", p.Status.Phase, p.Status.Conditions)
			}
			return nil
		})
	}
}

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func objectKey(namespace, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: name}
}

// podsOf are an app's.
func (s *scene) podsOf(app string) (pods []*corev1.Pod) {
	s.t.Helper()
	list := &corev1.PodList{}
	s.must(s.List(s.ctx, list, client.InNamespace(s.namespace), client.MatchingLabels{"app": app}))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods
}

// names are those of pods: who may answer.
func names(pods []*corev1.Pod) (list []string) {
	for _, p := range pods {
		list = append(list, p.Name)
	}
	return list
}

// place is where clients are.
type place struct {
	*testbed.Namespace
	what string
}

func (s *scene) place(what string, ns *testbed.Namespace, err error) *place {
	s.t.Helper()
	s.must(err)
	s.t.Cleanup(ns.Close)
	return &place{Namespace: ns, what: what}
}

// in is inside of a pod.
func (s *scene) in(p *corev1.Pod) *place {
	s.t.Helper()
	for _, n := range s.nodes() {
		if n.name == p.Spec.NodeName {
			ns, err := n.podNamespace(netip.MustParseAddr(p.Status.PodIP))
			return s.place("pod "+p.Name, ns, err)
		}
	}
	s.t.Fatalf("pod %s is on %s, which is no node", p.Name, p.Spec.NodeName)
	return nil
}

// on is on a node.
func (s *scene) on(n *node) *place {
	s.t.Helper()
	ns, err := n.namespace()
	return s.place("node "+n.name, ns, err)
}

// out is outside of the cluster.
func (s *scene) out() *place {
	s.t.Helper()
	ns, err := s.outsideNamespace()
	return s.place("outside", ns, err)
}

// everywhere are a pod on each node, each node, and outside.
func (s *scene) everywhere() []*place {
	s.t.Helper()
	pods := []*corev1.Pod{s.pod(s.control, "client-control", "client", agnhost("pause")), s.pod(s.worker, "client-worker", "client", agnhost("pause"))}
	s.ready(pods...)
	return []*place{s.in(pods[0]), s.in(pods[1]), s.on(s.control), s.on(s.worker), s.out()}
}

// route has the outside send what is for an address to a node.
func (s *scene) route(to netip.Addr, n *node) {
	s.t.Helper()
	ns, err := s.outsideNamespace()
	s.must(err)
	defer ns.Close()
	_, err = ns.Run("ip", "route", "replace", to.String(), "via", n.addr(to).String())
	s.must(err)
}
