package explain

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Sighting is the way of a real packet, as the kernel told it.
type Sighting struct {
	Time     time.Time `json:"time"`
	Protocol string    `json:"protocol"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	// In is the interface that it came in by; empty for what the node itself sends.
	In string `json:"in,omitempty"`
	// Service is the Service port that its destination is.
	Service string `json:"service,omitempty"`
	Steps   []Step `json:"steps"`
	// Fate is forwarded, delivered, dropped or rejected; or lost, if it was given an
	// endpoint and then never seen again.
	Fate string `json:"fate"`
	// Again says that this is no new packet: one that the node sends to itself comes
	// in again after it went out.
	Again bool `json:"again,omitempty"`
	// By is the chain that dropped it, if that is not ours.
	By string `json:"by,omitempty"`
	// Endpoint is the one that it got, Chain kube-proxy's chain for it.
	Endpoint    string `json:"endpoint,omitempty"`
	Chain       string `json:"chain,omitempty"`
	Masqueraded bool   `json:"masqueraded"`
}

// Scene is what is known of where packets are seen.
type Scene struct {
	// Kernel is what the kernel has of our tables, and Rules the same to be read.
	Kernel map[nft.ID]*nft.Held
	Rules  map[nft.Family]*walk.Ruleset
	// Interface names an interface.
	Interface func(number uint32) string
	// Local says that an address is one of the node's own.
	Local func(netip.Addr) bool
}

// lost is the fate of packets that the tables let through and that came to no
// further hook.
const lost = "lost"

// Seen is a packet's way in words. The tables of the name marker marked it; their
// steps are left out.
func (s *Scene) Seen(told []nft.Traced, at time.Time, marker string) *Sighting {
	out := &Sighting{Time: at, Steps: []Step{}, Again: len(told) > 0 && told[0].Table.Name != marker}
	var first, last *nft.TracedPacket
	for i := range told {
		if p := told[i].Packet; p != nil {
			if first == nil {
				first = p
			}
			last = p
		}
	}
	var w words
	if first != nil {
		out.Protocol = proxy.Protocol(first.Protocol).String()
		out.From, out.To, out.In = first.Source.String(), first.Dest.String(), s.Interface(first.In)
		out.Service = s.service(first)
		w = words{full: out.Service, protocol: proxy.Protocol(first.Protocol), dest: first.Dest, nodePort: s.Local(first.Dest.Addr()), guarded: slices.ContainsFunc(told, func(t nft.Traced) bool { return t.Chain == "guard-prerouting" && t.Rule != 0 })}
		if w.chosen = last.Dest != first.Dest; w.chosen {
			out.Endpoint, out.Chain = last.Dest.String(), w.endpoint(last.Dest)
		}
	}
	hook, delivered, translated := "", false, false
	for i := range told {
		t := &told[i]
		if h := s.hook(t); h != "" {
			hook = h
		}
		delivered = delivered || hook == nft.Input.String()
		if t.Verdict == nft.CodeDrop && (t.Rule != 0 || t.Ends) {
			out.Fate = string(walk.Dropped)
			if s.Kernel[t.Table] == nil {
				out.By = foreign(t)
			}
		}
		if t.Rule == 0 || t.Table.Name == marker {
			continue
		}
		step, rule := s.step(t, hook, last, &w)
		out.Steps = append(out.Steps, step)
		does := walk.Does(0)
		if rule != nil {
			does = rule.Does()
		}
		out.Masqueraded = out.Masqueraded || does&walk.Masquerades != 0
		translated = translated || does&walk.Translates != 0 && t.Verdict == nft.CodeAccept
		if does&walk.Rejects != 0 {
			out.Fate = string(walk.Rejected)
		}
	}
	switch {
	case out.Fate != "":
	case translated && out.Endpoint == "":
		out.Fate = lost
	case delivered:
		out.Fate = string(walk.Delivered)
	default:
		out.Fate = string(walk.Forwarded)
	}
	return out
}

// foreign is a rule or a policy of a table that is not ours.
func foreign(t *nft.Traced) string {
	if t.Ends {
		return fmt.Sprintf("the policy of chain %s in table %s", t.Chain, t.Table)
	}
	return fmt.Sprintf("the rule with handle %d of chain %s in table %s", t.Rule, t.Chain, t.Table)
}

// service is the Service port that has a packet's destination.
func (s *Scene) service(p *nft.TracedPacket) string {
	key := frontendKey(p.Dest.Addr(), proxy.Protocol(p.Protocol), p.Dest.Port())
	for id, h := range s.Kernel {
		if id.Family != nft.FamilyOf(p.Dest.Addr()) {
			continue
		}
		for _, name := range []string{"services", "nodeports", "no-endpoints", "no-endpoints-nodeport"} {
			if set := h.Sets[name]; set != nil {
				for i := range set.Elements {
					if set.Elements[i].Key == key {
						return set.Elements[i].Comment
					}
				}
			}
		}
	}
	return ""
}

// hook is the hook that a base chain of ours is called at; empty for other chains.
func (s *Scene) hook(t *nft.Traced) string {
	if h := s.Kernel[t.Table]; h != nil {
		if c := h.Chains[t.Chain]; c != nil && c.Base != nil {
			return c.Base.Hook.String()
		}
	}
	return ""
}

// step is a rule that the packet came by, and the rule itself if it is in our tables.
func (s *Scene) step(t *nft.Traced, hook string, last *nft.TracedPacket, w *words) (Step, *walk.Rule) {
	out := Step{Table: t.Table.String(), Hook: hook, Chain: t.Chain, Matched: true, Text: cmp.Or(strings.TrimSpace(t.Follows()), "continue"), Handle: t.Rule}
	rules := s.Rules[t.Table.Family]
	if s.Kernel[t.Table] == nil || rules == nil {
		out.Chain = fmt.Sprintf("table %s, %s", t.Table, t.Chain)
		return out, nil
	}
	rule := rules.Rule(t.Table, t.Chain, t.Rule)
	if rule == nil {
		return out, nil
	}
	step := walk.Step{Table: t.Table, Chain: t.Chain, Rule: rule, Matched: true, Target: t.Target}
	if last != nil {
		step.Source, step.Dest = last.Source, last.Dest
	}
	words := w.step(&step)
	words.Hook = hook
	return words, rule
}

// Write writes the sighting for people.
func (s *Sighting) Write(out io.Writer) error {
	t := &text{Writer: bufio.NewWriter(out)}
	from := "from this node itself"
	if s.In != "" {
		from = "in by " + s.In
	}
	service := s.Service
	switch {
	case s.Again:
		service = "the same packet, which comes in again"
	case service == "":
		service = "no Service"
	}
	t.line("%s %s %s -> %s, %s: %s", s.Time.Format("15:04:05.000"), strings.ToUpper(s.Protocol), s.From, s.To, from, service)
	t.steps(s.Steps)
	t.line("=> %s", s.verdict())
	t.line("")
	return t.Flush()
}

// verdict is how it ended, in a sentence.
func (s *Sighting) verdict() string {
	switch {
	case s.By != "":
		return "dropped by somebody else: " + s.By
	case s.Fate == string(walk.Dropped):
		return "dropped: the client gets no answer"
	case s.Fate == string(walk.Rejected):
		return "rejected: the client is told at once that nobody listens there"
	case s.Fate == lost:
		return "given an endpoint, and not seen again: there is no route to it, or something else than tables ended it"
	case s.Again:
		return s.Fate
	case s.Endpoint == "":
		return "not translated: it goes on to " + s.To + " as it is"
	}
	to := "to " + s.Endpoint
	if s.Chain != "" {
		to += " (" + s.Chain + ")"
	}
	if s.Fate == string(walk.Delivered) {
		to += ", on this node itself"
	}
	if s.Masqueraded {
		return to + ", which sees this node's address, by masquerade"
	}
	return to + ", which sees the client's own address"
}
