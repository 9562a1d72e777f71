package eval

import (
	"errors"
	"fmt"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Follow gives everything that can become of a connection that begins with the
// packet. An error means that a rule could not be followed.
func (r *Ruleset) Follow(p Packet, w World) ([]Outcome, error) {
	if p.Source.Addr().Is4() != p.Dest.Addr().Is4() {
		return nil, fmt.Errorf("a packet from %s to %s: the two addresses are of different families", p.Source.Addr(), p.Dest.Addr())
	}
	forks := map[string][]result{}
	var outcomes []Outcome
	var run func(choices []int) error
	run = func(choices []int) error {
		s := &state{
			Ruleset: r, world: w, family: nft.FamilyOf(p.Dest.Addr()), in: p.In, protocol: p.Protocol,
			source: p.Source, dest: p.Dest, choices: choices, forks: forks, share: 1,
		}
		fate, err := s.walk()
		if at := (*fork)(nil); errors.As(err, &at) {
			for i := range at.results {
				if err := run(append(choices[:len(choices):len(choices)], i)); err != nil {
					return err
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		outcomes = append(outcomes, Outcome{
			Share: s.share, Steps: s.steps, Fate: fate, Source: s.source, Dest: s.dest,
			Translated: s.translated, Masqueraded: s.masqueraded, Mark: s.mark,
		})
		return nil
	}
	return outcomes, run(nil)
}

// walk sends the packet through the hooks. What the node sends to itself goes out
// and comes in again, as part of a connection that is translated already.
func (s *state) walk() (Fate, error) {
	if s.in == "" {
		if v, err := s.hook(nft.Output, true); v != Accept || err != nil {
			return ended(v), err
		}
		if v, err := s.hook(nft.Postrouting, true); v != Accept || err != nil {
			return ended(v), err
		}
		if !s.toNode() {
			return Forwarded, nil
		}
		s.in = "lo"
		if v, err := s.hook(nft.Prerouting, false); v != Accept || err != nil {
			return ended(v), err
		}
		v, err := s.hook(nft.Input, false)
		return ended(v), err
	}
	if v, err := s.hook(nft.Prerouting, true); v != Accept || err != nil {
		return ended(v), err
	}
	if s.toNode() {
		v, err := s.hook(nft.Input, true)
		return ended(v), err
	}
	if v, err := s.hook(nft.Forward, true); v != Accept || err != nil {
		return ended(v), err
	}
	if v, err := s.hook(nft.Postrouting, true); v != Accept || err != nil {
		return ended(v), err
	}
	return Forwarded, nil
}

func (s *state) toNode() bool {
	return s.world.Local(s.dest.Addr()) || s.dest.Addr().IsLoopback()
}

func ended(v Verdict) Fate {
	switch v {
	case Drop:
		return Dropped
	case Reject:
		return Rejected
	}
	return Delivered
}

// hook calls all base chains of a hook. The first that translates ends those that
// would.
func (s *state) hook(h nft.Hook, nat bool) (Verdict, error) {
	for _, b := range s.bases {
		if b.chain.Base.Hook != h || b.table.Family != s.family || b.chain.Base.Type == "nat" && !nat {
			continue
		}
		v, err := s.chain(h, b.table, b.chain, 0)
		if err != nil || v == Drop || v == Reject {
			return v, err
		}
		if v == Accept && b.chain.Base.Type == "nat" {
			nat = false
		}
	}
	return Accept, nil
}

// deepest is how many chains may call one another: NFT_JUMP_STACK_SIZE.
const deepest = 16

// chain goes through the rules of a chain. Continue is for its end.
func (s *state) chain(h nft.Hook, t *nft.Table, c *nft.Chain, depth int) (Verdict, error) {
	if depth > deepest {
		return Drop, fmt.Errorf("chain %s: more than %d chains that lead to one another", c.Name, deepest)
	}
	for i := range c.Rules {
		step, err := s.rule(h, t, c, i)
		if err != nil {
			return Drop, fmt.Errorf("table %s chain %s rule %d: %w", t.ID(), c.Name, i+1, err)
		}
		switch step.Verdict {
		case Continue:
		case Jump, Goto:
			next := chain(t, step.Target)
			if next == nil {
				return Drop, fmt.Errorf("table %s chain %s rule %d leads to chain %s, which there is not", t.ID(), c.Name, i+1, step.Target)
			}
			v, err := s.chain(h, t, next, depth+1)
			if err != nil || v != Continue || step.Verdict == Goto {
				return v, err
			}
		case Return:
			return Continue, nil
		default:
			return step.Verdict, nil
		}
	}
	return Continue, nil
}

// rule does the statements of a rule, until one says that it is not for this
// packet.
func (s *state) rule(h nft.Hook, t *nft.Table, c *nft.Chain, i int) (Step, error) {
	step := Step{Table: t, Hook: h, Chain: c, Rule: i, Matched: true}
	for _, statement := range c.Rules[i].Statements {
		goes, err := s.do(t, statement, &step)
		if err != nil {
			return step, err
		}
		if !goes {
			step.Matched = false
			break
		}
	}
	step.Source, step.Dest = s.source, s.dest
	s.steps = append(s.steps, step)
	return step, nil
}
