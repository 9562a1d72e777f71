package charts_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/cli"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// TestMain makes the test a kube-verdict when it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kube-verdict" {
		os.Exit(cli.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// An API server takes all objects. With the rights, arguments and ports that they
// give it, the agent becomes ready and tells what is wrong with a Service.
func TestAgentHasWhatItNeeds(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"))
	host, err := node.AddClient("control-plane", netip.MustParseAddr("198.18.0.10"))
	if err != nil {
		t.Fatal(err)
	}
	plane := testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{Host: host})
	i := bases(t)
	i.account.Namespace, i.config.Namespace, i.agents.Namespace = "kube-system", "kube-system", "kube-system"
	meta := metav1.ObjectMeta{Namespace: "default", Name: "web"}
	web := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: web.Name}
	multicast := &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"239.1.1.1"}}},
	}
	api := client.WithFieldValidation(plane.Client, metav1.FieldValidationStrict)
	for _, object := range append(i.objects(), web, multicast) {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}

	kubeconfig := as(t, plane, "system:serviceaccount:kube-system:kube-verdict")
	args := append(i.args(t), "--kubeconfig", kubeconfig)
	agent := confined(t, node, args...)
	wait := func(what string, check func() error) {
		t.Helper()
		if err := testbed.Wait(time.Minute, what, check); err != nil {
			t.Fatalf("%v; the agent said:\n%s", err, agent.Output())
		}
	}
	for _, probe := range []*corev1.Probe{i.container().ReadinessProbe, i.container().LivenessProbe} {
		wait(probe.HTTPGet.Path, func() error {
			return get(node, fmt.Sprintf("10.240.0.11:%d", port(i, probe.HTTPGet.Port.String())), probe.HTTPGet.Path)
		})
	}
	wait("the metrics", func() error {
		return get(node, fmt.Sprintf("127.0.0.1:%d", port(i, "metrics")), "/metrics")
	})
	wait("an Event", func() error {
		events := &eventsv1.EventList{}
		if err := plane.Client.List(t.Context(), events, client.InNamespace("default")); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Regarding.Name == web.Name && strings.Contains(e.Note, "239.1.1.1") {
				return nil
			}
		}
		return errors.New("there is none about 239.1.1.1")
	})
	if strings.Contains(agent.Output(), "forbidden") {
		t.Errorf("the agent lacks a right:\n%s", agent.Output())
	}

	// "helm test", with the same rights, tells whether the kernel is as it should be.
	question := append(chart(t, "").test.Spec.Containers[0].Args, "--kubeconfig", kubeconfig)
	wait("the test to be content", func() error {
		answer, err := node.Run("unshare", inside(program(t), question...)...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, answer)
		}
		return nil
	})
	// An agent that does not run repairs nothing.
	if err := agent.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Run("nft", "delete", "element", "ip", "kube-verdict", "services", "{ 10.96.0.1 . tcp . 443 }"); err != nil {
		t.Fatal(err)
	}
	if answer, err := node.Run("unshare", inside(program(t), question...)...); err == nil || !strings.Contains(answer, "default/kubernetes") {
		t.Errorf("without a Service in the kernel the test says %v:\n%s", err, answer)
	}
	if err := agent.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// The settings of the node that kube-proxy sets are set: by an agent whose own /proc/sys
// is read-only, through what the DaemonSet mounts.
func TestAgentSetsTheNodesSettings(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"))
	host, err := node.AddClient("control-plane", netip.MustParseAddr("198.18.0.10"))
	if err != nil {
		t.Fatal(err)
	}
	plane := testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{Host: host})
	const setting = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait"
	now := func() string {
		t.Helper()
		out, err := node.Run("cat", setting)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	const want = "3600"
	if now() == want {
		t.Fatalf("%s is %s from the start", setting, want)
	}
	for _, tc := range []struct {
		what string
		i    *installation
		set  bool
	}{
		{"without the mount", chart(t, "nodeSysctls: false"), false},
		{"with it", chart(t, ""), true},
	} {
		before := now()
		args := append(tc.i.args(t), "--node-name=worker", "--kubeconfig="+plane.Kubeconfig())
		agent, err := node.Start("unshare", mounting(tc.i, program(t), args...)...)
		if err != nil {
			t.Fatal(err)
		}
		err = testbed.Wait(time.Minute, "the agent", func() error { return get(node, "127.0.0.1:10356", "/readyz") })
		after, said := now(), agent.Output()
		if err := errors.Join(err, agent.Stop()); err != nil {
			t.Fatalf("%s: %v:\n%s", tc.what, err, said)
		}
		if complained := strings.Contains(said, "tcp_timeout_close_wait: read-only file system"); complained == tc.set || tc.set && after != want || !tc.set && after != before {
			t.Errorf("%s: the setting was %s and is %s; the agent said:\n%s", tc.what, before, after, said)
		}
	}
}

// confined starts the agent with what the container has: one capability, no way to
// another, and a file system that can't be written to.
func confined(t *testing.T, node *testbed.Node, args ...string) *testbed.Process {
	t.Helper()
	agent, err := node.Start("unshare", inside(program(t), args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Stop(); err != nil {
			t.Error(err)
		}
	})
	return agent
}

// enter makes the file system one that can't be written to, and takes all but one
// capability.
const enter = `mount -o remount,bind,ro / && exec setpriv --inh-caps=-all,+net_admin --bounding-set=-all,+net_admin --no-new-privs "$@"`

// inside are the arguments with which unshare runs the program like that.
func inside(program string, args ...string) []string {
	return append([]string{"--mount", "sh", "-c", enter, "sh", program}, args...)
}

// mounting is inside with a /proc/sys as containers have it, and what the DaemonSet
// mounts of the node.
func mounting(i *installation, program string, args ...string) []string {
	script := "mount -t tmpfs tmpfs /run && "
	for _, m := range i.container().VolumeMounts {
		for _, v := range i.agents.Spec.Template.Spec.Volumes {
			if v.Name == m.Name && v.HostPath != nil {
				script += fmt.Sprintf("mkdir -p %s && mount --bind %s %s && ", m.MountPath, v.HostPath.Path, m.MountPath)
			}
		}
	}
	script += "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && " + enter
	return append([]string{"--mount", "sh", "-c", script, "sh", program}, args...)
}

// as is a kubeconfig for another user.
func as(t *testing.T, plane *testbed.ControlPlane, user string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(plane.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range config.AuthInfos {
		info.Impersonate = user
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// program is the test under the name that makes it a kube-verdict.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kube-verdict")
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// port is the number of one of the container's ports.
func port(i *installation, name string) int32 {
	for _, p := range i.container().Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

// get asks over HTTP, as the kubelet and others on the node do.
func get(node *testbed.Node, address, path string) error {
	_, err := fetch(node, address, path)
	return err
}

// fetch is get with what was answered.
func fetch(node *testbed.Node, address, path string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	transport.DialContext = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = node.Do(func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("http://" + address + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return string(body), err
}
