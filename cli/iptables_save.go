package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func newIptablesSave(o *options) *cobra.Command {
	s := &iptablesSaver{options: o}
	cmd := &cobra.Command{
		Use:   "iptables-save [NAMESPACE/NAME]",
		Short: "Print Services as kube-proxy's iptables rules",
		Long: `Prints the rules that kube-proxy 1.37 in iptables mode would have on this node for
the same Services, as iptables-save prints them: the same chain names, order,
comments and probabilities. With a Service only what belongs to it, as
"iptables-save | grep" would find it. Nothing is changed.

Services come from the API server; from manifests, with -f; or, with --from
kernel, from what this network namespace's kernel holds of ours. The kernel does
not know health check ports and the internal traffic policy, and takes the
addresses of load balancers without source ranges for external IPs.

What kube-proxy is told, --pod-cidrs, --pod-interface, --masquerade-all,
--nodeport-addresses and --masquerade-bit say; but without a flag the latter two
are kube-proxy's own: all addresses, and bit 14. A cluster's own rules are
compared best with their order left aside: kube-proxy's order of Services is
another each time.

The style "classic" is that of older releases and of most documents: rules that
masquerade are in KUBE-SERVICES, and the chains of Services and endpoints have no
comments.`,
		Example: `  kube-verdict iptables-save -f examples/dns-default.yaml --pod-cidrs 10.254.0.0/16
  kube-verdict iptables-save openshift-dns/dns-default --style classic
  kube-verdict iptables-save --from kernel --family ipv6
  kube-verdict iptables-save | iptables-restore --test`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.cmd = cmd
			return s.run(args)
		},
	}
	flags := cmd.Flags()
	s.source.addTo(flags)
	flags.StringVar(&s.from, "from", "", `"kernel": take the Services from what the kernel holds`)
	flags.StringVar(&s.family, "family", "ipv4", "ipv4 or ipv6")
	flags.StringVar(&s.style, "style", "current", "current (kube-proxy 1.37) or classic")
	return cmd
}

// iptablesSaver is one run of iptables-save.
type iptablesSaver struct {
	options             *options
	source              source
	cmd                 *cobra.Command
	from, family, style string
}

func (s *iptablesSaver) run(args []string) error {
	style, err := iptables.ParseStyle(s.style)
	if err != nil {
		return fmt.Errorf("--style: %w", err)
	}
	config := iptables.Config{Style: style, Accounting: style == iptables.Current, IPv6: s.family == "ipv6"}
	switch {
	case s.family != "ipv4" && s.family != "ipv6":
		return fmt.Errorf("--family %s: must be ipv4 or ipv6", s.family)
	case s.from != "" && s.from != "kernel":
		return fmt.Errorf(`--from %s: must be kernel; for manifests there is -f, and without either the API server is asked`, s.from)
	case s.from != "" && len(s.source.files) > 0:
		return errors.New("--from kernel or -f: not both at once")
	}
	var name types.NamespacedName
	if len(args) > 0 {
		if name, err = parseName(args[0]); err != nil {
			return err
		}
	}
	s.options.anyNodePorts = true
	var services []proxy.Service
	var wrong bool
	if s.from == "kernel" {
		services, err = s.kernel(&config)
	} else {
		services, wrong, err = s.objects(&config, name)
	}
	if err != nil {
		return err
	}
	var dump *iptables.Dump
	switch {
	case name.Name == "":
		dump = iptables.Render(services, config)
	case !slices.ContainsFunc(services, func(svc proxy.Service) bool { return svc.Name == proxy.Name(name) }):
		var known []*corev1.Service
		for _, svc := range services {
			known = append(known, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Name.Namespace, Name: svc.Name.Name}})
		}
		return noService(name, known)
	default:
		dump = iptables.RenderService(services, proxy.Name(name), config)
	}
	if _, err := dump.WriteTo(s.cmd.OutOrStdout()); err != nil {
		return err
	}
	if wrong {
		return errors.New("some input was left out (see above); the rules are those of the rest")
	}
	return nil
}

// objects are the Services of manifests or of the API server.
func (s *iptablesSaver) objects(config *iptables.Config, name types.NamespacedName) ([]proxy.Service, bool, error) {
	errs := s.cmd.ErrOrStderr()
	node, err := s.options.node()
	if err != nil {
		return nil, false, err
	}
	objects, err := s.source.read(s.cmd.Context(), s.cmd.InOrStdin(), errs, wanted{node: node, slicesOf: name})
	if err != nil {
		return nil, false, err
	}
	for _, text := range objects.notSeen {
		fmt.Fprintf(errs, "warning: not seen: %s\n", text)
	}
	input, err := s.options.input(objects.Objects, errs)
	if err != nil {
		return nil, false, err
	}
	layout, err := s.options.layout()
	if err != nil {
		return nil, false, err
	}
	layout.PodCIDRs = input.networks.Pods
	if err := s.configure(config, layout); err != nil {
		return nil, false, err
	}
	config.NodePortAddresses, config.AllNodePortAddresses, err = s.nodePortAddresses(objects.Nodes[node])
	return input.granted(errs), input.wrong, err
}

// nodePortAddresses are those that accept NodePorts; without the flag, all do.
func (s *iptablesSaver) nodePortAddresses(node *corev1.Node) (addrs []netip.Addr, all bool, err error) {
	o := *s.options
	o.anyNodePorts = false
	if !s.cmd.Flags().Changed("nodeport-addresses") || slices.Equal(o.config.NodePortAddresses, []string{"all"}) {
		return nil, true, nil
	}
	local, err := o.local(node)
	return local.NodePorts, false, err
}

// configure takes over what our tables are told.
func (s *iptablesSaver) configure(config *iptables.Config, layout layout.Config) error {
	config.MasqueradeAll = layout.MasqueradeAll
	config.Mark = iptables.DefaultMark
	if s.cmd.Flags().Changed("masquerade-bit") {
		config.Mark = 1 << layout.MasqueradeBit
	}
	if name, starts := strings.CutSuffix(layout.PodInterface, "*"); starts {
		config.PodInterface = name + "+"
	} else {
		config.PodInterface = name
	}
	for _, p := range layout.PodCIDRs {
		if p.Addr().Is6() != config.IPv6 || p.Bits() == 0 {
			continue // everything: nothing tells pods
		}
		if config.PodCIDR.IsValid() {
			return fmt.Errorf("kube-proxy tells pods by one CIDR of a family, and there are %s and %s: give one that has both with --pod-cidrs", config.PodCIDR, p)
		}
		config.PodCIDR = p
	}
	return nil
}
