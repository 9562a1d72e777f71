package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestControlPlaneMakesEndpointSlices(t *testing.T) {
	c := NewTestControlPlane(t, ControlPlaneOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	check(t, c.Namespace(ctx, "shop"))
	service := dualStack("shop", "web")
	check(t, c.Client.Create(ctx, service))
	if len(service.Spec.ClusterIPs) != 2 {
		t.Fatalf("the Service has cluster IPs %v, want one of each family", service.Spec.ClusterIPs)
	}
	if _, err := c.Node(ctx, "n1", nil, addr("10.0.0.1"), addr("fd00::1")); err != nil {
		t.Fatal(err)
	}
	var pods []*corev1.Pod
	for i, ips := range [][]netip.Addr{{addr("10.244.0.1"), addr("fd00:10:244::1")}, {addr("10.244.0.2"), addr("fd00:10:244::2")}} {
		pod, err := c.Pod(ctx, "shop", fmt.Sprintf("web-%d", i), "n1", service.Spec.Selector, nil, ips...)
		check(t, err)
		pods = append(pods, pod)
	}

	expect(ctx, t, c, service, "10.244.0.1:8080 n1", "10.244.0.2:8080 n1", "fd00:10:244::1:8080 n1", "fd00:10:244::2:8080 n1")
	check(t, c.SetReady(ctx, pods[0], false))
	expect(ctx, t, c, service, "10.244.0.1:8080 n1 not ready", "10.244.0.2:8080 n1", "fd00:10:244::1:8080 n1 not ready", "fd00:10:244::2:8080 n1")
	check(t, c.SetReady(ctx, pods[0], true))
	check(t, c.Terminate(ctx, pods[1]))
	expect(ctx, t, c, service, "10.244.0.1:8080 n1", "10.244.0.2:8080 n1 not ready terminating", "fd00:10:244::1:8080 n1", "fd00:10:244::2:8080 n1 not ready terminating")
	check(t, c.Remove(ctx, pods[1]))
	expect(ctx, t, c, service, "10.244.0.1:8080 n1", "fd00:10:244::1:8080 n1")
	check(t, c.Client.Delete(ctx, service))
	check(t, Wait(30*time.Second, "the EndpointSlices to go with their Service", func() error {
		left, err := c.Slices(ctx, "shop", "web")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d are left", len(left))
		}
		return err
	}))

	before := c.processes[1]
	c.StopAPIServer()
	if err := before.Wait(time.Second); err == nil {
		t.Error("the API server ended by itself")
	}
	if _, err := c.Slices(ctx, "shop", "web"); err == nil {
		t.Error("an API server that is stopped answers")
	}
	check(t, c.StartAPIServer())
	if err := c.Client.Get(ctx, client.ObjectKey{Name: "n1"}, &corev1.Node{}); err != nil {
		t.Errorf("what was stored is gone after another start: %v", err)
	}

	c.Stop()
	for _, p := range c.processes {
		select {
		case <-p.Done():
		default:
			t.Errorf("%s still runs after Stop", p.Name)
		}
	}
	if len(c.processes) != 3 || c.Logs("kube-apiserver") == "" {
		t.Errorf("there are %d programs, want 3, and the API server printed %d bytes", len(c.processes), len(c.Logs("kube-apiserver")))
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stop left %s (%v)", c.dir, err)
	}
}

// A node's programs must reach a control plane outside it over their own network,
// and the test from where it is.
func TestControlPlaneOutsideANode(t *testing.T) {
	node := NewTestNode(t, addr("10.0.0.1"), addr("fd00::1"))
	c := NewTestControlPlane(t, ControlPlaneOptions{
		ServiceCIDR: "172.30.0.0/16,fd00:10:96::/108",
		Host:        host(t)(node.AddClient("control-plane", addr("198.18.0.2"))),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	clients, err := kubernetes.NewForConfig(c.Config)
	check(t, err)
	if version, err := clients.Discovery().ServerVersion(); err != nil || version.GitVersion != "v"+KubernetesVersion() {
		t.Errorf("the API server is %v, %v, want v%s", version, err, KubernetesVersion())
	}
	service := dualStack("default", "web")
	check(t, c.Client.Create(ctx, service))
	if ip := service.Spec.ClusterIP; !netip.MustParsePrefix("172.30.0.0/16").Contains(netip.MustParseAddr(ip)) {
		t.Errorf("the Service has cluster IP %s, which is not in the range asked for", ip)
	}
	kubectl, err := Tool("kubectl")
	check(t, err)
	out, err := node.Run(kubectl, "--kubeconfig="+c.Kubeconfig(), "get", "services", "-o", "name")
	check(t, err)
	if want := "service/kubernetes\nservice/web\n"; out != want {
		t.Errorf("kubectl on the node lists %q, want %q", out, want)
	}
	check(t, Wait(30*time.Second, "the API server to publish its address", func() error {
		slices, err := c.Slices(ctx, "default", "kubernetes")
		if err == nil && (len(slices) != 1 || len(slices[0].Endpoints) != 1 || slices[0].Endpoints[0].Addresses[0] != "198.18.0.2") {
			err = fmt.Errorf("the slices are %+v", slices)
		}
		return err
	}))
}

func TestMissingToolSaysWhatToDo(t *testing.T) {
	t.Setenv("KUBE_VERDICT_TOOLS", t.TempDir())
	c, err := StartControlPlane(ControlPlaneOptions{})
	if err == nil {
		c.Stop()
		t.Fatal("a control plane started without its programs")
	}
	if !strings.Contains(err.Error(), "etcd is missing") || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("the error is %q, want what is missing and how to get it", err)
	}
}

func TestFailedStartShowsTheLog(t *testing.T) {
	Need(t)
	c, err := StartControlPlane(ControlPlaneOptions{ServiceCIDR: "10.96.0.0/99"})
	if err == nil {
		c.Stop()
		t.Fatal("a control plane started with a service range that is none")
	}
	if !strings.Contains(err.Error(), "kube-apiserver ended") || !strings.Contains(err.Error(), "service-cluster-ip-range") {
		t.Errorf("the error is %q, want the API server's own complaint", err)
	}
}

func dualStack(namespace, name string) *corev1.Service {
	policy := corev1.IPFamilyPolicyRequireDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Selector:       map[string]string{"app": name},
			IPFamilyPolicy: &policy,
			Ports:          []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

// expect waits until a Service has exactly these endpoints.
func expect(ctx context.Context, t *testing.T, c *ControlPlane, service *corev1.Service, want ...string) {
	t.Helper()
	slices.Sort(want)
	check(t, Wait(30*time.Second, "endpoints of "+service.Name, func() error {
		got, err := endpoints(ctx, c, service)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("they are %q, want %q", got, want)
		}
		return err
	}))
}

func endpoints(ctx context.Context, c *ControlPlane, service *corev1.Service) ([]string, error) {
	list, err := c.Slices(ctx, service.Namespace, service.Name)
	var found []string
	for _, slice := range list {
		for _, endpoint := range slice.Endpoints {
			text := fmt.Sprintf("%s:%d %s", endpoint.Addresses[0], *slice.Ports[0].Port, *endpoint.NodeName)
			if !*endpoint.Conditions.Ready {
				text += " not ready"
			}
			if *endpoint.Conditions.Terminating {
				text += " terminating"
			}
			found = append(found, text)
		}
	}
	slices.Sort(found)
	return found, err
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
