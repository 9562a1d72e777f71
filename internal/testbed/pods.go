package testbed

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Staying leaves out the pods that have been asked to end. The API server lists
// them until they have.
func Staying(pods []corev1.Pod) (staying []corev1.Pod) {
	for i := range pods {
		if pods[i].DeletionTimestamp == nil {
			staying = append(staying, pods[i])
		}
	}
	return staying
}

// OneOnEach gives an error unless each of these nodes has one pod of a list, which
// is ready, and nobody has another: also none that has yet to end.
func OneOnEach(pods []corev1.Pod, nodes ...string) error {
	on := map[string]int{}
	for i := range pods {
		p := &pods[i]
		switch {
		case p.DeletionTimestamp != nil:
			return fmt.Errorf("pod %s on %s has yet to end", p.Name, p.Spec.NodeName)
		case !slices.Contains(nodes, p.Spec.NodeName):
			return fmt.Errorf("pod %s is on the node %q, want one of %v", p.Name, p.Spec.NodeName, nodes)
		case !Ready(p):
			return fmt.Errorf("pod %s on %s is not ready", p.Name, p.Spec.NodeName)
		}
		on[p.Spec.NodeName]++
	}
	for _, node := range nodes {
		if on[node] != 1 {
			return fmt.Errorf("there are %d pods on %s, want 1", on[node], node)
		}
	}
	return nil
}

// Ready reports whether a pod says that it is.
func Ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
