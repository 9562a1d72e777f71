package explain

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-verdict/kube-verdict/connections"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Layout is the shape of our tables. There are two: nft/maps and nft/chains.
type Layout interface {
	// Tables are the tables as they are for every set of Services.
	Tables() []*nft.Table
	// Elements appends what a Service adds to sets and maps.
	Elements(to []nft.Placed, svc *proxy.Service) []nft.Placed
	// InSlots has a Service's endpoints in the order of the slots that they have in
	// the kernel.
	InSlots(svc proxy.Service, old *proxy.Service, held layout.Lookup) proxy.Service
	// OwnChains appends the chains that a Service has for itself.
	OwnChains(to []nft.OwnChain, svc *proxy.Service) []nft.OwnChain
	// Chain makes a chain that several Services may lead to, or nil.
	Chain(t *nft.Table, name string) *nft.Chain
	// Memory is where clients are remembered.
	Memory(t *nft.Table) layout.Memory
}

// Input is what a Report is made from.
type Input struct {
	Service *corev1.Service
	// Slices are all of the Service's.
	Slices []*discoveryv1.EndpointSlice
	Node   proxy.Node
	// Others are all other Services, which may have some of its frontends.
	Others []proxy.Service
	Layout Layout
	// Scope is the one that the kernel's tables were made for, and Config how they tell
	// pods.
	Scope  proxy.Scope
	Config view.Config
	// Kernel is what the kernel has of our tables; nil if it could not be read. Met is
	// the same as packets meet it, or would in the scope shadow.
	Kernel map[nft.ID]*nft.Held
	Met    []*nft.Held
	// Remembered are the clients that session affinity keeps, by table and set.
	Remembered map[nft.ID]map[string][]nft.Element
	// Connections are those that the maps have counted, by table; nothing of a table
	// whose maps don't count.
	Connections map[nft.ID][]connections.Count
	// NotSeen is what could not be looked at, and why.
	NotSeen []string
}

// Of makes the Report of a Service.
func Of(in Input) *Report {
	r := of(in)
	r.Verdict = r.verdict()
	return r
}

func of(in Input) *Report {
	svc := in.Service
	b := &builder{input: &in, node: in.Node, name: proxy.Name{Namespace: svc.Namespace, Name: svc.Name}}
	r := &Report{
		Service: b.name.String(), Node: in.Node.Name, Zone: in.Node.Zone, NotSeen: in.NotSeen,
		Definition: definition(svc), Selector: svc.Spec.Selector, Pods: b.pods(), Ports: []Port{}, Kernel: Kernel{State: Unknown},
	}
	if !proxy.Handles(svc, cmp.Or(in.Scope, proxy.ScopeAll)) {
		r.NotOurs = notOurs(svc)
		return r
	}
	model, explanation, problems := proxy.Explain(svc, in.Slices, in.Node)
	for _, p := range problems {
		r.Problems = append(r.Problems, p.String())
	}
	cluster := proxy.NewCluster()
	for _, other := range in.Others {
		cluster.Set(other)
	}
	cluster.Set(model)
	granted, _ := cluster.Granted(b.name)
	for _, c := range cluster.Conflicts(b.name) {
		r.Conflicts = append(r.Conflicts, c.String())
	}
	for i := range explanation.LeftOut {
		e := &explanation.LeftOut[i]
		r.LeftOut = append(r.LeftOut, Endpoint{Pod: b.pod(e.Origin), Cluster: b.standing(e, e.Cluster, nil)})
	}
	kernel := b.compare(&granted)
	for i := range explanation.Ports {
		r.Ports = append(r.Ports, b.port(&explanation.Ports[i], &granted, kernel))
	}
	r.Kernel = kernel.result
	return r
}

// builder is one run of Of.
type builder struct {
	input *Input
	node  proxy.Node
	name  proxy.Name
}

// notOurs says why a Service's traffic is not ours.
func notOurs(svc *corev1.Service) string {
	switch name := svc.Labels[proxy.LabelProxyName]; {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Sprintf("it is of the type ExternalName: DNS answers for it with %s, and no proxy is asked", svc.Spec.ExternalName)
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return "it is headless (clusterIP: None): DNS answers with the addresses of its pods, and no proxy is asked"
	case name != "":
		return fmt.Sprintf("its label %s says that the proxy %q serves it", proxy.LabelProxyName, name)
	}
	return fmt.Sprintf("this node's tables serve only Services with the label %s=true, or that name this proxy (scope labelled); another proxy serves this one", proxy.LabelServe)
}

// port is one Service port in one family.
func (b *builder) port(x *proxy.PortExplanation, granted *proxy.Service, kernel *compared) Port {
	out := Port{Name: x.Name, Protocol: x.Protocol.String(), Port: int(x.Port), Family: familyName(x.IPv4), Hints: "none",
		Frontends: []Frontend{}, Cascades: []Cascade{}, Endpoints: []Endpoint{}, Elements: []Element{}}
	switch {
	case x.ByNode:
		out.Hints = "node"
	case x.ByZone:
		out.Hints = "zone"
	}
	var ways []*proxy.Port
	for i := range granted.Ports {
		if p := &granted.Ports[i]; p.Name == x.Name && p.Protocol == x.Protocol && p.Frontends[0].Addr.Is4() == x.IPv4 {
			ways = append(ways, p)
		}
	}
	full := fullName(b.name, x.Name)
	cluster, local := false, false
	for _, p := range ways {
		cluster = cluster || !p.InternalLocal
		local = local || p.InternalLocal || p.LocalOnly
		for _, e := range kernel.elements[p] {
			if !slices.Contains(out.Elements, e) {
				out.Elements = append(out.Elements, e)
			}
		}
		for _, f := range p.Frontends {
			out.Frontends = append(out.Frontends, frontend(full, p, f))
		}
	}
	for _, p := range ways {
		for _, c := range kernel.own[p] {
			if !slices.ContainsFunc(out.Chains, func(o Chain) bool { return o.Name == c.Name && o.Table == c.Table }) {
				out.Chains = append(out.Chains, c)
			}
		}
	}
	// As they are in the tables: set by set.
	order := map[string]int{}
	for i, e := range out.Elements {
		if _, has := order[e.Set]; !has {
			order[e.Set] = i
		}
	}
	slices.SortStableFunc(out.Elements, func(a, b Element) int { return cmp.Compare(order[a.Set], order[b.Set]) })
	out.Cascades = cascades(full, ways)
	clients := b.clients(ways, x, full)
	counts := b.connections(x, full)
	out.Connections = counts.of(netip.AddrPort{})
	for i := range x.Endpoints {
		e := &x.Endpoints[i]
		ep := Endpoint{Pod: b.pod(e.Origin), Endpoint: e.String(), Clients: clients[e.AddrPort], Connections: counts.of(e.AddrPort)}
		if e.Cluster == proxy.OtherPort {
			ep.Endpoint = e.Addr().String()
		} else {
			ep.Chain = iptables.EndpointChain(full, x.Protocol, e.AddrPort)
		}
		if cluster || !local {
			ep.Cluster = b.standing(e, e.Cluster, x)
		}
		if local {
			ep.Local = b.standing(e, e.Local, x)
		}
		out.Endpoints = append(out.Endpoints, ep)
	}
	return out
}

func fullName(name proxy.Name, port string) string {
	return proxy.Port{Name: port}.FullName(name)
}

func familyName(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}

// cascades are the chains that a port's connections are spread by: for all
// endpoints, and for those on this node.
func cascades(full string, ways []*proxy.Port) []Cascade {
	all := []Cascade{}
	add := func(prefix, whom string, p *proxy.Port, endpoints []proxy.Endpoint) {
		c := cascade(prefix, whom, full, p.Protocol, endpoints)
		if len(endpoints) > 0 && !slices.ContainsFunc(all, func(o Cascade) bool { return o.Chain == c.Chain }) {
			all = append(all, c)
		}
	}
	for _, p := range ways {
		switch {
		case p.InternalLocal:
			add(iptables.PrefixLocal, "the endpoints on this node", p, p.Endpoints)
		default:
			add(iptables.PrefixService, "all endpoints that get traffic", p, p.Endpoints)
		}
		if p.LocalOnly {
			add(iptables.PrefixLocal, "the endpoints on this node", p, p.LocalEndpoints)
		}
	}
	return all
}

// clients counts, by endpoint, those that session affinity keeps there.
func (b *builder) clients(ways []*proxy.Port, x *proxy.PortExplanation, full string) map[netip.AddrPort]int {
	counts := map[netip.AddrPort]int{}
	if len(ways) == 0 || ways[0].Affinity == 0 {
		return counts
	}
	for _, t := range b.input.Layout.Tables() {
		sets := b.input.Remembered[t.ID()]
		memory := b.input.Layout.Memory(t).Remembered
		if memory == nil { // a set for each endpoint, with the name of its chain
			for _, e := range x.Endpoints {
				if nft.FamilyOf(e.Addr()) == t.Family && e.IsValid() {
					counts[e.AddrPort] = len(sets[iptables.EndpointChain(full, x.Protocol, e.AddrPort)])
				}
			}
			continue
		}
		n := t.Family.AddrLen()
		for _, e := range sets[memory.Name] {
			if len(e.Key) != n+4 || len(e.Data) != n+4 || binary.NativeEndian.Uint32([]byte(e.Key[n:]))&^1 != ways[0].ID {
				continue
			}
			addr, _ := netip.AddrFromSlice([]byte(e.Data[:n]))
			counts[netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(e.Data[n:])))]++
		}
	}
	return counts
}

// counts are the connections to a Service port, by endpoint and, under the zero
// AddrPort, in all; nil where none are counted.
type counts map[netip.AddrPort]uint64

// of is a count, or nil where none are counted.
func (c counts) of(endpoint netip.AddrPort) *uint64 {
	if c == nil {
		return nil
	}
	n := c[endpoint]
	return &n
}

// connections are those that the maps of the port's family have counted.
func (b *builder) connections(x *proxy.PortExplanation, full string) counts {
	var found counts
	for _, t := range b.input.Layout.Tables() {
		list, counted := b.input.Connections[t.ID()]
		if !counted || (t.Family == nft.IPv4) != x.IPv4 {
			continue
		}
		found = counts{}
		for _, n := range list {
			if n.Service == full {
				found[n.Endpoint] += n.Connections
			}
		}
	}
	return found
}
