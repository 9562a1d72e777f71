package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/view"
)

// met is what one kind of client meets at a frontend.
type met struct {
	fate        end
	endpoints   []view.Endpoint
	masqueraded bool
	affinity    time.Duration
	sources     []netip.Prefix
}

// met takes a packet through all hooks.
func (t *Table) met(p packet) (met, error) {
	ways, err := t.ways(p)
	if err != nil {
		return met{}, err
	}
	ways, sources, err := admitted(ways)
	if err != nil {
		return met{}, err
	}
	m := met{sources: sources}
	for i := range ways {
		if ways[i].end != ways[0].end {
			return met{}, fmt.Errorf("some connections are lost: %s", shares(ways))
		}
	}
	m.fate = ways[0].end
	if m.fate == translated {
		err = t.after(p, &m, ways)
	}
	return m, err
}

// ways are all ways that a packet can go until it is translated or ends.
func (t *Table) ways(p packet) ([]leaf, error) {
	hooks := []nft.Hook{nft.Prerouting, nft.Forward}
	switch {
	case p.client == node && p.local:
		hooks = []nft.Hook{nft.Output, nft.Input}
	case p.client == node:
		hooks = []nft.Hook{nft.Output}
	case p.local:
		hooks = []nft.Hook{nft.Prerouting, nft.Input}
	}
	going, ended := []leaf{{through, &state{weight: 1}}}, []leaf(nil)
	for _, hook := range hooks {
		for _, c := range t.hooks[hook] {
			var next []leaf
			for _, g := range going {
				list, err := t.chain(p, c, g.state)
				if err != nil {
					return nil, err
				}
				for _, l := range list {
					switch {
					case l.end == through:
						next = append(next, l)
					case l.end == masqueraded:
						return nil, fmt.Errorf("chain %s masquerades", c.name)
					default:
						ended = append(ended, l)
					}
				}
			}
			going = next
		}
	}
	return append(ended, going...), nil
}

// admitted are the ways of clients from where they may come, and these networks. A
// client is in one of the networks that it is asked for, or in none; all that are
// admitted have to go the same ways.
func admitted(ways []leaf) ([]leaf, []netip.Prefix, error) {
	if !slices.ContainsFunc(ways, func(w leaf) bool { return len(w.where) > 0 }) {
		return ways, nil, nil
	}
	if !slices.ContainsFunc(ways, func(w leaf) bool { return w.end != dropped }) {
		return []leaf{{dropped, &state{weight: 1}}}, nil, nil // wherever they come from
	}
	var sources []netip.Prefix
	var groups [][]leaf
	var last []netip.Prefix
	for _, w := range ways {
		in := []netip.Prefix(nil)
		for _, a := range w.where {
			switch {
			case a.in && in != nil:
				return nil, nil, fmt.Errorf("what happens depends on the source, in more than one way: %v", w.where)
			case a.in:
				in = a.nets
			}
		}
		switch {
		case len(w.where) == 0:
			return nil, nil, fmt.Errorf("what happens depends on the source, but not always")
		case in == nil && w.end != dropped, in != nil && w.end == dropped:
			return nil, nil, fmt.Errorf("what happens depends on the source (%v)", w.where[len(w.where)-1].nets)
		case in == nil:
			continue
		case len(groups) == 0 || !slices.Equal(in, last):
			groups, last, sources = append(groups, nil), in, append(sources, in...)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], w)
	}
	for _, g := range groups {
		if !slices.EqualFunc(g, groups[0], func(a, b leaf) bool {
			return a.end == b.end && a.to == b.to && a.weight == b.weight && a.mark == b.mark
		}) {
			return nil, nil, fmt.Errorf("what happens depends on the source (%v)", sources)
		}
	}
	if len(groups) == 0 {
		return nil, nil, fmt.Errorf("no source is let in: %v", ways[0].where)
	}
	if all := view.Union(sources); all != nil {
		sources = all
	}
	return groups[0], sources, nil
}

// shares says how many connections end in which way.
func shares(ways []leaf) string {
	var sums [masqueraded + 1]float64
	for _, w := range ways {
		sums[w.end] += w.weight
	}
	var texts []string
	for e, name := range map[end]string{translated: "go to endpoints", dropped: "are dropped", rejected: "are rejected", through: "are not translated"} {
		if sums[e] > 0 {
			texts = append(texts, fmt.Sprintf("%.4g%% %s", 100*sums[e], name))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// after takes packets that have been translated on and out of the node, for masquerade
// and affinity. What is not about affinity is alike for all endpoints.
func (t *Table) after(p packet, m *met, ways []leaf) error {
	type hidden struct {
		known, masqueraded bool
		mark, priority     uint32
	}
	var last hidden
	for i, w := range ways {
		m.endpoints = append(m.endpoints, view.Endpoint{AddrPort: w.to, Share: w.weight})
		if !last.known || last.mark != w.mark || last.priority != w.priority || len(w.asked) > 0 {
			out := p
			out.original, out.to, out.local = p.to, w.to, false
			masqueraded, state, err := t.out(out, w.state)
			if err != nil {
				return err
			}
			last = hidden{true, masqueraded, w.mark, w.priority}
			ways[i].state = state
		}
		if i > 0 && last.masqueraded != m.masqueraded {
			return fmt.Errorf("some connections are masqueraded, some aren't")
		}
		m.masqueraded = last.masqueraded
		affinity := affinity(ways[i].state)
		if i > 0 && affinity != m.affinity {
			return fmt.Errorf("some endpoints are remembered for %s, %s for %s", m.affinity, w.to, affinity)
		}
		m.affinity = affinity
	}
	m.endpoints = view.Gather(m.endpoints)
	return nil
}

// out takes a packet through what comes behind translation at the same hook, and
// through postrouting.
func (t *Table) out(p packet, s *state) (masquerade bool, after *state, err error) {
	first := nft.Prerouting
	if p.client == node {
		first = nft.Output
	}
	for _, c := range append(slices.Clone(t.hooks[first]), t.hooks[nft.Postrouting]...) {
		if c.base.Hook == first && (c.base.Type == "nat" || c.base.Priority < natDest) {
			continue
		}
		list, err := t.chain(p, c, s)
		switch {
		case err != nil:
			return false, nil, err
		case len(list) != 1:
			return false, nil, fmt.Errorf("chain %s: what happens after translation depends on the source", c.name)
		case list[0].end == masqueraded:
			masquerade = true
		case list[0].end != through:
			return false, nil, fmt.Errorf("chain %s ends connections after translation", c.name)
		}
		s = list[0].state
	}
	return masquerade, s, nil
}

// affinity is how long the client of a packet is remembered: it was looked up in a
// set, and written to it.
func affinity(s *state) time.Duration {
	for _, u := range s.updated {
		if slices.Contains(s.asked, u.set) {
			return u.timeout
		}
	}
	return 0
}
