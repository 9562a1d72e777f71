package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	nftmaps "github.com/kube-verdict/kube-verdict/nft/maps"
)

const (
	// limit is how long a change may take until it shows. It is no measure of
	// how long it does take: a machine may be busy.
	limit = time.Minute
	// patience is how long one client waits for one answer.
	patience = 3 * time.Second
	// podCIDRs are where the addresses of pods are from.
	podCIDRs = "10.244.0.0/16,fd00:10:244::/64"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// world is a node with its Node object and a namespace in the API, for one test.
type world struct {
	t         testing.TB
	ctx       context.Context
	api       *testbed.ControlPlane
	node      *testbed.Node
	way       *testbed.Way
	conn      *kernel.Conn
	client    *testbed.Host // a pod that asks
	outside   *testbed.Host // a client outside of the cluster, if the test wants one
	name      string        // of the Node
	namespace string
	marks     int // that settled has made
}

// worlds counts them: a test may run again in the same control plane.
var worlds atomic.Int32

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldAt(t, controlPlane(t))
	t.Cleanup(func() {
		// What one test leaves would be on the nodes of those that follow.
		for _, kind := range []client.Object{&corev1.Service{}, &corev1.Pod{}} {
			w.must(w.api.Client.DeleteAllOf(w.ctx, kind, client.InNamespace(w.namespace), client.GracePeriodSeconds(0)))
		}
	})
	return w
}

func newWorldAt(t testing.TB, api *testbed.ControlPlane) *world {
	t.Helper()
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"), worlds.Add(1))
	w := &world{t: t, ctx: context.Background(), api: api, name: "node-" + name, namespace: name}
	w.node = testbed.NewTestNode(t, addr("10.240.0.11"), addr("fd00:10:240::11"))
	var err error
	w.way, err = testbed.NewWay(api, w.node)
	w.must(err)
	t.Cleanup(w.way.Cut)
	w.conn, err = kernel.Open(w.node.Fd())
	w.must(err)
	t.Cleanup(func() { _ = w.conn.Close() })
	w.client = w.host("client", "10.244.9.9", "fd00:10:244::99")
	w.must(api.Namespace(w.ctx, w.namespace))
	_, err = api.Node(w.ctx, w.name, nil, w.node.Addrs...)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// before reports whether the API server is of an older Kubernetes than 1.minor.
func (w *world) before(minor int) bool {
	w.t.Helper()
	is, err := w.api.Before(minor)
	w.must(err)
	return is
}

// eventually waits until the check gives nothing to complain of.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	w.must(testbed.Wait(limit, what, check))
}

// host is a pod's namespace on the node, with no object in the API.
func (w *world) host(name string, addrs ...string) *testbed.Host {
	w.t.Helper()
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, addr(a))
	}
	h, err := w.node.AddPod(name, list...)
	w.must(err)
	return h
}

// backend is a Pod that is ready and answers at port 8080 of an address of each
// family, over TCP and UDP.
type backend struct {
	*corev1.Pod
	at4, at6 string
}

func (w *world) backend(name string, number int) *backend {
	w.t.Helper()
	b := &backend{at4: fmt.Sprintf("10.244.0.%d", number), at6: fmt.Sprintf("fd00:10:244::%x", number)}
	h := w.host(name, b.at4, b.at6)
	for _, a := range h.Addrs {
		for _, protocol := range []string{"tcp", "udp"} {
			server, err := h.Serve(protocol, netip.AddrPortFrom(a, 8080))
			w.must(err)
			w.t.Cleanup(server.Close)
		}
	}
	w.represent(b, name)
	return b
}

// represent makes the Pod object.
func (w *world) represent(b *backend, name string) {
	w.t.Helper()
	var err error
	b.Pod, err = w.api.Pod(w.ctx, w.namespace, name, w.name, map[string]string{"app": "web"}, nil, addr(b.at4), addr(b.at6))
	w.must(err)
}

// service is a dual-stack Service for the backends, not created yet.
func (w *world) service(name string) *corev1.Service {
	policy := corev1.IPFamilyPolicyRequireDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Selector:       map[string]string{"app": "web"},
			IPFamilyPolicy: &policy,
			Ports:          []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

// create makes an object and reads back what the API server made of it.
func (w *world) create(object client.Object) {
	w.t.Helper()
	w.must(w.api.Client.Create(w.ctx, object))
}

// frontends are port 80 of a Service's addresses.
func frontends(svc *corev1.Service) (list []netip.AddrPort) {
	for _, ip := range svc.Spec.ClusterIPs {
		list = append(list, netip.AddrPortFrom(addr(ip), 80))
	}
	return list
}

const (
	refused     = "refused"
	unreachable = "unreachable"
	silent      = "silent"
)

// reached says who answers a client at an address: all of the pods that a fair
// choice leads to, "refused", "unreachable", or "silent" for no answer.
func (w *world) reached(to netip.AddrPort) (string, error) {
	seen := map[string]int{}
	err := w.client.Clients(1, func(c *testbed.Client) error {
		for asked := range 60 {
			answer, err := c.Ask("tcp", to, patience)
			switch {
			case err == nil:
				seen[answer.Server.Addr().String()]++
			case errors.Is(err, testbed.ErrRefused):
				seen[refused]++
			case errors.Is(err, testbed.ErrUnreachable):
				seen[unreachable]++
			case errors.Is(err, testbed.ErrTimeout):
				seen[silent]++
				return nil
			default:
				return err
			}
			// There is no chance in an error.
			if asked == 2 && seen[refused]+seen[unreachable] == 3 {
				break
			}
		}
		return nil
	})
	return strings.Join(slices.Sorted(maps.Keys(seen)), " "), err
}

// leadsTo waits until a client that asks at an address is answered by these and
// no others.
func (w *world) leadsTo(to netip.AddrPort, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	w.eventually(fmt.Sprintf("%s to lead to %v", to, want), func() error {
		got, err := w.reached(to)
		if err == nil && got != strings.Join(want, " ") {
			err = fmt.Errorf("it leads to %s", got)
		}
		return err
	})
}

// serviceLeadsTo is leadsTo for both of a Service's addresses.
func (w *world) serviceLeadsTo(svc *corev1.Service, pods ...*backend) {
	w.t.Helper()
	for _, to := range frontends(svc) {
		want := []string{}
		for _, p := range pods {
			if to.Addr().Is4() {
				want = append(want, p.at4)
			} else {
				want = append(want, p.at6)
			}
		}
		if len(want) == 0 {
			want = []string{refused}
		}
		w.leadsTo(to, want...)
	}
}

// elements are the sets of both tables, by name, with what the kernel has in
// them now.
func (w *world) elements() (map[string][]nft.Element, error) {
	tables, err := w.tables()
	all := map[string][]nft.Element{}
	for _, held := range tables {
		for name, set := range held.Sets {
			all[name] = append(all[name], set.Elements...)
		}
	}
	return all, err
}

// tables are our tables as the kernel has them, if it does.
func (w *world) tables() (tables []*nft.Held, err error) {
	for _, table := range nftmaps.NewLayout(layout.Config{}).Tables() {
		held, err := w.conn.Read(table.ID())
		if err != nil {
			return nil, err
		}
		if held != nil {
			tables = append(tables, held)
		}
	}
	return tables, nil
}

// tidy waits until the kernel has no chain or slot that no Service leads to: they
// go a while after the change that they were used before.
func (w *world) tidy() {
	w.t.Helper()
	w.eventually("what is no longer used to go", func() error {
		tables, err := w.tables()
		for _, held := range tables {
			slots, used := 0, map[string]bool{}
			chains := map[string]string{} // by number
			for _, e := range held.Sets["dispatch"].Elements {
				chains[e.Key] = e.Goto
			}
			for _, e := range held.Sets["services"].Elements {
				// "cluster-3", or a chain that leads to it: "external-3".
				chain := chains[e.Data]
				number := chain[strings.LastIndex(chain, "-")+1:]
				n, _ := strconv.Atoi(number)
				slots += n
				used["cluster-"+number] = true
			}
			if got := len(held.Sets["endpoints"].Elements); got != slots {
				err = fmt.Errorf("table %s has %d slots, %d in use", held.ID, got, slots)
			}
			for name := range held.Chains {
				if strings.HasPrefix(name, "cluster-") && !used[name] {
					err = fmt.Errorf("table %s has %s, which is not in use", held.ID, name)
				}
			}
		}
		return err
	})
}

func (w *world) generation() uint32 {
	w.t.Helper()
	g, err := w.conn.Generation()
	w.must(err)
	return g
}

// agent is a running kube-verdict.
type agent struct {
	*testbed.Process
	w               *world
	metrics, health int // ports on the node's loopback
}

// start runs kube-verdict on the node, with flags besides the usual ones.
func (w *world) start(flags ...string) *agent {
	w.t.Helper()
	a := &agent{w: w, metrics: 10349, health: 10356}
	var err error
	a.Process, err = w.node.Start(program, append([]string{"run", "--kubeconfig", w.api.Kubeconfig()}, w.flags(flags)...)...)
	w.must(err)
	w.t.Cleanup(func() {
		select {
		case <-a.Done():
		default:
			if err := a.Stop(); err != nil {
				w.t.Error(err)
			}
		}
		if w.t.Failed() {
			w.t.Logf("kube-verdict said:\n%s", a.Output())
		}
	})
	return a
}

// flags are the usual ones of run and apply, and these.
func (w *world) flags(more []string) []string {
	all := []string{"--node-name=" + w.name}
	if !slices.ContainsFunc(more, func(f string) bool { return strings.HasPrefix(f, "--pod-cidrs=") }) {
		all = append(all, "--pod-cidrs="+podCIDRs)
	}
	return append(all, more...)
}

// startReady is start and waits until the Services are programmed.
func (w *world) startReady(flags ...string) *agent {
	w.t.Helper()
	a := w.start(flags...)
	a.waitReady()
	return a
}

func (a *agent) waitReady() {
	a.w.t.Helper()
	a.w.eventually("the agent to be ready", func() error {
		status, body, err := a.w.get(a.health, "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
}

// terminate sends SIGTERM and wants exit status 0.
func (a *agent) terminate() {
	a.w.t.Helper()
	a.w.must(a.Signal(unix.SIGTERM))
	if err := a.Wait(limit); err != nil {
		a.w.t.Fatalf("after SIGTERM: %v", err)
	}
}

// get asks over HTTP at the node's loopback address, from the node itself.
func (w *world) get(port int, path string) (status int, body string, err error) {
	return w.ask(netip.AddrPortFrom(addr("127.0.0.1"), uint16(port)), path)
}

// ask asks over HTTP, from the node itself.
func (w *world) ask(at netip.AddrPort, path string) (status int, body string, err error) {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialFrom(w.node.Namespace), DisableKeepAlives: true}}
	answer, err := c.Get("http://" + at.String() + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func dialFrom(ns *testbed.Namespace) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = ns.Do(func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}
