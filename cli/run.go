package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kube-verdict/kube-verdict/agent"
	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/plain"
)

func newRun(o *options) *cobra.Command {
	r := &runner{options: o}
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
servicecidrs.networking.k8s.io, and create and patch events.events.k8s.io. Every node runs its own; there is no leader.

A configuration file (--config) has all that flags have, and more; flags that are
given override it. It is watched: a change that is valid is taken over by a start
in place, in the same process and container, and the rules stay meanwhile; of one
that is not, an Event on the Node and the metric kube_verdict_configuration_invalid
tell, and what was before goes on.`,
		Example: `  kube-verdict run --kubeconfig /etc/kubernetes/admin.conf --pod-cidrs 10.244.0.0/16,fd00:10:244::/56
  kube-verdict run --node-name worker-1 -v 1      # in a pod: uses its service account
  kube-verdict run --write-config-to -            # all fields with their defaults
  kube-verdict run --config /etc/kube-verdict/config.yaml --scope shadow`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.flags = cmd.Flags()
			c, err := r.configuration()
			switch {
			case err != nil:
				return err
			case r.writeTo != "":
				return writeConfiguration(c, r.writeTo, cmd.OutOrStdout())
			}
			return r.run(cmd.Context(), c)
		},
	}
	c, flags := &o.config, cmd.Flags()
	flags.StringVar(&r.file, "config", "", "configuration file; flags that are given override it")
	flags.StringVar(&r.writeTo, "write-config-to", "", "write the configuration, as file and flags have it, to this file, or to standard output (-), and end")
	flags.StringVar(&c.ClientConnection.Kubeconfig, "kubeconfig", "", kubeconfigUsage)
	flags.StringVar(&c.MetricsBindAddress, "metrics-bind-address", c.MetricsBindAddress, "address for /metrics, /configz, /statusz, /flagz and probes; 0 for none")
	flags.StringVar(&c.HealthzBindAddress, "health-probe-bind-address", c.HealthzBindAddress, "address for /livez and /readyz, and /healthz as kube-proxy answers it to load balancers; 0 for none")
	flags.StringVar((*string)(&c.Scope), "scope", string(c.Scope), scopeUsage)
	flags.DurationVar(&c.ShadowPeriod.Duration, "shadow-period", c.ShadowPeriod.Duration, "in the scope shadow, the time between two comparisons with kube-proxy's rules; longer where one takes more than a fiftieth of it")
	flags.Var(cliflag.NewMapStringBool(&c.FeatureGates), "feature-gates", features.Usage())
	flags.IntVarP(&c.Logging.Verbosity, "verbosity", "v", 0, "log more: 1 for every batch of changes, 4 for the client's requests")
	return cmd
}

// runner is the command run with what it was told.
type runner struct {
	options       *options
	file, writeTo string
	flags         *pflag.FlagSet
}

// configuration is what file and flags say.
func (r *runner) configuration() (config.Configuration, error) {
	c := r.options.config
	if r.file != "" {
		var err error
		if c, err = config.Load(r.file); err != nil {
			return c, err
		}
		c.Override(r.options.config, r.flags)
	}
	return c, config.Explain(c.Validate(), r.flags)
}

func writeConfiguration(c config.Configuration, path string, out io.Writer) error {
	text, err := config.Encode(c)
	switch {
	case err != nil:
		return err
	case path == "-":
		_, err = out.Write(text)
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// errChanged ends the agent for the sake of another configuration.
var errChanged = errors.New("the configuration has changed")

func (r *runner) run(ctx context.Context, c config.Configuration) error {
	settings, err := r.settings(c)
	if err != nil {
		return err
	}
	api, err := apiConfig(c.ClientConnection)
	if err != nil {
		return err
	}
	logger := newLogger(c.Logging, os.Stderr)
	log := zapr.NewLogger(logger)
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if r.file != "" {
		settings.Follow = func(ctx context.Context, invalid func(error)) error {
			return manifests.Watch(ctx, []string{r.file}, func() {
				now, err := r.configuration()
				invalid(err)
				if err == nil && !reflect.DeepEqual(now, c) {
					log.Info("The configuration has changed; starting again in place", "file", r.file)
					stop(errChanged)
				}
			}, nil, nil)
		}
	}
	err = agent.Run(ctx, api, settings, log)
	if err == nil && errors.Is(context.Cause(ctx), errChanged) {
		_ = logger.Sync()
		return fmt.Errorf("start again with another configuration: %w", unix.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	return err
}

// settings are the configuration as the agent takes it.
func (r *runner) settings(c config.Configuration) (agent.Config, error) {
	o := &options{config: c}
	settings := agent.Config{
		Configuration: c, Flags: r.flags, Version: version,
		Scope: c.Scope, NodePortAddresses: c.NodePortAddresses, PodCIDRsOfNode: o.podCIDRsOfNode(),
		ShadowPeriod: c.ShadowPeriod.Duration, MetricsAddress: c.MetricsBindAddress, HealthAddress: c.HealthzBindAddress,
	}
	var err error
	if settings.Gates, err = c.Gates(); err != nil {
		return settings, err
	}
	if settings.NodeName, err = o.node(); err != nil {
		return settings, err
	}
	settings.Layout, err = o.layout()
	return settings, err
}

const scopeUsage = `which Services are ours:
shadow    those of "all", but packets pass by what is programmed: another proxy serves
labelled  those with the label service.kubernetes.io/service-proxy-name: kube-verdict, which kube-proxy leaves alone,
          and those with kubeverdict.io/serve: "true", which kube-proxy has as well
all       all but those that this label gives to another proxy
`

func newLogger(logging config.Logging, w io.Writer) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.ISO8601TimeEncoder
	c.EncodeLevel = func(level zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
		if level < zapcore.DebugLevel {
			level = zapcore.DebugLevel // all of -v's levels are called debug
		}
		zapcore.LowercaseLevelEncoder(level, to)
	}
	encoder := zapcore.NewJSONEncoder(c)
	if logging.Format == config.FormatText {
		encoder = zapcore.NewConsoleEncoder(c)
	}
	to := zapcore.Lock(zapcore.AddSync(plain.NewWriter(w)))
	return zap.New(zapcore.NewCore(encoder, to, zapcore.Level(-logging.Verbosity)), zap.AddCaller(), zap.ErrorOutput(to))
}
