package healthcheck_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Where kube-proxy answers for itself, and where we answer for the Service.
const (
	healthzPort = 10256
	ourPort     = 20000
)

// reply is what of an HTTP answer does not depend on when it was given.
type reply struct {
	status int
	header http.Header
	body   string
}

var times = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)

func newReply(status int, header http.Header, body string) reply {
	header.Del("Date")
	header.Del("Content-Length") // follows from the body, which may hold times
	return reply{status, header, times.ReplaceAllString(body, "TIME")}
}

func (r reply) equal(o reply) bool {
	return r.status == o.status && r.body == o.body && maps.EqualFunc(r.header, o.header, slices.Equal)
}

// inNode asks from inside a node.
type inNode struct {
	t    *testing.T
	node *testbed.Node
	http http.Client
}

func newInNode(t *testing.T, node *testbed.Node) *inNode {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = node.Do(func() error { conn, err = new(net.Dialer).DialContext(ctx, network, address); return err })
		return conn, err
	}
	return &inNode{t, node, http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}}
}

func (n *inNode) ask(method string, addr netip.Addr, port uint16, path string) (reply, error) {
	request, err := http.NewRequest(method, fmt.Sprintf("http://%s%s", netip.AddrPortFrom(addr, port), path), nil)
	must(n.t, err)
	resp, err := n.http.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return newReply(resp.StatusCode, resp.Header, string(body)), err
}

// await waits until what listens at a port answers with a status.
func (n *inNode) await(port uint16, status int, addrs ...netip.Addr) {
	n.t.Helper()
	must(n.t, testbed.Wait(time.Minute, "kube-proxy to know of the change", func() error {
		for _, addr := range addrs {
			if r, err := n.ask(http.MethodGet, addr, port, "/healthz"); err != nil || r.status != status {
				return errors.Join(fmt.Errorf("port %d at %s answers %d, want %d", port, addr, r.status, status), err)
			}
		}
		return nil
	}))
}

// compare asks kube-proxy about a Service and about itself, and us.
func (n *inNode) compare(servicePort uint16, health *healthcheck.Proxy) {
	n.t.Helper()
	for _, addr := range n.node.Addrs {
		for _, question := range []struct{ method, path string }{{http.MethodGet, "/"}, {http.MethodGet, "/any/path?x"}, {http.MethodHead, "/"}, {http.MethodPost, "/"}} {
			want, err := n.ask(question.method, addr, servicePort, question.path)
			must(n.t, err)
			got, err := n.ask(question.method, addr, ourPort, question.path)
			must(n.t, err)
			if !got.equal(want) {
				n.t.Errorf("%s of %s at %s is answered by us\n%v\nand by kube-proxy\n%v", question.method, question.path, addr, got, want)
			}
		}
	}
	for path, handler := range map[string]http.Handler{"/healthz": health.Healthz(), "/livez": health.Livez()} {
		want, err := n.ask(http.MethodGet, n.node.Addrs[0], healthzPort, path)
		must(n.t, err)
		if got := newReply(get(n.t, handler)); !got.equal(want) {
			n.t.Errorf("%s is answered by us\n%v\nand by kube-proxy\n%v", path, got, want)
		}
	}
}

// A Service of both families on one node, with kube-proxy and us.
func TestAnswersAreKubeProxys(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11"))
	host, err := node.AddClient("control-plane", netip.MustParseAddr("198.18.0.2"))
	must(t, err)
	api := testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{Host: host})
	ctx := t.Context()
	nodeObject, err := api.Node(ctx, "node", nil, node.Addrs...)
	must(t, err)
	must(t, api.Namespace(ctx, "ns"))
	pod, err := api.Pod(ctx, "ns", "web", "node", map[string]string{"app": "web"}, nil, netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("fd00:10:244::1"))
	must(t, err)
	both := corev1.IPFamilyPolicyRequireDualStack
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			IPFamilyPolicy: &both, Selector: pod.Labels,
			// Two ports of one pod are one endpoint.
			Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}},
		},
	}
	must(t, api.Client.Create(ctx, service))
	servicePort := uint16(service.Spec.HealthCheckNodePort)
	startKubeProxy(t, node, "--kubeconfig="+api.Kubeconfig(), "--hostname-override=node")
	n := newInNode(t, node)

	eligible := true
	health := healthcheck.NewProxy(clock.RealClock{}, time.Hour, func() bool { return eligible })
	health.Updated(ipv4)
	health.Updated(ipv6)
	servers := healthcheck.New(health.Healthy)
	t.Cleanup(servers.Close)
	have := func(localEndpoints int) {
		t.Helper()
		must(t, node.Do(func() error {
			update := checks{web: proxy.HealthCheck{Port: ourPort, IPv4: localEndpoints, IPv6: localEndpoints}}
			for _, failure := range slices.Concat(servers.SetAddresses(node.Addrs), servers.Update(update)) {
				return failure.Err
			}
			return nil
		}))
	}

	have(1)
	n.await(servicePort, http.StatusOK, node.Addrs...)
	n.compare(servicePort, health)

	must(t, api.Terminate(ctx, pod))
	have(0)
	n.await(servicePort, http.StatusServiceUnavailable, node.Addrs...)
	n.compare(servicePort, health)

	before := nodeObject.DeepCopy()
	nodeObject.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
	must(t, api.Client.Patch(ctx, nodeObject, client.MergeFrom(before)))
	eligible = false
	n.await(healthzPort, http.StatusServiceUnavailable, node.Addrs[0])
	n.compare(servicePort, health)
}

func startKubeProxy(t *testing.T, node *testbed.Node, args ...string) {
	t.Helper()
	path, err := testbed.Tool("kube-proxy")
	must(t, err)
	p, err := node.Start(path, append(args, "--proxy-mode=nftables", fmt.Sprintf("--healthz-bind-address=0.0.0.0:%d", healthzPort),
		// Not every sysctl can be set in a namespace.
		"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s")...)
	must(t, err)
	t.Cleanup(func() {
		_ = p.Stop()
		if t.Failed() {
			t.Logf("kube-proxy said:\n%s", p.Output())
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
