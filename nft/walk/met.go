package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

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

// met takes a packet to a frontend through all hooks.
func (r *Ruleset) met(q *query, to netip.AddrPort) (met, error) {
	ways, err := r.walk(q, &state{weight: 1, to: to})
	if err != nil {
		return met{}, err
	}
	ways, sources, err := admitted(ways)
	if err != nil {
		return met{}, err
	}
	m := met{fate: ways[0].fate(), sources: sources}
	for _, w := range ways {
		if w.fate() != m.fate {
			return met{}, fmt.Errorf("some connections are lost: %s", shares(ways))
		}
	}
	if m.fate == translated {
		err = m.translated(ways)
	}
	return m, err
}

// fate is what became of a packet: whether it was translated, too.
func (s *state) fate() end {
	if s.end == through && s.original.IsValid() {
		return translated
	}
	return s.end
}

// admitted are the ways of clients from where they may come, and these networks. A
// client is in one of the networks that it is asked for, or in none; all that are
// admitted have to go the same ways.
func admitted(ways []*state) ([]*state, []netip.Prefix, error) {
	if !slices.ContainsFunc(ways, func(w *state) bool { return len(w.where) > 0 }) {
		return ways, nil, nil
	}
	if !slices.ContainsFunc(ways, func(w *state) bool { return w.end != dropped }) {
		return []*state{{weight: 1, end: dropped}}, nil, nil // wherever they come from
	}
	var sources []netip.Prefix
	var groups [][]*state
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
		if !slices.EqualFunc(g, groups[0], func(a, b *state) bool {
			return a.end == b.end && a.to == b.to && a.weight == b.weight && a.mark == b.mark && a.masqueraded == b.masqueraded
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
func shares(ways []*state) string {
	var sums [translated + 1]float64
	for _, w := range ways {
		sums[w.fate()] += w.weight
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

// translated is what becomes of packets that are translated: all are masqueraded, or
// none is, and all clients are remembered for the same time.
func (m *met) translated(ways []*state) error {
	for i, w := range ways {
		m.endpoints = append(m.endpoints, view.Endpoint{AddrPort: w.to, Share: w.weight})
		if i > 0 && w.masqueraded != m.masqueraded {
			return fmt.Errorf("some connections are masqueraded, some aren't")
		}
		m.masqueraded = w.masqueraded
		affinity := affinity(w)
		if i > 0 && affinity != m.affinity {
			return fmt.Errorf("some endpoints are remembered for %s, %s for %s", m.affinity, w.to, affinity)
		}
		m.affinity = affinity
	}
	m.endpoints = view.Gather(m.endpoints)
	return nil
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
