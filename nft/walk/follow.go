package walk

import (
	"fmt"
	"net/netip"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Packet is the first packet of a connection.
type Packet struct {
	Source, Dest netip.AddrPort
	Protocol     uint8
	// In is the interface that it comes in by; empty for what the node itself sends.
	In string
}

// World is what rules ask about that is not in the packet.
type World struct {
	// Local reports whether an address is one of the node's own.
	Local func(netip.Addr) bool
	// SourceTo is the node's address on the way to another one, which a masqueraded
	// connection gets. It may be nil.
	SourceTo func(netip.Addr) netip.Addr
}

// Fate is how a packet's way through the tables ends.
type Fate string

// Fates of a packet.
const (
	Forwarded Fate = "forwarded" // it leaves the node
	Delivered Fate = "delivered" // to the node itself
	Dropped   Fate = "dropped"   // without an answer
	Rejected  Fate = "rejected"  // with the answer port unreachable
)

// Outcome is what becomes of a share of the connections that begin with a packet.
type Outcome struct {
	Share float64
	Steps []Step
	Fate  Fate
	// Source and Dest are those of the packet at the end.
	Source, Dest netip.AddrPort
	// Translated reports whether a rule gave it another destination, Masqueraded
	// whether one gave it the node's address as its source.
	Translated, Masqueraded bool
	// Mark is its mark at the end.
	Mark uint32
}

// Follow gives everything that can become of a connection that begins with the packet,
// with every rule on its way: an outcome for each result of a random number. An error
// means that a rule could not be followed.
func (r *Ruleset) Follow(p Packet, w World) ([]Outcome, error) {
	if p.Source.Addr().Is4() != p.Dest.Addr().Is4() {
		return nil, fmt.Errorf("a packet from %s to %s: the two addresses are of different families", p.Source.Addr(), p.Dest.Addr())
	}
	q := &query{client: outside, protocol: p.Protocol, World: w, concrete: true}
	if p.In == "" {
		q.client = node
	}
	if len(r.tables) > 0 && r.family != nft.FamilyOf(p.Dest.Addr()) {
		return nil, fmt.Errorf("tables of family %s see no packet to %s", r.family, p.Dest.Addr())
	}
	states, err := r.walk(q, &state{weight: 1, from: p.Source, to: p.Dest, in: p.In})
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(states))
	for i, s := range states {
		o := Outcome{
			Share: s.weight, Steps: s.trail.steps, Fate: Forwarded, Source: s.from, Dest: s.to,
			Translated: s.original.IsValid(), Masqueraded: s.masqueraded, Mark: s.mark,
		}
		switch {
		case s.end == dropped:
			o.Fate = Dropped
		case s.end == rejected:
			o.Fate = Rejected
		case w.Local(s.to.Addr()):
			o.Fate = Delivered
		}
		outcomes[i] = o
	}
	return outcomes, nil
}

// walk takes a packet through the hooks, and gives all ways that it can go. What the
// node sends to itself goes out and comes in again, as part of a connection whose
// addresses are settled.
func (r *Ruleset) walk(q *query, first *state) ([]*state, error) {
	states := []*state{first}
	hook := func(h nft.Hook, goes func(*state) bool) (err error) {
		if len(r.hooks[h]) > 0 {
			states, err = r.hook(q, h, states, goes)
		}
		return err
	}
	all := func(*state) bool { return true }
	here := func(s *state) bool { return q.Local(s.to.Addr()) }
	away := func(s *state) bool { return !here(s) }
	stages := []func() error{
		func() error { return hook(nft.Prerouting, all) },
		func() error { return hook(nft.Input, here) },
		func() error { return hook(nft.Forward, away) },
		func() error { return hook(nft.Postrouting, away) },
	}
	if q.client == node {
		again := func(s *state) bool {
			if s.in = "lo"; !here(s) {
				s.in = ""
			}
			return here(s)
		}
		stages = []func() error{
			func() error { return hook(nft.Output, all) },
			func() error { return hook(nft.Postrouting, all) },
			func() error { return hook(nft.Prerouting, again) },
			func() error { return hook(nft.Input, here) },
		}
	}
	for _, stage := range stages {
		if err := stage(); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// hook takes those packets that get to a hook through all of its base chains. The first
// that translates ends those that would: the kernel settles an end once.
func (r *Ruleset) hook(q *query, h nft.Hook, states []*state, goes func(*state) bool) ([]*state, error) {
	end := 0 // the destination
	if h == nft.Postrouting || h == nft.Input {
		end = 1
	}
	var out []*state
	for _, s := range states {
		if s.end != through || !goes(s) {
			out = append(out, s)
			continue
		}
		going := []*state{s}
		for _, c := range r.hooks[h] {
			var next []*state
			for _, s := range going {
				if s.end != through || c.base.Type == "nat" && (s.decided[end] || end == 0 && s.original.IsValid() || end == 1 && s.masqueraded) {
					next = append(next, s)
					continue
				}
				list, err := r.chain(q, c, s)
				if err != nil {
					return nil, err
				}
				next = append(next, list...)
			}
			going = next
		}
		for _, s := range going {
			s.decided[end] = true
		}
		out = append(out, going...)
	}
	return out, nil
}
