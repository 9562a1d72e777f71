package agent

import (
	"net/netip"
	"sync"

	"github.com/kube-verdict/kube-verdict/nft/layout"
)

// networks are the cluster's, as they come from different objects.
type networks struct {
	set func(layout.Networks)

	mu  sync.Mutex
	now layout.Networks
}

func (n *networks) setPods(pods []netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now.Pods = pods
	n.set(n.now)
}

func (n *networks) setServices(services []netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now.Services = services
	n.set(n.now)
}
