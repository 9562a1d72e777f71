package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Config is what the agent is told when it starts.
type Config struct {
	// NodeName names the Node object that stands for this machine.
	NodeName string
	// NodePortAddresses says which of its addresses accept NodePort traffic.
	NodePortAddresses []string
	// Layout is what the tables depend on besides Services.
	Layout maps.Config
	// MetricsAddress and HealthAddress are host:port; "0" is for none.
	MetricsAddress, HealthAddress string
}

// errNotProgrammed is why the agent is not ready at first.
var errNotProgrammed = errors.New("the Services are not programmed yet")

// Run follows the API server and programs the kernel until the context ends.
func Run(ctx context.Context, api *rest.Config, c Config, log logr.Logger) error {
	conn, err := kernel.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	// What is missing shows before anything is waited for.
	if _, err := conn.Generation(); err != nil {
		return err
	}

	mgr, err := newManager(ctx, api, c, log)
	if err != nil {
		return err
	}
	m := metrics.New(ctrlmetrics.Registry)
	reporter := newReporter(log, mgr.GetEventRecorder("kube-verdict"), m)
	programmer := dataplane.NewProgrammer(dataplane.NewWriter(conn, maps.NewLayout(c.Layout)), log, reporter)
	node := &node{config: c, log: log}
	loaded := make(chan struct{})
	services := &controllers.ServiceReconciler{
		Cache: mgr.GetCache(), Sink: programmer, Node: node.model, Problems: reporter.Problems, Loaded: loaded,
	}
	if err := services.SetupWithManager(mgr); err != nil {
		return err
	}
	nodes := &controllers.NodeReconciler{Cache: mgr.GetCache(), Changed: node.changed, Services: services}
	if err := nodes.SetupWithManager(mgr); err != nil {
		return err
	}
	var ready atomic.Bool
	// Runnables start when the caches are synced.
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if err := node.load(ctx, mgr.GetCache()); err != nil {
			return err
		}
		if err := services.Load(ctx); err != nil {
			return err
		}
		close(loaded)
		return programmer.Run(ctx, func() { ready.Store(true); log.Info("Services are programmed") })
	}))
	if err != nil {
		return err
	}
	err = errors.Join(
		mgr.AddHealthzCheck("ping", func(*http.Request) error { return nil }),
		mgr.AddReadyzCheck("programmed", func(*http.Request) error {
			if !ready.Load() {
				return errNotProgrammed
			}
			return nil
		}))
	if err != nil {
		return err
	}
	log.Info("Starting", "node", c.NodeName, "podCIDRs", c.Layout.PodCIDRs)
	if len(c.Layout.PodCIDRs) == 0 {
		log.Info("No --pod-cidrs: traffic to ClusterIPs is not masqueraded, so clients outside the cluster may get no answer")
	}
	return mgr.Start(ctx)
}

func newManager(ctx context.Context, api *rest.Config, c Config, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	cacheOptions, err := controllers.CacheOptions(c.NodeName)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(api, ctrl.Options{
		Scheme: scheme, Logger: log, Cache: cacheOptions,
		Metrics:                metricsserver.Options{BindAddress: c.MetricsAddress},
		HealthProbeBindAddress: c.HealthAddress,
		LeaderElection:         false, // every node programs its own kernel
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the API server at %s: %w", api.Host, err)
	}
	return mgr, controllers.IndexFields(ctx, mgr.GetFieldIndexer())
}

// node is this node as it is known now.
type node struct {
	config Config
	log    logr.Logger

	mu  sync.Mutex
	now Local
}

func (n *node) model() proxy.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now.Node
}

func (n *node) load(ctx context.Context, cache client.Reader) error {
	object := &corev1.Node{}
	err := cache.Get(ctx, client.ObjectKey{Name: n.config.NodeName}, object)
	if apierrors.IsNotFound(err) {
		n.log.Info("There is no such Node: using this machine's addresses until there is", "node", n.config.NodeName)
		object, err = nil, nil
	}
	if err != nil {
		return err
	}
	_, err = n.changed(object)
	return err
}

// changed takes over a Node object and says whether Services depend on what is
// new.
func (n *node) changed(object *corev1.Node) (bool, error) {
	local, err := FindLocal(n.config.NodeName, object, n.config.NodePortAddresses)
	if err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	matters := !n.now.Node.Equal(local.Node)
	n.now = local
	if matters {
		n.log.Info("Node", "name", local.Name, "addresses", local.Addresses, "fromNodeObject", local.FromObject)
	}
	return matters, nil
}
