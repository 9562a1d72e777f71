package agent

import (
	"context"
	"math"
	"net"
	"net/http"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/featuregate"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Config is what the agent is told when it starts.
type Config struct {
	// NodeName names the Node object that stands for this machine.
	NodeName string
	// Scope says which Services are ours, and whether packets meet what is programmed.
	Scope proxy.Scope
	// ShadowPeriod is the time between two comparisons with kube-proxy's rules.
	ShadowPeriod time.Duration
	// NodePortAddresses says which of its addresses accept NodePort traffic.
	NodePortAddresses []string
	// PodCIDRsOfNode takes the pod CIDRs from the Node object, not from Layout.
	PodCIDRsOfNode bool
	// Layout is what the tables depend on besides Services.
	Layout layout.Config
	// MetricsAddress and HealthAddress are host:port; "0" is for none.
	MetricsAddress, HealthAddress string
	// Gates are the features that are on; package features has their names.
	Gates featuregate.FeatureGate
	// Configuration and Flags are where all this is from, as /configz and /flagz show
	// it.
	Configuration config.Configuration
	Flags         *pflag.FlagSet
	Version       string
	// Follow, if there is something to follow, says that the configuration has become
	// invalid, or, with nil, that it is not.
	Follow func(ctx context.Context, invalid func(error)) error
}

// handOver is how long a Service stays ours that has been given to another proxy.
// kube-proxy writes once a second at most, and may need some for it.
const handOver = 5 * time.Second

// Run follows the API server and programs the kernel until the context ends.
func Run(ctx context.Context, api *rest.Config, c Config, log logr.Logger) error {
	tuning, tuned := context.WithCancel(ctx)
	defer tuned()
	started := make(chan struct{})
	go tuneMemory(tuning, started)
	conn, err := kernel.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	// What is missing shows before anything is waited for.
	if _, err := conn.Generation(); err != nil {
		return err
	}

	if err := dataplane.Check(conn, c.tables()); err != nil {
		return err
	}
	tables := c.tables()
	// Whoever turns to the scope shadow may do so for a fault, and has no time.
	if err := dataplane.NewWriter(conn, tables).Bypass(); err != nil {
		return err
	}

	registry := metrics.NewRegistry()
	metrics.FollowClient(registry)
	m := metrics.New(registry)
	meter := newMeter(m)
	api, reach := tellReach(api, log)
	var ready atomic.Bool
	node := newNode(c, log)
	health := newHealth(ready.Load, node.eligible, m, reach)
	mgr, err := newManager(api, c, log, meter.triggered)
	if err != nil {
		return err
	}
	reporter := newReporter(log, mgr.GetEventRecorder("kube-verdict"), mgr.GetCache(), m)
	reporter.node = c.NodeName
	counted := &counted{Conn: conn, metrics: m}
	probes, err := listen(c.HealthAddress, "health probes", "health-probe-bind-address")
	if err != nil {
		return err
	}
	shown, err := listen(c.MetricsAddress, "metrics", "metrics-bind-address")
	if err != nil {
		return err
	}
	checks := healthcheck.New(func() bool { return ready.Load() && health.Healthy() })
	defer checks.Close()
	flows := newFlows(log, m)
	follow := &follower{reporter: reporter, meter: meter, flows: flows, checks: checks, health: health, shadow: c.Scope == proxy.ScopeShadow}
	node.moved = follow.moved
	if c.comparesShadow() {
		reader, err := kubeproxy.Open()
		if err != nil {
			return err
		}
		defer func() { _ = reader.Close() }()
		follow.comparer = newComparer(&c, node, mgr.GetCache(), &shadowed{log: log, metrics: metrics.NewShadow(registry)}, reader)
	}
	writer := dataplane.NewWriter(counted, tables)
	// In the other scopes kube-proxy may serve what we no longer do, and has its flows.
	if c.Scope == proxy.ScopeAll {
		writer.TellSwept(flows.gone)
	}
	programmer := dataplane.NewProgrammer(writer, log, follow)
	memory, err := kernel.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = memory.Close() }()
	programmer.ForgetBeside(memory)
	monitor, _, err := kernel.NewMonitor(0, conn, dataplane.IDs(tables)...)
	if err != nil {
		return err
	}
	defer func() { _ = monitor.Close() }()
	if c.Gates.Enabled(features.ConnectionCounters) && !c.Gates.Enabled(features.ChainLayout) {
		done, err := countConnections(registry, conn, dataplane.IDs(tables), log)
		if err != nil {
			return err
		}
		defer done()
	}
	loaded := make(chan struct{})
	services := &controllers.ServiceReconciler{
		Cache: mgr.GetCache(), Sink: sink{programmer, health, meter}, Scope: c.Scope, Node: node.model, Problems: reporter.Problems, Loaded: loaded,
		HandOver: handOver,
	}
	if err := services.SetupWithManager(mgr); err != nil {
		return err
	}
	nodes := &controllers.NodeReconciler{Cache: mgr.GetCache(), Changed: node.changed, Services: services}
	if err := nodes.SetupWithManager(mgr); err != nil {
		return err
	}
	networks := &networks{set: programmer.SetNetworks, now: layout.Networks{Pods: c.Layout.PodCIDRs}}
	if c.PodCIDRsOfNode {
		node.pods = networks.setPods
	}
	plausible := &serviceCIDRs{set: networks.setServices, problems: reporter.ServiceCIDRs, taken: func() []proxy.Taken {
		return node.taken(c.Layout.PodCIDRs)
	}}
	reach.listen(plausible.dialed)
	node.renewed = plausible.look
	cidrs := &controllers.ServiceCIDRReconciler{Cache: mgr.GetCache(), Loaded: loaded, Changed: plausible.changed}
	// Where another proxy serves as well, addresses that are not ours may be its.
	refuse := c.Scope != proxy.ScopeLabelled
	if refuse {
		if err := cidrs.SetupWithManager(mgr); err != nil {
			return err
		}
	}
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		// What reads a cache waits until it is synced. The manager must know of no
		// cache before it starts: it would wait itself, and not end when it is told
		// to meanwhile.
		if err := controllers.IndexFields(ctx, mgr.GetCache()); err != nil {
			return err
		}
		without, err := reach.without(ctx, "nodes", func(ctx context.Context) error {
			if err := nodes.WaitForSync(ctx); err != nil {
				return err
			}
			return node.load(ctx, mgr.GetCache())
		})
		switch {
		case err != nil:
			return err
		case without:
			if err := node.start(ctx, nil); err != nil {
				return err
			}
		}
		if refuse {
			if _, err := reach.without(ctx, "servicecidrs.networking.k8s.io", func(ctx context.Context) error {
				if err := cidrs.WaitForSync(ctx); err != nil {
					return err
				}
				return cidrs.Load(ctx)
			}); err != nil {
				return err
			}
		}
		if err := services.Load(ctx); err != nil {
			return err
		}
		close(loaded)
		go node.watch(ctx, func() {
			if err := services.Load(ctx); err != nil {
				log.Error(err, "The node's addresses have changed, but not what depends on them")
			}
		})
		return programmer.Run(ctx, func() {
			if c.Scope == proxy.ScopeAll { // else another proxy sets them
				// Only now, as our tables load nf_conntrack where it is a module.
				reporter.Sysctls(setConntrack("/", c.Configuration.Conntrack, goruntime.NumCPU()))
			}
			ready.Store(true)
			log.Info("Services are programmed")
			close(started)
		})
	}))
	if err != nil {
		return err
	}
	for _, run := range []manager.RunnableFunc{
		flows.run,
		reporter.sendEvents,
		func(ctx context.Context) error { return monitor.Run(ctx, programmer.Suspect) },
	} {
		if err := mgr.Add(run); err != nil {
			return err
		}
	}
	if follow.comparer != nil {
		if err := mgr.Add(manager.RunnableFunc(follow.comparer.Run)); err != nil {
			return err
		}
	}
	if c.Follow != nil {
		go func() {
			if err := c.Follow(ctx, reporter.Configuration); err != nil {
				log.Error(err, "Changes of the configuration go unnoticed from now on")
			}
		}()
	}
	for _, s := range []struct {
		listener net.Listener
		handler  http.Handler
	}{{probes, health.handler()}, {shown, pages(c, registry, health.probes(), time.Now())}} {
		if s.listener == nil {
			continue
		}
		// Before anything is waited for.
		go func() {
			if err := serve(ctx, s.listener, s.handler); err != nil {
				log.Error(err, "No requests are answered at this address from now on", "address", s.listener.Addr().String())
			}
		}()
	}
	log.Info("Starting", "node", c.NodeName, "scope", c.Scope, "podCIDRs", c.Layout.PodCIDRs)
	for _, warning := range c.warnings() {
		log.Info("Warning: " + warning)
	}
	err = mgr.Start(ctx)
	if ctx.Err() != nil {
		// What was under way may fail for being given up.
		log.Info("Ended as told to; what is programmed stays")
		return nil
	}
	return err
}

func newManager(api *rest.Config, c Config, log logr.Logger, triggered func(proxy.Name, time.Time)) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{controllers.AddToScheme, eventsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	cacheOptions, err := controllers.CacheOptions(c.NodeName, c.Scope, triggered)
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(api, ctrl.Options{
		Scheme: scheme, Logger: log, Cache: cacheOptions, MapperProvider: controllers.Kinds,
		Metrics:                metricsserver.Options{BindAddress: "0"}, // and so have pages
		HealthProbeBindAddress: "0",                                     // health has its own
		LeaderElection:         false,                                   // every node programs its own kernel
		// The API server may stay away for as long as it likes.
		Controller: ctrlconfig.Controller{CacheSyncTimeout: math.MaxInt64, UsePriorityQueue: ptr.To(false)},
		// A client that waits before it tries again does not end before that.
		// Nothing is lost by leaving it: a commit is whole or has not begun.
		GracefulShutdownTimeout: ptr.To(2 * time.Second),
	})
}
