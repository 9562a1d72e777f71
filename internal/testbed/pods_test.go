package testbed_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

func pod(name, node string, ready, ending bool) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.ContainersReady, Status: corev1.ConditionFalse},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		}
	}
	if ending {
		p.DeletionTimestamp = &metav1.Time{}
	}
	return p
}

// A list of pods is what a rollout has to end with, and no state on the way there.
func TestOneOnEach(t *testing.T) {
	for _, tc := range []struct {
		what string
		pods []corev1.Pod
		want string // in the error; "" for none
	}{
		{"as it should be", []corev1.Pod{pod("a", "n1", true, false), pod("b", "n2", true, false)}, ""},
		{"nothing yet", nil, "0 pods on n1"},
		{"one is to come", []corev1.Pod{pod("a", "n1", true, false)}, "0 pods on n2"},
		{"one is not ready", []corev1.Pod{pod("a", "n1", true, false), pod("b", "n2", false, false)}, "b on n2 is not ready"},
		// What the flake of TestUpgradeBreaksNoConnection saw.
		{"the one before is there as well", []corev1.Pod{pod("a", "n1", true, false), pod("old", "n2", true, true), pod("b", "n2", true, false)}, "old on n2 has yet to end"},
		{"the one before is there alone", []corev1.Pod{pod("a", "n1", true, false), pod("old", "n2", true, true)}, "old on n2 has yet to end"},
		{"two are to stay", []corev1.Pod{pod("a", "n1", true, false), pod("b", "n2", true, false), pod("c", "n2", true, false)}, "2 pods on n2"},
		{"one has no node", []corev1.Pod{pod("a", "n1", true, false), pod("b", "n2", true, false), pod("c", "", false, false)}, `c is on the node ""`},
	} {
		err := testbed.OneOnEach(tc.pods, "n1", "n2")
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.what, err, tc.want)
		}
	}
	if err := testbed.OneOnEach(nil); err != nil {
		t.Errorf("no pod on no node: %v", err)
	}
}

func TestStaying(t *testing.T) {
	all := []corev1.Pod{pod("old", "n1", true, true), pod("a", "n1", false, false), pod("b", "n2", true, false)}
	got := testbed.Staying(all)
	if len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" || all[0].Name != "old" {
		t.Errorf("of %v stay %v", all, got)
	}
}
