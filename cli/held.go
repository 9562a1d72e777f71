package cli

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/connections"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/trace"
)

// held is what the kernel of this network namespace has of ours.
type held struct {
	layout dataplane.Layout
	// config is what the layout was made with; told says that the tables told it.
	config layout.Config
	told   bool
	tables map[nft.ID]*nft.Held
	// remembered are the clients that session affinity keeps, by table and set.
	remembered map[nft.ID]map[string][]nft.Element
	// connections are those that the maps have counted, by table, if they count.
	connections map[nft.ID][]connections.Count
}

// readKernel reads our tables. The layout and its configuration are those that they
// were made with, if that can be told; flags that are asked for come first.
func readKernel(config layout.Config, asked bool) (*held, error) {
	conn, err := kernel.Open(0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	h := &held{tables: map[nft.ID]*nft.Held{}, remembered: map[nft.ID]map[string][]nft.Element{}, connections: map[nft.ID][]connections.Count{}}
	var all []*nft.Held
	counted := false
	services, _ := maps.Counted()
	for _, t := range maps.NewLayout(config).Tables() {
		table, err := conn.Read(t.ID())
		if err != nil {
			return nil, err
		}
		all = append(all, table)
		if table == nil {
			continue
		}
		h.tables[t.ID()], h.remembered[t.ID()] = table, map[string][]nft.Element{}
		if s := table.Sets[services]; s != nil && s.Counted {
			counted = true
			if h.connections[t.ID()], err = connections.New(conn, t.ID()).Counts(); err != nil {
				return nil, err
			}
		}
		for name, set := range table.Sets {
			if set.Flags&unix.NFT_SET_EVAL == 0 {
				continue // all of it has been read
			}
			if h.remembered[t.ID()][name], err = conn.Elements(t.ID(), name); err != nil {
				return nil, fmt.Errorf("table %s: %w", t.ID(), err)
			}
		}
	}
	signs := maps.Signs()
	tall := slices.ContainsFunc(all, func(t *nft.Held) bool { return t != nil && t.Sets["nodeports"] != nil })
	if tall {
		signs = chains.Signs()
	}
	h.config = config
	if found, ok := signs.ConfigOf(all); ok && !asked {
		h.config, h.told = found, true
	}
	h.config.Counted = counted
	h.layout = maps.NewLayout(h.config)
	if tall {
		h.layout = chains.NewLayout(h.config)
	}
	return h, nil
}

// any says whether there is a table of ours.
func (h *held) any() bool { return len(h.tables) > 0 }

// ownChains says that the rules of single Services are in chains of their own, which
// only the Services tell.
func (h *held) ownChains() bool { return h.layout.Memory(h.layout.Tables()[0]).Remembered == nil }

// nodePorts are the addresses at which the tables have NodePorts of these Services,
// in order.
func (h *held) nodePorts(services []*corev1.Service) []netip.Addr {
	ports := map[string]map[uint16]bool{}
	others := map[netip.Addr]bool{} // at which a port may have the same number
	for _, svc := range services {
		own := map[uint16]bool{}
		for _, p := range svc.Spec.Ports {
			own[uint16(p.NodePort)] = p.NodePort != 0
		}
		ports[svc.Namespace+"/"+svc.Name] = own
		for _, text := range slices.Concat(svc.Spec.ClusterIPs, []string{svc.Spec.ClusterIP}, svc.Spec.ExternalIPs) {
			if addr, err := netip.ParseAddr(text); err == nil {
				others[addr] = true
			}
		}
		for _, i := range svc.Status.LoadBalancer.Ingress {
			if addr, err := netip.ParseAddr(i.IP); err == nil {
				others[addr] = true
			}
		}
	}
	var tables []*nft.Held
	for _, t := range h.tables {
		tables = append(tables, t)
	}
	var all []netip.Addr
	for _, f := range trace.Frontends(tables) {
		if at := f.At(); ports[f.Name()][at.Port()] && !others[at.Addr()] {
			all = append(all, at.Addr())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
