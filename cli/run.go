package cli

import (
	"fmt"
	"time"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kube-verdict/kube-verdict/agent"
	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/shadow"
)

// Default addresses. kube-proxy, which may run beside, has 10249 and 10256.
const (
	defaultMetricsAddress = "127.0.0.1:10349"
	defaultHealthAddress  = ":10356"
)

func newRun(o *options) *cobra.Command {
	var kubeconfig string
	var verbosity int
	gates := map[string]bool{}
	c := agent.Config{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Follow the API server and program this node's kernel",
		Long: `Follows Services, EndpointSlices and this node's Node, and keeps the kernel's
tables as they say, until it is ended (SIGTERM, SIGINT). The rules stay when it
ends: connections go on, and the next start takes them over. To remove them:
kube-verdict cleanup. Tables of another layout (feature gate ChainLayout) are
replaced in one transaction, and connections go on.

It needs CAP_NET_ADMIN in the node's network namespace, and may list and watch
services, nodes, endpointslices.discovery.k8s.io and
servicecidrs.networking.k8s.io, and create and patch events.events.k8s.io. Every node runs its own; there is no leader.`,
		Example: `  kube-verdict run --kubeconfig /etc/kubernetes/admin.conf --pod-cidrs 10.244.0.0/16,fd00:10:244::/56
  kube-verdict run --node-name worker-1 -v 1      # in a pod: uses its service account`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			gate := features.New()
			err := gate.SetFromMap(gates)
			if err != nil {
				return fmt.Errorf("--feature-gates: %w (kube-verdict run --help lists them)", err)
			}
			c.Gates = gate
			if err := c.Scope.Validate(); err != nil {
				return fmt.Errorf("--%w", err)
			}
			if c.ShadowPeriod < time.Second {
				return fmt.Errorf("--shadow-period %s: must be a second or more", c.ShadowPeriod)
			}
			if c.NodeName, err = o.node(); err != nil {
				return err
			}
			if c.Layout, err = o.layout(); err != nil {
				return err
			}
			c.NodePortAddresses, c.PodCIDRsOfNode = o.nodePortAddresses, o.podCIDRsOfNode()
			if _, err := agent.FindLocal(c.NodeName, nil, c.NodePortAddresses); err != nil {
				return err
			}
			api, err := apiConfig(kubeconfig)
			if err != nil {
				return err
			}
			logger, err := newLogger(verbosity)
			if err != nil {
				return err
			}
			log := zapr.NewLogger(logger)
			ctrl.SetLogger(log)
			klog.SetLogger(log.WithName("client-go"))
			return agent.Run(cmd.Context(), api, c, log)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server (default: $KUBECONFIG, else the pod's service account)")
	flags.StringVar(&c.MetricsAddress, "metrics-bind-address", defaultMetricsAddress, "address for /metrics; 0 for none")
	flags.StringVar(&c.HealthAddress, "health-probe-bind-address", defaultHealthAddress, "address for /livez and /readyz, and /healthz as kube-proxy answers it to load balancers; 0 for none")
	flags.StringVar((*string)(&c.Scope), "scope", string(proxy.ScopeAll), scopeUsage)
	flags.DurationVar(&c.ShadowPeriod, "shadow-period", shadow.DefaultPeriod, "in the scope shadow, the time between two comparisons with kube-proxy's rules; longer where one takes more than a fiftieth of it")
	flags.Var(cliflag.NewMapStringBool(&gates), "feature-gates", features.Usage())
	flags.IntVarP(&verbosity, "verbosity", "v", 0, "log more: 1 for every batch of changes, 4 for the client's requests")
	return cmd
}

const scopeUsage = `which Services are ours:
shadow    those of "all", but packets pass by what is programmed: another proxy serves
labelled  those with the label service.kubernetes.io/service-proxy-name: kube-verdict, which kube-proxy leaves alone
all       all but those that this label gives to another proxy
`

// apiConfig is the way to the API server: the file named by the flag, else by
// $KUBECONFIG, else what a pod is given.
func apiConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w (give --kubeconfig FILE, set KUBECONFIG, or run in a pod)", err)
	}
	// The work is watches and a few Events.
	config.UserAgent = rest.DefaultKubernetesUserAgent()
	return config, nil
}

func newLogger(verbosity int) (*zap.Logger, error) {
	c := zap.NewProductionConfig()
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.EncoderConfig.EncodeLevel = func(level zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
		if level < zapcore.DebugLevel {
			level = zapcore.DebugLevel // all of -v's levels are called debug
		}
		zapcore.LowercaseLevelEncoder(level, to)
	}
	c.Level = zap.NewAtomicLevelAt(zapcore.Level(-verbosity))
	c.DisableStacktrace = true
	c.Sampling = nil
	return c.Build()
}
