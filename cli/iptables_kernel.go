package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// kernel are the Services that our tables in the kernel are of.
func (s *iptablesSaver) kernel(config *iptables.Config) ([]proxy.Service, error) {
	asked, err := s.options.layout()
	if err != nil {
		return nil, err
	}
	h, err := readKernel(asked, s.cmd.Flags().Changed)
	if err != nil {
		return nil, err
	}
	if !h.any() {
		return nil, errors.New(`the kernel has no table of kube-verdict in this network namespace: "run" or "apply" makes them`)
	}
	have, _, err := h.view(walk.Options{})
	if err != nil {
		return nil, err
	}
	// Once more, with what shows in it: which addresses are this node's.
	known := h.kinds(have)
	if have, _, err = h.view(walk.Options{NodeAddrs: known.nodeAddrs, NodePort: known.nodePort}); err != nil {
		return nil, err
	}
	services, unknown := view.Model(have, func(key view.Key) view.Origin { return known.origin(key, have[key]) })
	for _, key := range unknown {
		fmt.Fprintf(s.cmd.ErrOrStderr(), "warning: the kernel does not say which Service %s is of; it is left out\n", key)
	}
	tables := h.config
	if !s.cmd.Flags().Changed("pod-cidrs") {
		tables.PodCIDRs = h.podCIDRs()
	}
	if err := s.configure(config, tables); err != nil {
		return nil, err
	}
	config.NodePortAddresses, config.AllNodePortAddresses, err = s.nodePortAddresses(nil)
	return services, err
}

// podCIDRs are those that our tables have.
func (h *held) podCIDRs() []netip.Prefix {
	var all []netip.Prefix
	for _, id := range dataplane.IDs(maps.NewLayout(h.config)) {
		held := h.tables[id]
		if held == nil || held.Sets["pod-cidrs"] == nil {
			continue
		}
		for _, e := range held.Sets["pod-cidrs"].Elements {
			first, ok1 := netip.AddrFromSlice([]byte(e.Key))
			last, ok2 := netip.AddrFromSlice([]byte(e.KeyEnd))
			if ok1 && ok2 {
				all = append(all, view.Range(first, last)...)
			}
		}
	}
	return all
}

// kinds tell by our tables what kind of frontend each is: ClusterIPs are in a set,
// source ranges are those of load balancers, and a NodePort has another number than
// its Service's port.
type kinds struct {
	clusterIPs map[netip.Addr]bool
	seen       map[view.Key]bool
	nodePorts  map[view.Key]bool
	nodeAddrs  []netip.Addr
}

func (h *held) kinds(have view.View) *kinds {
	k := &kinds{clusterIPs: map[netip.Addr]bool{}, nodePorts: map[view.Key]bool{}, seen: map[view.Key]bool{}}
	for _, table := range h.tables {
		if set := table.Sets["cluster-ips"]; set != nil {
			for _, e := range set.Elements {
				if addr, ok := netip.AddrFromSlice([]byte(e.Key)); ok {
					k.clusterIPs[addr] = true
				}
			}
		}
		if set := table.Sets["no-endpoints-nodeport"]; set != nil {
			for _, e := range set.Elements {
				n := table.Family.AddrLen()
				if addr, ok := netip.AddrFromSlice([]byte(e.Key[:min(n, len(e.Key))])); ok {
					k.add(addr)
				}
			}
		}
	}
	type port struct {
		service  string
		protocol proxy.Protocol
	}
	numbers := map[port]uint16{}
	for key, p := range have {
		k.seen[key] = true
		if k.clusterIPs[key.Addr] {
			numbers[port{p.Service, key.Protocol}] = key.Port
		}
	}
	for key, p := range have {
		if number := numbers[port{p.Service, key.Protocol}]; !k.clusterIPs[key.Addr] && number != 0 && number != key.Port {
			k.nodePorts[key] = true
			k.add(key.Addr)
		}
	}
	return k
}

func (k *kinds) add(addr netip.Addr) {
	if !slices.Contains(k.nodeAddrs, addr) {
		k.nodeAddrs = append(k.nodeAddrs, addr)
	}
}

// nodePort says that a frontend is a NodePort. One that nothing was seen of before
// it was known which addresses are the node's has no endpoint, and is one.
func (k *kinds) nodePort(key view.Key) bool { return k.nodePorts[key] || !k.seen[key] }

func (k *kinds) origin(key view.Key, p view.Port) view.Origin {
	switch {
	case k.clusterIPs[key.Addr]:
		return view.Origin{Kind: proxy.ClusterIP, InternalLocal: p.Fate == view.Dropped}
	case len(p.Sources) > 0:
		return view.Origin{Kind: proxy.LoadBalancerIP}
	}
	return view.Origin{Kind: proxy.ExternalIP}
}
