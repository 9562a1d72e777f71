package agent

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// node is this node as it is known now.
type node struct {
	config Config
	log    logr.Logger

	// moved is told which addresses accept NodePort traffic.
	moved func([]netip.Addr)
	// pods is told of the pod CIDRs, if they are wanted.
	pods func([]netip.Prefix)
	// renewed is called when anything that is known has changed.
	renewed func()

	// again has watch read the addresses again; receiveBuffer is that of its socket in
	// bytes, 0 for the kernel's default.
	again         chan struct{}
	receiveBuffer int

	mu sync.Mutex
	// unlisted is whether the machine's addresses could not be listed the last time.
	unlisted bool
	// object is the Node object, nil while there is none; known is the last one that had
	// addresses, with them.
	object, known *corev1.Node
	now           Local
}

func newNode(config Config, log logr.Logger) *node {
	return &node{config: config, log: log, again: make(chan struct{}, 1), moved: func([]netip.Addr) {}, renewed: func() {}}
}

// nodePatience is how long a start waits for a Node object with addresses, as kube-proxy
// does: without, NodePorts would be served at addresses that are not the node's.
const nodePatience = 30 * time.Second

func (n *node) model() proxy.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now.Node
}

// taken are the networks that can't have ClusterIPs: the node's and its pods'.
func (n *node) taken(pods []netip.Prefix) []proxy.Taken {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now.Taken(pods, n.now.Pods)
}

// load takes over the Node object that the cache has, once it has addresses. What the
// kernel has stays meanwhile.
func (n *node) load(ctx context.Context, cache client.Reader) error {
	var object *corev1.Node
	told := false
	err := wait.PollUntilContextTimeout(ctx, nodePatience/300, nodePatience, true, func(ctx context.Context) (bool, error) {
		found := &corev1.Node{}
		switch err := cache.Get(ctx, client.ObjectKey{Name: n.config.NodeName}, found); {
		case apierrors.IsNotFound(err):
			object = nil
		case err != nil:
			return false, err
		default:
			object = found
		}
		if hasAddresses(object) {
			return true, nil
		}
		if !told {
			told = true
			n.log.Info("Waiting for the Node and its addresses; what is programmed stays meanwhile", "node", n.config.NodeName, "for", nodePatience.String())
		}
		return false, nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case wait.Interrupted(err):
		n.log.Info("There is no such Node, or it has no addresses: going on with this machine's addresses until it has", "node", n.config.NodeName)
	case err != nil:
		return err
	}
	return n.start(ctx, object)
}

// lasting is the Node object with what is known from before and is not in it now. A Node
// that is deleted, or made again and has no addresses yet, is the same machine: nothing
// it serves moves for that.
func (n *node) lasting(object *corev1.Node) *corev1.Node {
	switch {
	case object == nil:
		return n.known
	case n.known == nil || hasAddresses(object):
		return object
	}
	object = object.DeepCopy()
	object.Status.Addresses = n.known.Status.Addresses
	if len(object.Spec.PodCIDRs) == 0 {
		object.Spec.PodCIDR, object.Spec.PodCIDRs = n.known.Spec.PodCIDR, n.known.Spec.PodCIDRs
	}
	return object
}

func hasAddresses(object *corev1.Node) bool {
	if object == nil {
		return false
	}
	addresses, _ := addressesOf(object)
	return len(addresses) > 0
}

// changed takes over a Node object and reports whether Services depend on what is
// new.
func (n *node) changed(object *corev1.Node) bool {
	n.mu.Lock()
	gone := object == nil && n.object != nil
	known := n.lasting(object)
	n.mu.Unlock()
	if gone {
		n.log.Info("The Node object is gone: what is known of the node stays until there is another", "node", n.config.NodeName)
	}
	local, err := FindLocal(n.config.NodeName, known, n.config.NodePortAddresses)
	if err != nil {
		n.log.Error(err, "Part of what is known of this node was left out")
	}
	local.MaxElements = n.config.Configuration.MaxServiceElements
	n.mu.Lock()
	if !n.keep(&local, err) {
		n.object = object
		n.mu.Unlock()
		return false
	}
	matters := !n.now.Node.Equal(local.Node)
	if n.pods != nil && !slices.Equal(n.now.Pods, local.Pods) {
		n.pods(local.Pods)
		n.log.Info("Pods", "cidrs", local.Pods)
	}
	warned := slices.Equal(n.now.Warnings, local.Warnings)
	n.object, n.now = object, local
	if hasAddresses(known) {
		n.known = known
	}
	n.mu.Unlock()
	n.renewed()
	if !warned {
		for _, w := range local.Warnings {
			n.log.Info("NodePorts may not be where they are expected", "warning", w)
		}
	}
	if matters {
		n.log.Info("Node", "name", local.Name, "zone", local.Zone, "addresses", local.Addresses, "fromNodeObject", local.FromObject, "nodePorts", local.NodePorts)
		n.moved(local.NodePorts)
		n.checkLoopback(local.NodePorts)
	}
	return matters
}

// checkLoopback tells when NodePorts are wanted at a loopback address that the
// kernel keeps to itself.
func (n *node) checkLoopback(nodePorts []netip.Addr) {
	const setting = "/proc/sys/net/ipv4/conf/all/route_localnet"
	if !slices.ContainsFunc(nodePorts, netip.Addr.IsLoopback) {
		return
	}
	if value, err := os.ReadFile(setting); err == nil && strings.TrimSpace(string(value)) == "0" {
		n.log.Info("NodePorts do not answer at localhost: set the sysctl net.ipv4.conf.all.route_localnet to 1, and keep packets to 127.0.0.0/8 from other hosts out")
	}
}

// eligible says whether load balancers should send traffic here.
func (n *node) eligible() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return healthcheck.NodeEligible(n.object)
}
