package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/agent"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/explain"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/eval"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Whose rules a packet is followed through.
const (
	rulesKernel  = "kernel"
	rulesDesired = "desired"
)

// packet follows the packet that the flags describe.
func (e *explainer) packet() error {
	to, protocol, err := explain.ParseTo(e.to)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	if e.rules != "" && e.rules != rulesKernel && e.rules != rulesDesired {
		return fmt.Errorf("--rules %s: must be %s or %s", e.rules, rulesKernel, rulesDesired)
	}
	config, err := e.options.layout()
	if err != nil {
		return err
	}
	ruleset, err := e.ruleset(config)
	if err != nil {
		return err
	}
	world, err := newSurroundings(ruleset.node)
	if err != nil {
		return err
	}
	packet := eval.Packet{Dest: to, Protocol: uint8(protocol), In: e.in}
	if e.from == "node" {
		packet.Source = netip.AddrPortFrom(world.sourceTo(to.Addr()), ephemeral)
		if !packet.Source.Addr().IsValid() {
			return fmt.Errorf("--from node: this node has no address of the family of %s", to.Addr())
		}
	} else {
		from, err := netip.ParseAddr(e.from)
		if err != nil || from.Zone() != "" {
			return fmt.Errorf(`--from: %q is no address: write it as in 10.244.1.7 or fd00:10:244::7, or "node" for this node`, e.from)
		}
		packet.Source = netip.AddrPortFrom(from.Unmap(), ephemeral)
		if e.in == "" && !world.local(from.Unmap()) {
			packet.In = world.interfaceOf(from.Unmap())
		}
	}
	way, err := explain.Follow(ruleset.Ruleset, packet, eval.World{Local: world.local, SourceTo: world.sourceTo}, ruleset.services...)
	if err != nil {
		return err
	}
	way.Rules = ruleset.whose
	return e.print(way, way.Write)
}

// ephemeral is some port that a client may have.
const ephemeral = 40000

// ruleset is what to follow the packet through.
type ruleset struct {
	*eval.Ruleset
	whose string
	// services and node, which are this node's addresses, are what objects tell, if
	// they were read.
	services []proxy.Service
	node     []netip.Addr
}

func (e *explainer) ruleset(config layout.Config) (*ruleset, error) {
	if e.rules == rulesKernel || e.rules == "" && len(e.source.files) == 0 {
		kernel, err := readKernel(config, e.told())
		switch {
		case err == nil && kernel.any():
			return e.held(kernel)
		case e.rules == rulesKernel && err != nil:
			return nil, err
		case e.rules == rulesKernel:
			return nil, errors.New("the kernel holds no table of ours in this network namespace: nothing is programmed here (--rules desired follows what would be)")
		case err != nil:
			fmt.Fprintf(e.cmd.ErrOrStderr(), "warning: the kernel's rules can't be read, so that those are followed that are wanted: %v\n", err)
		}
	}
	r := &ruleset{whose: "the rules that are wanted"}
	networks, err := e.everything(r)
	if err != nil {
		return nil, err
	}
	contents, err := dataplane.Contents(maps.NewLayout(config), networks, r.services)
	r.Ruleset = eval.NewRuleset(contents...)
	return r, err
}

// everything reads the objects for a ruleset, and gives the cluster's networks.
func (e *explainer) everything(r *ruleset) (layout.Networks, error) {
	name, err := e.options.node()
	if err != nil {
		return layout.Networks{}, err
	}
	all, err := e.source.read(e.cmd.Context(), e.cmd.InOrStdin(), e.cmd.ErrOrStderr(), wanted{node: name})
	if err != nil {
		return layout.Networks{}, err
	}
	input, err := e.options.input(all.Objects, e.cmd.ErrOrStderr())
	if err != nil {
		return layout.Networks{}, err
	}
	local, err := e.options.local(all.Nodes[name])
	r.services, r.node = input.granted(e.cmd.ErrOrStderr()), slices.Concat(local.Addresses, local.NodePorts)
	return input.networks, err
}

// held is what the kernel holds, to be followed. Where Services have chains of
// their own, their rules are known by what the Services should have.
func (e *explainer) held(h *held) (*ruleset, error) {
	r := &ruleset{whose: "the rules that the kernel holds"}
	if h.ownChains() || len(e.source.files) > 0 {
		if _, err := e.everything(r); err != nil {
			return nil, fmt.Errorf("the kernel has chains for each Service, whose rules are known by the Services: %w (or give them with -f and --rules kernel)", err)
		}
	}
	var own []nft.OwnChain
	for i := range r.services {
		own = h.layout.OwnChains(own, &r.services[i])
	}
	var all []nft.Contents
	for _, t := range h.layout.Tables() {
		table := *t
		named := map[string]*nft.Chain{}
		for _, o := range own {
			if o.Table != t {
				continue
			}
			named[o.Chain.Name] = o.Chain
			if o.Set != nil {
				table.Sets = append(table.Sets[:len(table.Sets):len(table.Sets)], o.Set)
			}
		}
		c := eval.Held(&table, h.tables[t.ID()], func(name string) *nft.Chain {
			if chain := named[name]; chain != nil {
				return chain
			}
			return h.layout.Chain(t, name)
		})
		for _, set := range c.Sets {
			if remembered, ok := h.remembered[t.ID()][set.Name]; ok {
				c.Elements[set] = remembered
			}
		}
		all = append(all, c)
	}
	r.Ruleset = eval.NewRuleset(all...)
	return r, nil
}

// surroundings is what is known of the network around: this machine's, in this
// namespace, and what the Node object says.
type surroundings struct{ own, node []netip.Addr }

func newSurroundings(node []netip.Addr) (*surroundings, error) {
	own, err := agent.MachineAddresses()
	return &surroundings{own, node}, err
}

// local says that an address is the node's.
func (s *surroundings) local(a netip.Addr) bool {
	return a.IsLoopback() || slices.Contains(s.own, a) || slices.Contains(s.node, a)
}

// sourceTo is the address that the node has on the way to another one; its first,
// where no route tells.
func (s *surroundings) sourceTo(a netip.Addr) netip.Addr {
	if source, _ := agent.Route(a); source.IsValid() && slices.Contains(s.own, source) {
		return source
	}
	for _, own := range slices.Concat(s.node, s.own) {
		if own.Is4() == a.Is4() {
			return own
		}
	}
	return netip.Addr{}
}

// interfaceOf is where packets from an address come in: where packets to it go out.
func (s *surroundings) interfaceOf(a netip.Addr) string {
	if _, name := agent.Route(a); name != "" {
		return name
	}
	return "unknown"
}
