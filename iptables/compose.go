package iptables

import (
	"net/netip"
	"time"

	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// result is what one kind of client meets at a frontend.
type result struct {
	fate      fate
	endpoints []view.Endpoint
	// masquerade says that the client's address is hidden.
	masquerade bool
	local      bool
	sources    []netip.Prefix
	affinity   uint32
	service    string
}

// frontend walks the connections to a frontend and puts what each kind of client
// meets together.
func (in *interpreter) frontend(key view.Key) {
	var of [clients]result
	for from := range clients {
		of[from] = in.follow(key, from)
	}
	pod, node, outside := &of[fromPod], &of[fromNode], &of[fromOutside]
	line := in.Frontends[key].Line
	p := view.Port{Service: outside.service}
	switch {
	case pod.fate == lost || node.fate == lost || outside.fate == lost:
		in.leaveOut(key, "what connections to %s meet can't be told; it is left out", key)
		return
	case outside.fate == passed && pod.fate == passed && node.fate == passed:
		in.leaveOut(key, "no rule takes connections to %s; it is left out", key)
		return
	case outside.fate == balanced || pod.fate == balanced && node.fate != rejected:
		in.balanced(key, &p, pod, node, outside)
	case outside.fate == rejected:
		p.Fate = view.Rejected
	case outside.fate == dropped:
		p.Fate = view.Dropped
	default:
		in.leaveOut(key, "connections to %s from outside are not taken, but others are; it is left out", key)
		return
	}
	if p.Fate != view.Balanced && in.fromHooks && in.Frontends[key].Kind == proxy.ClusterIP && node.fate == passed {
		p.Unclear = "connections from this node itself get no answer, unlike others"
	}
	if p.Fate != view.Balanced && (pod.fate != outside.fate || node.fate != outside.fate && !(in.fromHooks && node.fate == passed)) {
		in.warn(line, "clients are told different things at %s; what those from outside are told is taken", key)
	}
	in.View[key] = p
}

func (in *interpreter) leaveOut(key view.Key, format string, args ...any) {
	in.warn(in.Frontends[key].Line, format, args...)
	delete(in.Frontends, key)
}

// balanced puts together what clients meet that get endpoints.
func (in *interpreter) balanced(key view.Key, p *view.Port, pod, node, outside *result) {
	line := in.Frontends[key].Line
	for _, r := range []*result{outside, node, pod} {
		if p.Sources == nil && r.fate == balanced {
			p.Sources = view.Union(r.sources)
		}
	}
	p.Affinity = time.Duration(max(pod.affinity, node.affinity, outside.affinity)) * time.Second
	if kind := in.Frontends[key].Kind; in.fromHooks && (kind == proxy.ClusterIP || kind == proxy.NodePort) && (node.fate == passed || pod.fate == passed) {
		p.Unclear = "connections from pods, or from this node itself, are not taken, unlike others"
	}
	if outside.fate == balanced && node.fate != balanced {
		in.warn(line, "connections from the node itself to %s are not taken, unlike others", key)
		node = outside // before 1.18, at external IPs
	}
	if outside.fate == balanced && pod.fate != balanced {
		in.warn(line, "connections from pods to %s are not taken, unlike others", key)
		pod = outside
	}
	// All clients but those from outside get any endpoint, and their address is
	// hidden unless they are pods; those from outside keep theirs.
	p.LocalOnly = outside.fate != balanced || !view.SameEndpoints(node.endpoints, outside.endpoints) ||
		!view.SameEndpoints(pod.endpoints, outside.endpoints) || node.masquerade && !outside.masquerade || outside.local
	p.Endpoints = outside.endpoints
	if p.LocalOnly {
		p.Endpoints, p.Local = node.endpoints, outside.endpoints
		if !node.masquerade && len(pod.endpoints) > 0 {
			p.Endpoints = pod.endpoints // before 1.15 the node was as others
		}
		if outside.fate == rejected {
			in.warn(line, "clients from outside are refused at %s, while others get endpoints; they are taken to be dropped", key)
		}
	}
	switch {
	case p.LocalOnly && !pod.masquerade && view.SameEndpoints(pod.endpoints, p.Endpoints) && (len(in.PodCIDRs) > 0 || len(in.PodInterfaces) > 0):
		p.Masquerade = view.OffCluster
	case p.LocalOnly:
		p.Masquerade = view.All
	case outside.masquerade && pod.masquerade:
		p.Masquerade = view.All
	case outside.masquerade:
		p.Masquerade = view.OffCluster
	}
	total := 0.0
	for _, e := range p.Endpoints {
		total += e.Share
	}
	if len(p.Endpoints) > 0 && total < 1-1e-6 {
		in.warn(line, "%.4g %% of the connections to %s find no endpoint: the last rule of the cascade has a probability", 100*(1-total), key)
	}
}

// follow walks the connections of one kind of client: through the table nat, and
// what comes out of it without an endpoint through the table filter.
func (in *interpreter) follow(key view.Key, from client) result {
	w := &walker{interpreter: in, connection: connection{key.Addr, key.Protocol, key.Port, from}}
	first := chainServices
	if key.IsNodePort() {
		w.addr, first = netip.Addr{}, chainNodePorts
	}
	left := w.throughNat(first)
	for _, e := range w.ends {
		if e.fate == passed {
			left = append(left, e.flow)
		}
	}
	if in.filter != in.nat {
		left = w.throughFilter(left, key.IsNodePort())
	}
	for _, f := range left {
		as := passed
		if f.drop {
			as = dropped
		}
		w.finish([]flow{f}, as)
	}
	return w.result()
}

// result puts together what becomes of all flows.
func (w *walker) result() result {
	r := result{affinity: w.affinity, service: w.service}
	var anywhere, ranged []view.Endpoint
	marked, unmarked := 0.0, 0.0
	shares := [lost + 1]float64{}
	ranges := map[netip.Prefix]bool{}
	for _, e := range w.ends {
		shares[e.fate] += e.share
		if e.fate != balanced {
			continue
		}
		r.local = r.local || e.local
		if e.masquerade {
			marked += e.share
		} else {
			unmarked += e.share
		}
		to := view.Endpoint{AddrPort: e.endpoint, Share: e.share}
		if !e.source.IsValid() {
			anywhere = append(anywhere, to)
			continue
		}
		ranges[e.source] = true
		ranged = append(ranged, to)
	}
	if marked > 0 && unmarked > 0 {
		w.warn(w.Frontends[w.key()].Line, "some endpoints of %s are masqueraded and others are not; all are taken to be", w.key())
	}
	r.masquerade = marked > 0 && w.masquerades
	r.endpoints = view.Gather(anywhere)
	if len(anywhere) == 0 && len(ranged) > 0 {
		for source := range ranges {
			r.sources = append(r.sources, source)
		}
		total := marked + unmarked
		for i := range ranged {
			ranged[i].Share /= total // each range has all of it
		}
		r.endpoints = view.Gather(ranged)
	}
	switch {
	case shares[lost] > 0:
		r.fate = lost
	case len(r.endpoints) > 0:
		r.fate = balanced
	case shares[rejected] > 0:
		r.fate = rejected
	case shares[dropped] > 0:
		r.fate = dropped
	}
	return r
}

func (w *walker) key() view.Key {
	if !w.addr.IsValid() {
		return view.NodePort(w.is4(), w.protocol, w.port)
	}
	return view.Key{Addr: w.addr, Protocol: w.protocol, Port: w.port}
}
