package testbed

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Node makes a Node that is ready and has these internal addresses.
func (c *ControlPlane) Node(ctx context.Context, name string, labels map[string]string, addrs ...netip.Addr) (*corev1.Node, error) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := c.Client.Create(ctx, node); err != nil {
		return nil, fmt.Errorf("creating Node %s: %w", name, err)
	}
	before := node.DeepCopy()
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, a := range addrs {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Testbed"}}
	if err := c.Client.Status().Patch(ctx, node, client.MergeFrom(before)); err != nil {
		return nil, fmt.Errorf("setting the status of Node %s: %w", name, err)
	}
	return node, nil
}

// Namespace makes a namespace unless there is one.
func (c *ControlPlane) Namespace(ctx context.Context, name string) error {
	err := c.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating Namespace %s: %w", name, err)
	}
	return nil
}

// Pod makes a Pod that runs on a node, is ready and has these addresses.
func (c *ControlPlane) Pod(ctx context.Context, namespace, name, node string, labels map[string]string, ports []corev1.ContainerPort, ips ...netip.Addr) (*corev1.Pod, error) {
	if len(ips) == 0 {
		return nil, fmt.Errorf("pod %s/%s needs an address to be running", namespace, name)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "server", Image: "none", Ports: ports}},
		},
	}
	if err := c.Client.Create(ctx, pod); err != nil {
		return nil, fmt.Errorf("creating Pod %s/%s: %w", namespace, name, err)
	}
	before := pod.DeepCopy()
	pod.Status.Phase = corev1.PodRunning
	pod.Status.PodIP = ips[0].String()
	pod.Status.PodIPs = nil
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	setReady(pod, true)
	return pod, c.patchStatus(ctx, pod, before)
}

// SetReady changes whether a Pod is ready; its node need not know.
func (c *ControlPlane) SetReady(ctx context.Context, pod *corev1.Pod, ready bool) error {
	before := pod.DeepCopy()
	setReady(pod, ready)
	return c.patchStatus(ctx, pod, before)
}

func (c *ControlPlane) patchStatus(ctx context.Context, pod, before *corev1.Pod) error {
	if err := c.Client.Status().Patch(ctx, pod, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("setting the status of Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func setReady(pod *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now()},
		{Type: corev1.ContainersReady, Status: status, LastTransitionTime: metav1.Now()},
	}
}

// Terminate asks a Pod to end. As no kubelet answers, it stays, terminating, until
// Remove.
func (c *ControlPlane) Terminate(ctx context.Context, pod *corev1.Pod) error {
	return client.IgnoreNotFound(c.Client.Delete(ctx, pod))
}

// Remove takes a Pod away at once.
func (c *ControlPlane) Remove(ctx context.Context, pod *corev1.Pod) error {
	return client.IgnoreNotFound(c.Client.Delete(ctx, pod, client.GracePeriodSeconds(0)))
}

// Slices lists the EndpointSlices of a Service.
func (c *ControlPlane) Slices(ctx context.Context, namespace, service string) ([]discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := c.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service})
	return list.Items, err
}

// waitForControllers returns when the controllers answer to a Service: the first
// one is waited for here, so that tests need not allow for a slow start.
func (c *ControlPlane) waitForControllers() error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "testbed-first"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"testbed": "first"}, Ports: []corev1.ServicePort{{Port: 1}}},
	}
	if err := c.Client.Create(context.Background(), service); err != nil {
		return fmt.Errorf("creating the first Service: %w", err)
	}
	find := func(want bool) error {
		return c.await("the EndpointSlice controller", func(ctx context.Context) error {
			slices, err := c.Slices(ctx, service.Namespace, service.Name)
			if err == nil && (len(slices) > 0) != want {
				err = errNotYet
			}
			return err
		})
	}
	if err := find(true); err != nil {
		return err
	}
	if err := c.Client.Delete(context.Background(), service); err != nil {
		return fmt.Errorf("deleting the first Service: %w", err)
	}
	return find(false)
}
