package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/agent"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/explain"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Whose rules a packet is followed through.
const (
	rulesKernel  = "kernel"
	rulesProxy   = "kube-proxy"
	rulesDesired = "desired"
)

// packet follows the packet that the flags describe.
func (e *explainer) packet() error {
	to, protocol, err := explain.ParseTo(e.to)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	if !slices.Contains([]string{"", rulesKernel, rulesProxy, rulesDesired}, e.rules) {
		return fmt.Errorf("--rules %s: must be %s, %s or %s", e.rules, rulesKernel, rulesProxy, rulesDesired)
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
	packet := walk.Packet{Dest: to, Protocol: uint8(protocol), In: e.in}
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
	way, err := explain.Follow(ruleset.of(to.Addr()), packet, walk.World{Local: world.local, SourceTo: world.sourceTo}, kubeproxy.PortOfChain, ruleset.services...)
	if err != nil {
		return err
	}
	way.Rules, way.Notes = ruleset.whose, ruleset.notes
	return e.print(way, way.Write)
}

// ephemeral is some port that a client may have.
const ephemeral = 40000

// ruleset is what to follow the packet through.
type ruleset struct {
	tables []*nft.Held
	whose  string
	notes  []string
	// services and node, which are this node's addresses, are what objects tell, if
	// they were read.
	services []proxy.Service
	node     []netip.Addr
}

// of are the tables of an address's family, ready to be followed.
func (r *ruleset) of(addr netip.Addr) *walk.Ruleset {
	tables := slices.DeleteFunc(slices.Clone(r.tables), func(t *nft.Held) bool { return t.Family != nft.FamilyOf(addr) })
	return walk.Compile(tables...)
}

func (e *explainer) ruleset(config layout.Config) (*ruleset, error) {
	if e.rules == rulesDesired || e.rules == "" && len(e.source.files) > 0 {
		return e.desired(config)
	}
	r, err := e.installed(config)
	switch {
	case err == nil && len(r.tables) > 0:
		if len(e.source.files) > 0 {
			_, err = e.everything(r)
		}
		return r, err
	case e.rules != "" && err != nil:
		return nil, err
	case e.rules == rulesProxy:
		return nil, errors.New("kube-proxy has no nftables rules in this network namespace; those of its iptables mode are compared by kube-verdict diff")
	case e.rules == rulesKernel:
		return nil, errors.New("the kernel holds no table of ours in this network namespace: nothing is programmed here (--rules desired follows what would be)")
	case err != nil:
		fmt.Fprintf(e.cmd.ErrOrStderr(), "warning: the kernel's rules can't be read, so that those are followed that are wanted: %v\n", err)
	}
	return e.desired(config)
}

// installed are the kernel's tables of Service traffic: ours together with kube-proxy's,
// as packets meet both; those that packets pass by, as they would be without that.
func (e *explainer) installed(config layout.Config) (*ruleset, error) {
	kernel, err := readKernel(config, e.cmd.Flags().Changed)
	if err != nil {
		return nil, err
	}
	theirs, err := kubeproxy.Tables()
	if err != nil {
		return nil, err
	}
	ours, bypassed, err := kernel.engaged()
	r := &ruleset{tables: ours, whose: "the rules that the kernel holds"}
	switch {
	case e.rules == rulesProxy || len(ours) == 0:
		r.tables, r.whose = theirs, "kube-proxy's rules in the kernel"
	case bypassed:
		r.notes = append(r.notes, passedBy)
		if len(theirs) > 0 {
			r.notes = append(r.notes, "--rules kube-proxy follows the rules that are in force.")
		}
	default:
		r.tables = append(r.tables, theirs...)
		if len(theirs) > 0 {
			r.whose += ", ours and kube-proxy's"
		}
	}
	return r, err
}

// desired are the tables that objects ask for.
func (e *explainer) desired(config layout.Config) (*ruleset, error) {
	r := &ruleset{whose: "the rules that are wanted"}
	networks, err := e.everything(r)
	if err != nil {
		return nil, err
	}
	contents, err := dataplane.Contents(maps.NewLayout(config), networks, r.services)
	if err != nil {
		return nil, err
	}
	for i := range contents {
		held, err := contents[i].Held()
		if err != nil {
			return nil, err
		}
		r.tables = append(r.tables, held)
	}
	return r, nil
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
