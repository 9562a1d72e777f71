package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// limit is how long a change may take until it shows.
const limit = time.Minute

var (
	shared    sync.Once
	sharedAPI *testbed.ControlPlane
	sharedErr error
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	status := m.Run()
	if sharedAPI != nil {
		sharedAPI.Stop()
	}
	os.Exit(status)
}

// sink notes what it is told of one namespace.
type sink struct {
	mu    sync.Mutex
	now   map[proxy.Name]proxy.Service
	calls []string
}

func newSink() *sink { return &sink{now: map[proxy.Name]proxy.Service{}} }

func (s *sink) Update(svc proxy.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now[svc.Name] = svc
	s.calls = append(s.calls, "update "+svc.Name.String())
}

func (s *sink) Delete(name proxy.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, name)
	s.calls = append(s.calls, "delete "+name.String())
}

func (s *sink) Release(name proxy.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, name)
	s.calls = append(s.calls, "release "+name.String())
}

// endpoints are those of a Service's first port, as it was last told.
func (s *sink) endpoints(name proxy.Name) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc, ok := s.now[name]
	if !ok {
		return "none such"
	}
	var texts []string
	for _, e := range svc.Ports[0].Endpoints {
		texts = append(texts, e.String())
	}
	return strings.Join(texts, " ")
}

// all are the calls in their order.
func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// since are the calls from the n-th on, each once.
func (s *sink) since(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(s.calls[n:])))
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// world is the reconcilers before a real API server, and a namespace in that.
type world struct {
	*sink
	t         *testing.T
	ctx       context.Context
	api       *testbed.ControlPlane
	cache     client.Reader
	namespace string

	mu       sync.Mutex
	problems map[proxy.Name]int
	node     *corev1.Node
}

// theNode is what the model is told of the node.
func theNode() proxy.Node {
	return proxy.Node{Name: "node-a", Addresses: []netip.Addr{netip.MustParseAddr("10.240.0.11")}}
}

// worlds counts them: a test may run again in the same control plane.
var worlds atomic.Int32

func newWorld(t *testing.T) *world {
	t.Helper()
	testbed.Need(t)
	shared.Do(func() { sharedAPI, sharedErr = testbed.StartControlPlane(testbed.ControlPlaneOptions{}) })
	w := &world{t: t, ctx: context.Background(), sink: newSink(), problems: map[proxy.Name]int{},
		namespace: fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), worlds.Add(1))}
	w.must(sharedErr)
	w.api = sharedAPI
	w.must(w.api.Namespace(w.ctx, w.namespace))
	t.Cleanup(func() {
		w.must(w.api.Client.DeleteAllOf(w.ctx, &corev1.Service{}, client.InNamespace(w.namespace)))
	})

	options, err := controllers.CacheOptions("node-a", proxy.ScopeAll, func(proxy.Name, time.Time) {})
	w.must(err)
	ours := runtime.NewScheme()
	w.must(controllers.AddToScheme(ours))
	mgr, err := ctrl.NewManager(w.api.Config, ctrl.Options{
		Scheme: ours, Cache: options, MapperProvider: controllers.Kinds,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	w.must(err)
	w.cache = mgr.GetCache()
	w.must(controllers.IndexFields(w.ctx, mgr.GetCache()))
	loaded := make(chan struct{})
	services := &controllers.ServiceReconciler{Cache: w.cache, Sink: w, Loaded: loaded, Node: theNode, Problems: w.noteProblems}
	w.must(services.SetupWithManager(mgr))
	nodes := &controllers.NodeReconciler{Cache: w.cache, Services: services, Changed: w.noteNode}
	w.must(nodes.SetupWithManager(mgr))

	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
	<-mgr.Elected() // the caches have started
	w.must(services.Load(w.ctx))
	close(loaded)
	return w
}

func (w *world) noteProblems(name proxy.Name, problems []proxy.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems[name] = len(problems)
}

func (w *world) problemsOf(name proxy.Name) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problems[name]
}

func (w *world) noteNode(n *corev1.Node) (matters bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.node = n
	return n != nil && len(n.Status.Addresses) > 0
}

func (w *world) nodeNow() *corev1.Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.node
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) eventually(what string, met func() bool) {
	w.t.Helper()
	w.must(testbed.Wait(limit, what, func() error {
		if met() {
			return nil
		}
		return errors.New("not yet")
	}))
}

func (w *world) name(of string) proxy.Name { return proxy.Name{Namespace: w.namespace, Name: of} }

// has waits until a Service was handed over with these endpoints.
func (w *world) has(of, endpoints string) {
	w.t.Helper()
	w.must(testbed.Wait(limit, of+" to be handed over", func() error {
		if got := w.endpoints(w.name(of)); got != endpoints {
			return fmt.Errorf("its endpoints are %s, want %s", got, endpoints)
		}
		return nil
	}))
}

// service makes a Service without a selector, and a slice with endpoints for it.
func (w *world) service(name string, endpoints ...string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	w.t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Annotations: map[string]string{"a": "b"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	w.must(w.api.Client.Create(w.ctx, svc))
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To(int32(8080))}},
	}
	for _, e := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{e}})
	}
	w.must(w.api.Client.Create(w.ctx, slice))
	return svc, slice
}
