package iptables

import (
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// index finds the rules of a long chain that may be for a connection.
type index struct {
	exact map[target][]int
	// rest are the rules that are for no single address or port.
	rest []int
}

// target is what rules of chains that dispatch are for. The address may be missing.
type target struct {
	addr     netip.Addr
	protocol proxy.Protocol
	port     uint16
}

// indexed is the length of chains that are worth an index.
const indexed = 32

// rulesFor are the numbers of the rules of a chain that may be for the connection,
// in order.
func (w *walker) rulesFor(c *Chain) iter.Seq[int] {
	if len(c.Rules) < indexed || strings.HasPrefix(c.Name, "KUBE-SVC-") {
		return func(yield func(int) bool) {
			for i := range c.Rules {
				if !yield(i) {
					return
				}
			}
		}
	}
	x := w.index[c]
	if x == nil {
		x = newIndex(c)
		w.index[c] = x
	}
	found := slices.Concat(x.exact[target{w.addr, w.protocol, w.port}], x.rest)
	if w.addr.IsValid() {
		found = append(found, x.exact[target{protocol: w.protocol, port: w.port}]...)
	}
	slices.Sort(found)
	return slices.Values(found)
}

func newIndex(c *Chain) *index {
	x := &index{exact: map[target][]int{}}
	for i := range c.Rules {
		r := &c.Rules[i]
		protocol, ok := protocolOf(r.Protocol)
		port := r.port()
		if !ok || port == 0 || r.Destination.Not || r.Destination.Mask != "" {
			x.rest = append(x.rest, i)
			continue
		}
		at := target{protocol: protocol, port: port}
		if !r.Destination.IsZero() {
			if p := r.Destination.Prefix; !p.IsSingleIP() && p.Masked() == p {
				x.rest = append(x.rest, i)
				continue
			}
			at.addr = r.Destination.Prefix.Addr()
		}
		x.exact[at] = append(x.exact[at], i)
	}
	return x
}

// match splits a flow into what a rule takes and the rest.
func (w *walker) match(c *Chain, r *Rule, f flow) (taken, rest flow) {
	none := flow{}
	if !w.toRule(r) || !w.interfaces(r) {
		return none, f
	}
	share := 1.0
	for _, m := range r.Matches {
		p, known := w.chance(r, m)
		if !known {
			text := strings.TrimSpace(string(m.append(nil)))
			w.warn(r.Line, "%s in chain %s is not understood; the rule is passed over", text, c.Name)
			return none, f
		}
		share *= p
	}
	if share == 0 {
		return none, f
	}
	taken, rest = f, f
	taken.share, rest.share = f.share*share, f.share*(1-share)
	if share == 1 {
		rest.share = 0
	}
	if !r.Source.IsZero() {
		return w.bySource(c, r, f, taken)
	}
	return taken, rest
}

// toRule says that the connection is to what a rule is for.
func (w *walker) toRule(r *Rule) bool {
	if r.Protocol.Name != "" && r.Protocol.Is(w.protocol.String()) == r.Protocol.Not && r.Protocol.Name != "all" {
		other := Protocol{Name: r.Protocol.Name}
		if !r.Protocol.Not || other.Is(w.protocol.String()) {
			return false
		}
	}
	if r.Destination.IsZero() {
		return true
	}
	p := r.Destination.Prefix
	if !w.addr.IsValid() && r.port() != 0 && !p.Addr().IsLoopback() {
		return r.Destination.Not // another frontend with the same port
	}
	if !w.addr.IsValid() { // any of the node's addresses, but loopback ones
		return p.Addr().IsLoopback() == r.Destination.Not
	}
	if p.Masked() != p { // told by single
		p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
	}
	return p.Contains(w.addr) != r.Destination.Not
}

// interfaces says that the connection comes by the interface that a rule is for.
// Only pods are told by theirs.
func (w *walker) interfaces(r *Rule) bool {
	if r.Out.Name != "" {
		w.warn(r.Line, "-o %s is not understood; the rule is passed over", r.Out.Name)
		return false
	}
	if r.In.Name == "" {
		return true
	}
	return slices.Contains(w.PodInterfaces, r.In.Name) && (w.from == fromPod) != r.In.Not
}

// bySource splits a flow by -s. Networks of pods tell pods; where a Service has
// source ranges, any network is one of them.
func (w *walker) bySource(c *Chain, r *Rule, f, taken flow) (_, rest flow) {
	p, none := r.Source.Prefix, flow{}
	switch {
	case strings.HasPrefix(c.Name, PrefixFirewall) && !r.Source.Not:
		switch {
		case f.source.IsValid() && p.Bits() <= f.source.Bits() && p.Contains(f.source.Addr()), p.Bits() == 0:
			return taken, none
		case f.source.IsValid() && !p.Overlaps(f.source):
			return none, f
		}
		taken.source = p.Masked()
		return taken, f
	case slices.Contains(w.PodCIDRs, p.Masked()):
		if (w.from == fromPod) == r.Source.Not {
			return none, f
		}
	case p.IsSingleIP() && strings.HasPrefix(c.Name, PrefixEndpoint), p.Addr().IsLoopback():
		// An endpoint that reaches itself, or the node at its loopback address.
		if !r.Source.Not {
			return none, f
		}
	default:
		w.warn(r.Line, "-s %s in chain %s is neither pods nor a source range; the rule is passed over", p, c.Name)
		return none, f
	}
	f.share -= taken.share
	return taken, f
}

// chance is how likely a match is true, and whether that is known.
func (w *walker) chance(r *Rule, m Match) (p float64, known bool) {
	truth := func(is bool) (float64, bool) {
		if is {
			return 1, true
		}
		return 0, true
	}
	switch m := m.(type) {
	case Comment:
		return 1, true
	case Ports:
		if m.Source.Set {
			return 0, false
		}
		d := m.Destination
		return truth(r.Protocol.Name != "" && (!d.Set || (w.port >= d.From && w.port <= d.To) != d.Not))
	case AddrType:
		is := true
		if m.Destination != "" {
			is = (m.Destination == "LOCAL" && !w.addr.IsValid()) != m.DestinationNot
		}
		if m.Source != "" {
			is = is && (m.Source == "LOCAL" && w.from == fromNode) != m.SourceNot
		}
		return truth(is)
	case Statistic:
		if m.Not {
			return 1 - m.Probability.Float(), true
		}
		return m.Probability.Float(), true
	case Recent:
		return w.recent(r, m)
	case Conntrack:
		return truth((m.States&New != 0) != m.Not)
	case Other:
		switch {
		case m.Module == "nfacct": // counts
			return 1, true
		case isBridge(m):
			return 1, true
		}
	}
	return 0, false
}

// recent is a client that had an endpoint shortly before: its share is not that of
// new clients.
func (w *walker) recent(r *Rule, m Recent) (p float64, known bool) {
	switch {
	case m.Not || m.ByDestination || m.HitCount > 0:
		return 0, false
	case m.Action == "set":
		return 1, true
	case m.Action == "rcheck" || m.Action == "update":
		if w.affinity > 0 && m.Seconds != w.affinity {
			w.warn(r.Line, "a client keeps its endpoint for %d s here, and for %d s elsewhere; the longer time is taken", m.Seconds, w.affinity)
		}
		w.affinity = max(w.affinity, m.Seconds)
		return 0, true
	}
	return 0, false
}
