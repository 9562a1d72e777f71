package cli

import (
	"cmp"
	"fmt"
	gomaps "maps"
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
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/trace"
	"github.com/kube-verdict/kube-verdict/view"
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
// say they were made with, but for flags that were given: those come first.
func readKernel(flags layout.Config, given func(flag string) bool) (*held, error) {
	conn, err := kernel.Open(0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	h := &held{config: flags, tables: map[nft.ID]*nft.Held{}, remembered: map[nft.ID]map[string][]nft.Element{}, connections: map[nft.ID][]connections.Count{}}
	counted := false
	services, _ := maps.Counted()
	var all []*nft.Held
	for _, id := range dataplane.IDs(maps.NewLayout(flags)) {
		table, err := conn.Read(id)
		if err != nil {
			return nil, err
		}
		if table == nil {
			continue
		}
		all = append(all, table)
		h.tables[id] = table
		if s := table.Sets[services]; s != nil && s.Counted {
			counted = true
			if h.connections[id], err = connections.New(conn, id).Counts(); err != nil {
				return nil, err
			}
		}
		if h.remembered[id], err = remember(conn, table); err != nil {
			return nil, err
		}
	}
	stored, name, ok := layout.StoredIn(all)
	if h.told = ok; ok {
		h.config = stored
	} else if h.any() {
		h.config.PodCIDRs = h.podCIDRs() // of an older release
	}
	for flag, take := range map[string]func(){
		"pod-cidrs":      func() { h.config.PodCIDRs = flags.PodCIDRs },
		"pod-interface":  func() { h.config.PodInterface = flags.PodInterface },
		"masquerade-all": func() { h.config.MasqueradeAll = flags.MasqueradeAll },
		"masquerade-bit": func() { h.config.MasqueradeBit = flags.MasqueradeBit },
	} {
		if given(flag) {
			take()
		}
	}
	h.config.Scope, h.config.Counted = stored.Scope, counted
	h.layout = maps.NewLayout(h.config)
	if name == layout.Chains || !ok && slices.ContainsFunc(all, func(t *nft.Held) bool { return t.Sets["nodeports"] != nil }) {
		h.layout = chains.NewLayout(h.config)
	}
	return h, nil
}

// remember reads what rules have written into sets, and gives it by set.
func remember(conn *kernel.Conn, table *nft.Held) (map[string][]nft.Element, error) {
	all := map[string][]nft.Element{}
	for name, set := range table.Sets {
		if set.Flags&unix.NFT_SET_EVAL == 0 {
			continue // all of it has been read
		}
		elements, err := conn.Elements(table.ID, name)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", table.ID, err)
		}
		all[name], set.Elements = elements, elements
	}
	return all, nil
}

// any says whether there is a table of ours.
func (h *held) any() bool { return len(h.tables) > 0 }

// scope is the scope that the tables were made for.
func (h *held) scope() proxy.Scope { return cmp.Or(h.config.Scope, proxy.ScopeAll) }

// passedBy is what is said of tables that packets pass by.
const passedBy = "Packets pass by these tables (scope shadow): this is what they would do."

// engaged are our tables as they are when packets do not pass by them, and whether
// packets do.
func (h *held) engaged() (tables []*nft.Held, bypassed bool, err error) {
	for _, t := range h.layout.Tables() {
		held := h.tables[t.ID()]
		if held == nil {
			continue
		}
		if held.Bypassed() {
			bypassed = true
			whole, err := (&nft.Contents{Table: t}).Held()
			if err != nil {
				return nil, false, err
			}
			copied := *held
			held, copied.Chains = &copied, gomaps.Clone(held.Chains)
			for name, c := range whole.Chains {
				if held.Chains[name] != nil && c.Base != nil {
					held.Chains[name] = c
				}
			}
		}
		tables = append(tables, held)
	}
	return tables, bypassed, nil
}

// view is what our tables do.
func (h *held) view(o walk.Options) (v view.View, bypassed bool, err error) {
	tables, bypassed, err := h.engaged()
	v = view.View{}
	for _, t := range tables {
		walk.Compile(t).AddTo(v, o)
	}
	return v, bypassed, err
}

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
