package walk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Options is what a table does not say of itself.
type Options struct {
	// NodeAddrs are the node's addresses that accept NodePort traffic.
	NodeAddrs []netip.Addr
	// NodePort tells frontends at a node's address that are a NodePort's from those
	// that are a Service's external address. With nil all are NodePorts.
	NodePort func(view.Key) bool
	// Name is the Service port, as view.Port has it, that a chain is named for;
	// empty if it is for none. It is asked where elements have no comment.
	Name func(chain string) string
	// OnNode are endpoints on this node, which may reach themselves.
	OnNode []netip.AddrPort
	// Only, if there is one, reports whether a Service port, as view.Port has it, is
	// looked at.
	Only func(name string) bool
}

// View is what connections to each frontend that a set or map has a key for meet.
func (r *Ruleset) View(o Options) view.View {
	v := view.View{}
	r.AddTo(v, o)
	return v
}

// AddTo adds to a View what connections meet.
func (r *Ruleset) AddTo(v view.View, o Options) {
	for f, name := range r.frontends(o) {
		if o.Only != nil && !o.Only(name) {
			continue
		}
		port, ok := r.port(f, o)
		if !ok {
			continue
		}
		port.Service = name
		key := view.Key{Addr: f.addr, Protocol: f.protocol, Port: f.port}
		if f.nodePort || slices.Contains(o.NodeAddrs, f.addr) && (o.NodePort == nil || o.NodePort(key)) {
			key = view.NodePort(r.family == nft.IPv4, f.protocol, f.port)
		}
		if other, there := v[key]; there && !view.Same(other, port) {
			port = view.Port{Service: name, Unclear: "not the same at all of the node's addresses"}
		}
		v[key] = port
	}
}

// frontend is where a packet goes to.
type frontend struct {
	addr     netip.Addr // unless it is a NodePort without one
	protocol proxy.Protocol
	port     uint16
	nodePort bool
}

// frontends are those that elements have as their keys, with the names of their
// Service ports.
func (r *Ruleset) frontends(o Options) map[frontend]string {
	full := []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}
	fullType, _ := (&nft.Set{Key: full}).TypeIDs(r.family)
	nodePortType, _ := (&nft.Set{Key: full[1:]}).TypeIDs(r.family)
	found := map[frontend]string{}
	for _, s := range r.sets() {
		if s.Anonymous() || s.dynamic() || s.interval() || s.KeyType != fullType && s.KeyType != nodePortType {
			continue
		}
		for i := range s.Elements {
			e := &s.Elements[i]
			f := frontend{nodePort: s.KeyType == nodePortType}
			key := e.Key
			if !f.nodePort {
				f.addr, _ = netip.AddrFromSlice([]byte(key[:r.family.AddrLen()]))
				key = key[r.family.AddrLen():]
			}
			f.protocol, f.port = proxy.Protocol(key[0]), binary.BigEndian.Uint16([]byte(key[4:6]))
			service := e.Comment
			if service == "" && e.Goto != "" && o.Name != nil {
				service = o.Name(e.Goto)
			}
			found[f] = cmp.Or(found[f], service)
		}
	}
	return found
}

// sets are those of all tables, in order.
func (r *Ruleset) sets() []*set {
	var all []*set
	for _, t := range r.tables {
		for _, name := range slices.Sorted(maps.Keys(t.sets)) {
			all = append(all, t.sets[name])
		}
	}
	return all
}

// port is what connections to a frontend meet; ok is false if that is nothing.
func (r *Ruleset) port(f frontend, o Options) (p view.Port, ok bool) {
	addrs := []netip.Addr{f.addr}
	if f.nodePort {
		addrs = o.NodeAddrs
	}
	for _, addr := range addrs {
		if addr.Is4() != (r.family == nft.IPv4) {
			continue
		}
		var all [clients]met
		for c := range clients {
			q := &query{client: c, protocol: byte(f.protocol), World: World{Local: func(a netip.Addr) bool { return slices.Contains(o.NodeAddrs, a) }}}
			var err error
			if all[c], err = r.met(q, netip.AddrPortFrom(addr, f.port)); err != nil {
				return view.Port{Unclear: err.Error()}, true
			}
		}
		if all[pod].fate != through || all[node].fate != through || all[outside].fate != through {
			p := r.together(all)
			if p.Unclear == "" {
				p.Unanswered, p.Unclear = r.unanswered(netip.AddrPortFrom(addr, f.port), byte(f.protocol), &p, all[pod].fate, o)
			}
			return p, true
		}
	}
	return view.Port{}, false
}

// unanswered are endpoints on this node that get themselves at a frontend and see
// themselves as the client, so that their answers would not come back by the node; or
// whose connections end where those of other pods do not.
func (r *Ruleset) unanswered(to netip.AddrPort, protocol byte, p *view.Port, pods end, o Options) (list []netip.AddrPort, unclear string) {
	ends := pods == translated && p.Sources == nil
	for _, e := range p.Endpoints {
		if !slices.Contains(o.OnNode, e.AddrPort) || slices.Contains(o.NodeAddrs, e.Addr()) {
			continue // what the node itself sends has its address
		}
		q := &query{client: pod, protocol: protocol, World: World{Local: func(a netip.Addr) bool { return slices.Contains(o.NodeAddrs, a) }}}
		ways, err := r.walk(q, &state{weight: 1, to: to, from: netip.AddrPortFrom(e.Addr(), 40000)})
		if err != nil {
			return nil, err.Error()
		}
		if slices.ContainsFunc(ways, func(s *state) bool {
			return ends && s.fate() != translated || s.end == through && s.to == e.AddrPort && !s.masqueraded
		}) {
			list = append(list, e.AddrPort)
		}
	}
	return list, ""
}

// fates of what is met, and those of a View.
var fates = map[end]view.Fate{translated: view.Balanced, rejected: view.Rejected, dropped: view.Dropped}

// together makes one of what each kind of client meets.
func (r *Ruleset) together(all [clients]met) view.Port {
	p, n, out := all[pod], all[node], all[outside]
	unclear := view.Port{Unclear: fmt.Sprintf("pods: %s; this node: %s; others: %s", p, n, out)}
	port := view.Port{Fate: fates[out.fate], Sources: view.Union(n.sources)}
	// Those who are dropped wherever they come from are in no network.
	for _, m := range []met{p, out} {
		if !slices.Equal(m.sources, n.sources) && (m.fate != dropped || m.sources != nil) {
			return unclear
		}
	}
	if p.fate == n.fate && n.fate == out.fate && out.fate != translated {
		return port
	}
	if n.fate != translated || p.fate != translated && p.fate != out.fate || out.fate != translated && out.fate != dropped {
		return unclear
	}
	port.Fate, port.Endpoints, port.Affinity = view.Balanced, n.endpoints, n.affinity
	pods := slices.ContainsFunc(r.tables, func(t *table) bool { return t.pods.known() })
	// Those from outside who go where all go, and keep their address as pods do,
	// although this node's is hidden, are under the policy Local.
	local := !view.SameEndpoints(n.endpoints, out.endpoints) || n.masqueraded && !out.masqueraded
	if !local {
		switch {
		case !view.SameEndpoints(p.endpoints, n.endpoints) || n.masqueraded != out.masqueraded || p.affinity != n.affinity || out.affinity != n.affinity || p.masqueraded && !n.masqueraded:
			return unclear
		case p.masqueraded:
			port.Masquerade = view.All
		case n.masqueraded:
			port.Masquerade = view.OffCluster
		}
		return port
	}
	like := n // what pods should meet: as this node, or, where they can't be told, as others
	if !pods {
		like = out
	}
	if out.masqueraded || p.fate != like.fate || !view.SameEndpoints(p.endpoints, like.endpoints) || p.affinity != like.affinity ||
		out.fate == translated && out.affinity != n.affinity {
		return unclear
	}
	port.LocalOnly, port.Local = true, out.endpoints
	switch {
	case n.masqueraded && (!pods || p.masqueraded):
		port.Masquerade = view.All
	case n.masqueraded:
		port.Masquerade = view.OffCluster
	case p.masqueraded:
		return unclear
	}
	return port
}

// String is what is met, in words.
func (m met) String() string {
	var b strings.Builder
	switch m.fate {
	case translated:
		for i, e := range m.endpoints {
			if i == 4 && len(m.endpoints) > 5 {
				fmt.Fprintf(&b, "and %d more ", len(m.endpoints)-i)
				break
			}
			fmt.Fprintf(&b, "%s %.4g%% ", e, 100*e.Share)
		}
		if m.masqueraded {
			b.WriteString("masqueraded ")
		}
		if m.affinity > 0 {
			fmt.Fprintf(&b, "affinity %s ", m.affinity)
		}
	case through:
		b.WriteString("not translated ")
	default:
		b.WriteString(fates[m.fate].String() + " ")
	}
	if m.sources != nil {
		fmt.Fprintf(&b, "from %v ", m.sources)
	}
	return strings.TrimSpace(b.String())
}
