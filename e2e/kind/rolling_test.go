package kind

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A Deployment's pods are replaced while clients ask, as its users have it: new pods
// get traffic when they are ready, and old ones serve for some seconds after they were
// told to end. No request fails, and UDP flows come to new pods.
func TestRollingUpdateUnderLoad(t *testing.T) {
	s := newScene(t)
	s.served()
	replicas, grace := int32(3), int64(30)
	none, one := intstr.FromInt32(0), intstr.FromInt32(1)
	container := server()
	container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metaOf(s.namespace, "web"),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &one}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &grace,
					Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Containers:                    []corev1.Container{container},
				},
			},
		},
	}
	s.create(d)
	finished := "kubectl rollout status deployment/web --timeout=3m -n " + s.namespace
	s.shell(finished)
	svc := s.balanced("web")
	s.create(svc)
	s.balance(svc, 0, s.control)
	all := s.reached(svc, s.everywhere()...)
	for _, c := range all {
		c.moves = true
	}
	before := names(s.podsOf("web"))
	callers := s.call(all...)
	s.shell("kubectl rollout restart deployment/web -n " + s.namespace)
	s.shell(finished)
	s.eventually("the old pods to have ended", func() error {
		for _, name := range names(s.podsOf("web")) {
			if slices.Contains(before, name) {
				return fmt.Errorf("%s is there", name)
			}
		}
		return nil
	})
	callers.settle("after the update")
	callers.stop()
}
