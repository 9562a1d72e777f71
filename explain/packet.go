package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Way is what becomes of a connection that begins with one packet.
type Way struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	// Sender says whom the packet is taken to come from.
	Sender string `json:"sender"`
	// Rules says whose rules were followed: the kernel's, or those that are wanted.
	Rules string `json:"rules"`
	// Notes are what the rules alone do not tell.
	Notes []string `json:"notes,omitempty"`
	// Service is the Service port that the address leads to, empty for none.
	Service string `json:"service,omitempty"`
	// Steps are the rules that every such packet comes by. Branches follow, one
	// for each set of rules further on.
	Steps    []Step   `json:"steps"`
	Branches []Branch `json:"branches"`
}

// Branch is one way on, with all endpoints for which it is the same.
type Branch struct {
	Ends []End `json:"ends"`
	// Fate is forwarded, delivered, dropped or rejected.
	Fate  string `json:"fate"`
	Steps []Step `json:"steps"`
}

// End is where a packet ends.
type End struct {
	// Share is the part of all connections, from 0 to 1.
	Share float64 `json:"share"`
	// Destination is the endpoint, or where the packet was sent to if no rule
	// translated it.
	Destination string `json:"destination"`
	Translated  bool   `json:"translated"`
	Chain       string `json:"chain,omitempty"`
	// Source is the address that the destination sees; empty for the node's own
	// on the way there, where that is not known.
	Source      string `json:"source,omitempty"`
	Masqueraded bool   `json:"masqueraded"`
}

// Step is one rule that a packet comes by.
type Step struct {
	Table string `json:"table"`
	Hook  string `json:"hook"`
	Chain string `json:"chain"`
	Rule  int    `json:"rule,omitempty"` // from 1 on; 0 for a policy, or one that was not read
	// Handle is the number by which the kernel knows a rule that was not read.
	Handle uint64 `json:"handle,omitempty"`
	Text   string `json:"text"`
	// Matched says that the rule was for this packet.
	Matched bool     `json:"matched"`
	Lookups []Lookup `json:"lookups,omitempty"`
	// IPTables is what kube-proxy's iptables rules do at this point.
	IPTables string `json:"iptables,omitempty"`
}

// Lookup is a lookup in one of our sets.
type Lookup struct {
	Set string `json:"set,omitempty"` // empty for a map that is written within the rule
	Key string `json:"key"`
	// Found is the element as nft lists it, empty if there is none; with a random
	// number in the key, that of the first endpoint.
	Found string `json:"found,omitempty"`
	// Of is how many results the random number could have had.
	Of uint32 `json:"of,omitempty"`
}

// Follow says what becomes of a packet in a ruleset. The Services, as far as they
// are known, tell what rules don't: our rules are the same for both internal
// traffic policies, and kube-proxy's chains are not. portOf is the Service port that
// one of kube-proxy's chains is named for.
func Follow(r *walk.Ruleset, p walk.Packet, world walk.World, portOf func(chain string) string, services ...proxy.Service) (*Way, error) {
	outcomes, err := r.Follow(p, world)
	if err != nil {
		return nil, err
	}
	w := &Way{
		From: p.Source.Addr().String(), To: p.Dest.String(), Protocol: proxy.Protocol(p.Protocol).String(), Sender: sender(p),
		Service: servicePort(outcomes, portOf), Steps: []Step{}, Branches: []Branch{},
	}
	words := words{full: w.Service, protocol: proxy.Protocol(p.Protocol), dest: p.Dest, nodePort: world.Local(p.Dest.Addr()), guarded: guarded(outcomes[0].Steps), local: internalLocal(services, p)}
	common := shared(outcomes)
	for i := range outcomes[0].Steps[:common] {
		w.Steps = append(w.Steps, words.step(&outcomes[0].Steps[i]))
	}
	for i := range outcomes {
		w.add(&outcomes[i], outcomes[i].Steps[common:], &words)
	}
	return w, nil
}

// guarded says that only some clients may use the packet's destination.
func guarded(steps []walk.Step) bool {
	return slices.ContainsFunc(steps, func(s walk.Step) bool {
		return slices.ContainsFunc(s.Lookups, func(l walk.Lookup) bool { return l.Set.Name == "guarded" && l.Element != nil })
	})
}

// internalLocal says that the packet goes to a ClusterIP with the internal traffic
// policy Local.
func internalLocal(services []proxy.Service, p walk.Packet) bool {
	for i := range services {
		for j := range services[i].Ports {
			port := &services[i].Ports[j]
			has := func(f proxy.Frontend) bool { return f.Addr == p.Dest.Addr() }
			if port.InternalLocal && port.Port == p.Dest.Port() && uint8(port.Protocol) == p.Protocol && slices.ContainsFunc(port.Frontends, has) {
				return true
			}
		}
	}
	return false
}

func sender(p walk.Packet) string {
	if p.In == "" {
		return "this node itself"
	}
	return "interface " + p.In
}

// servicePort is the Service port whose element the packet found first.
func servicePort(outcomes []walk.Outcome, portOf func(string) string) string {
	for i := range outcomes {
		for _, s := range outcomes[i].Steps {
			for _, l := range s.Lookups {
				switch {
				case l.Element == nil:
				case l.Element.Comment != "":
					return l.Element.Comment
				case l.Element.Goto != "" && portOf(l.Element.Goto) != "":
					return portOf(l.Element.Goto)
				}
			}
		}
	}
	return ""
}

// shared is how many steps all outcomes have in common: up to and with the one
// that takes the random number.
func shared(outcomes []walk.Outcome) int {
	n := len(outcomes[0].Steps)
	for i := range outcomes[1:] {
		steps := outcomes[i+1].Steps
		n = min(n, len(steps))
		for j := range n {
			if !sameStep(&outcomes[0].Steps[j], &steps[j]) {
				n = j
				break
			}
		}
	}
	return n
}

// sameStep says that two packets do alike at a rule, but for which endpoint they
// get.
func sameStep(a, b *walk.Step) bool {
	return a.Rule == b.Rule && a.Chain == b.Chain && a.Table == b.Table && a.Hook == b.Hook && a.Matched == b.Matched && a.Target == b.Target
}

// add adds an outcome to the branch that it belongs to.
func (w *Way) add(o *walk.Outcome, steps []walk.Step, words *words) {
	e := End{Share: o.Share, Destination: o.Dest.String(), Translated: o.Translated, Masqueraded: o.Masqueraded}
	if o.Source.Addr().IsValid() {
		e.Source = o.Source.Addr().String()
	}
	if o.Translated {
		e.Chain = words.endpoint(o.Dest)
	}
	var list []Step
	for i := range steps {
		list = append(list, words.step(&steps[i]))
	}
	i := slices.IndexFunc(w.Branches, func(b Branch) bool { return b.Fate == string(o.Fate) && slices.EqualFunc(b.Steps, list, alike) })
	if i < 0 {
		w.Branches = append(w.Branches, Branch{Fate: string(o.Fate), Steps: list})
		i = len(w.Branches) - 1
	}
	w.Branches[i].Ends = append(w.Branches[i].Ends, e)
}

// alike says that two steps are the same rule, whatever it looked up.
func alike(a, b Step) bool {
	return a.Table == b.Table && a.Chain == b.Chain && a.Rule == b.Rule && a.Hook == b.Hook && a.Matched == b.Matched
}

// step is a step in words.
func (w *words) step(s *walk.Step) Step {
	f := s.Table.Family
	out := Step{Table: s.Table.String(), Hook: s.Hook.String(), Chain: s.Chain, Text: s.Rule.Text(), Matched: s.Matched}
	if s.Rule != nil {
		out.Rule = s.Rule.Number
	}
	for _, l := range s.Lookups {
		found := ""
		if l.Element != nil {
			found = l.Set.Text(f, *l.Element)
		}
		name := l.Set.Name
		if l.Set.Anonymous() {
			name = written
		}
		out.Lookups = append(out.Lookups, Lookup{Set: name, Key: l.Set.Text(f, nft.Element{Key: l.Key}), Found: found, Of: l.Of})
	}
	if s.Matched && s.Rule != nil && s.Table.Name == layout.TableName {
		out.IPTables = w.iptables(s)
	}
	return out
}

// ParseTo reads IP:PORT/PROTOCOL.
func ParseTo(text string) (netip.AddrPort, proxy.Protocol, error) {
	wrong := func() error {
		return fmt.Errorf("%q is no destination: write it as in 10.96.0.10:53/udp or [fd00:10:96::a]:80/tcp", text)
	}
	at, protocol := text, proxy.TCP
	for _, p := range []proxy.Protocol{proxy.TCP, proxy.UDP, proxy.SCTP} {
		if n := len(text) - len(p.String()) - 1; n > 0 && text[n:] == "/"+p.String() {
			at, protocol = text[:n], p
		}
	}
	dest, err := netip.ParseAddrPort(at)
	if err != nil || dest.Port() == 0 {
		return netip.AddrPort{}, 0, wrong()
	}
	return netip.AddrPortFrom(dest.Addr().Unmap(), dest.Port()), protocol, nil
}
