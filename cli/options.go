package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/agent"
	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// options are the flags that all commands share.
type options struct {
	// config has the flags' values; fields without a flag are at their defaults.
	config config.Configuration
	// anyNodePorts has NodePorts in the model whatever the node's addresses are: at
	// the unspecified ones.
	anyNodePorts bool
}

func (o *options) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&o.config.NodeName, "node-name", "",
		"name of the Node object that stands for this machine (default: $NODE_NAME, else the host name)")
	flags.StringSliceVar(&o.config.DetectLocal.PodCIDRs, "pod-cidrs", o.config.DetectLocal.PodCIDRs,
		"addresses of the cluster's pods, IPv4 and IPv6, as in 10.244.0.0/16,fd00:10:244::/56, or \"node\" for those of this node's Node object; traffic to a ClusterIP from elsewhere is masqueraded (default: none is)")
	flags.StringSliceVar(&o.config.NodePortAddresses, "nodeport-addresses", o.config.NodePortAddresses,
		"addresses of this node that accept NodePort traffic, in any mix: CIDRs, primary (the Node's first of each family), all (but loopback and link-local ones), localhost; in a family that the list has no address of, all do")
	flags.StringVar(&o.config.DetectLocal.PodInterface, "pod-interface", "",
		"tell traffic from pods by the interface that it comes in by, not by --pod-cidrs: a bridge's name, or, with * at its end, what the names of pods' interfaces start with, as in cali*")
	flags.BoolVar(&o.config.MasqueradeAll, "masquerade-all", false,
		"masquerade all traffic to ClusterIPs, from pods as well")
	flags.IntVar(&o.config.MasqueradeBit, "masquerade-bit", o.config.MasqueradeBit,
		"bit of the packet mark, 0 to 31, for traffic to masquerade; no other software on the node may use it")
	flags.IntVar(&o.config.MaxServiceElements, "max-service-elements", o.config.MaxServiceElements,
		"map elements that one Service may take, about its addresses times its ports times the endpoints of each; a larger one is refused and keeps what it had; 0 for no bound")
}

// node is the name of this node, in lower case, as the kubelet and kube-proxy have it.
func (o *options) node() (string, error) {
	name := cmp.Or(o.config.NodeName, os.Getenv("NODE_NAME"))
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("no --node-name, no $NODE_NAME, and no host name: %w", err)
		}
	}
	if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
		return "", errors.New("the node's name is empty: name it with --node-name")
	}
	return name, nil
}

// layout is the configuration of the tables that the flags ask for.
func (o *options) layout() (layout.Config, error) {
	c := layout.Config{MasqueradeBit: o.config.MasqueradeBit, MasqueradeAll: o.config.MasqueradeAll, PodInterface: o.config.DetectLocal.PodInterface, Scope: proxy.ScopeAll}
	if o.podCIDRsOfNode() {
		c.PodCIDRs = agent.AnyPods()
	}
	for _, text := range o.config.DetectLocal.PodCIDRs {
		if text == config.PodCIDRsOfNode {
			if len(o.config.DetectLocal.PodCIDRs) > 1 {
				return c, fmt.Errorf("--pod-cidrs: %s stands alone: the Node object has the CIDRs", config.PodCIDRsOfNode)
			}
			break
		}
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return c, fmt.Errorf("--pod-cidrs: %q is not a CIDR such as 10.244.0.0/16: %w", text, err)
		}
		c.PodCIDRs = append(c.PodCIDRs, prefix)
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("flags: %w", err)
	}
	return c, nil
}

func (o *options) podCIDRsOfNode() bool {
	cidrs := o.config.DetectLocal.PodCIDRs
	return len(cidrs) == 1 && cidrs[0] == config.PodCIDRsOfNode
}

// local is what is known of this node: from its Node object, if there is one,
// else from the machine.
func (o *options) local(object *corev1.Node) (agent.Local, error) {
	name, err := o.node()
	if err != nil {
		return agent.Local{}, err
	}
	local, err := agent.FindLocal(name, object, o.config.NodePortAddresses)
	local.MaxElements = o.config.MaxServiceElements
	if o.anyNodePorts {
		local.NodePorts = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		local.Warnings = nil
	}
	return local, err
}
