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
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

	mu     sync.Mutex
	object *corev1.Node
	now    Local
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
	n.changed(object)
	return nil
}

// changed takes over a Node object and says whether Services depend on what is
// new.
func (n *node) changed(object *corev1.Node) bool {
	local, err := FindLocal(n.config.NodeName, object, n.config.NodePortAddresses)
	if err != nil {
		n.log.Error(err, "Part of what is known of this node was left out")
	}
	local.MaxElements = n.config.Configuration.MaxServiceElements
	n.mu.Lock()
	matters := !n.now.Node.Equal(local.Node)
	if n.pods != nil && !slices.Equal(n.now.Pods, local.Pods) {
		n.pods(local.Pods)
		n.log.Info("Pods", "cidrs", local.Pods)
	}
	warned := slices.Equal(n.now.Warnings, local.Warnings)
	n.object, n.now = object, local
	n.mu.Unlock()
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

// watch calls moved when the machine's addresses have changed in a way that
// Services depend on, until the context ends.
func (n *node) watch(ctx context.Context, moved func()) {
	updates := make(chan netlink.AddrUpdate, 64)
	failed := func(err error) {
		if ctx.Err() == nil {
			n.log.Error(err, "Changes of this machine's addresses go unnoticed from now on")
		}
	}
	if err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: failed}); err != nil {
		failed(err)
		return
	}
	// Addresses come and go by the dozen when interfaces do.
	const settle = 50 * time.Millisecond
	var still <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-updates:
			if !open {
				return
			}
			still = time.After(settle)
		case <-still:
			still = nil
			n.mu.Lock()
			object := n.object
			n.mu.Unlock()
			if n.changed(object) {
				moved()
			}
		}
	}
}
