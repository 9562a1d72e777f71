package explain

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// held is what the kernel has of a set, by key.
type held map[string]*nft.Element

// compared is the Service's elements next to those that the kernel holds.
type compared struct {
	kernel   map[nft.ID]*nft.Held
	known    bool // that the kernel could be read
	sets     map[*nft.Set]held
	elements map[*proxy.Port][]Element
	own      map[*proxy.Port][]Chain
	result   Kernel
	// missing and there are how many of the elements with the Service's name are
	// so; others it may share.
	missing, there int
}

// compare looks for all elements of a Service in the kernel, and for those that
// the kernel has of it besides.
func (b *builder) compare(svc *proxy.Service) *compared {
	c := &compared{kernel: b.input.Kernel, known: b.input.Kernel != nil, sets: map[*nft.Set]held{}, elements: map[*proxy.Port][]Element{}, own: map[*proxy.Port][]Chain{}}
	c.result = Kernel{State: Unknown}
	placed := *svc // with its endpoints in the kernel's slots
	if c.known {
		c.tables(b)
		placed = b.input.Layout.InSlots(*svc, nil, c.lookup)
	}
	chains := map[*nft.Table]map[string]bool{}
	wanted := map[*nft.Set]map[string]bool{}
	done := map[nft.Placed]Element{} // several ports may want the same one
	var frontends []string           // keys
	for i := range svc.Ports {
		one := proxy.Service{Name: svc.Name, Ports: placed.Ports[i : i+1]}
		for _, p := range b.input.Layout.Elements(nil, &one) {
			e, again := done[p]
			if !again {
				e = c.element(p)
				done[p] = e
			}
			if list := c.elements[&svc.Ports[i]]; !slices.Contains(list, e) {
				c.elements[&svc.Ports[i]] = append(list, e)
			}
			if wanted[p.Set] == nil {
				wanted[p.Set] = map[string]bool{}
			}
			wanted[p.Set][p.Key] = true
			if p.Goto != "" {
				if chains[p.Table] == nil {
					chains[p.Table] = map[string]bool{}
				}
				chains[p.Table][p.Goto] = true
			}
		}
		for _, own := range b.input.Layout.OwnChains(nil, &one) {
			c.own[&svc.Ports[i]] = append(c.own[&svc.Ports[i]], c.chain(own.Table, own.Chain))
		}
		for _, f := range svc.Ports[i].Frontends {
			frontends = append(frontends, frontendKey(f.Addr, svc.Ports[i].Protocol, svc.Ports[i].Port))
		}
	}
	c.result.Elements = len(done)
	c.surplus(b, svc, wanted, frontends)
	for _, own := range b.input.Layout.OwnChains(nil, svc) {
		c.compareChain(own.Table, own.Chain)
	}
	for _, t := range b.input.Layout.Tables() {
		c.chains(b, t, chains[t])
	}
	if c.known && c.result.State != Nothing {
		c.result.Deviations, c.result.Differences = c.result.Differences, b.behaviour(svc)
		c.result.State = Agrees
		switch {
		case c.missing > 0 && c.there == 0:
			c.result.State = Absent
		case len(c.result.Differences) > 0:
			c.result.State = Differs
		}
	}
	return c
}

// behaviour is what connections to the Service meet otherwise in the kernel than they
// should. Rules and elements that make no difference are none.
func (b *builder) behaviour(svc *proxy.Service) []string {
	want, have := b.input.Config.Of([]proxy.Service{*svc}), view.View{}
	for _, held := range b.input.Met {
		walk.Compile(held).AddTo(have, walk.Options{
			NodeAddrs: slices.Concat(b.node.NodePorts, b.node.Addresses), OnNode: svc.OnNode(),
			NodePort: func(key view.Key) bool { _, own := want[key]; return !own },
			Only:     func(name string) bool { return names(name, svc.Name) },
		})
	}
	var all []string
	for _, d := range view.Compare(want, have) {
		for _, f := range d.Findings {
			all = append(all, f.Text("the Service", "the kernel"))
		}
	}
	return all
}

func frontendKey(addr netip.Addr, protocol proxy.Protocol, port uint16) string {
	key := append(addr.AsSlice(), byte(protocol), 0, 0, 0)
	return string(append(binary.BigEndian.AppendUint16(key, port), 0, 0))
}

// tables says which of our tables there are, and which of their sets are not
// what they should be.
func (c *compared) tables(b *builder) {
	for _, t := range b.input.Layout.Tables() {
		h := c.kernel[t.ID()]
		if h == nil {
			continue
		}
		c.result.Tables = append(c.result.Tables, t.ID().String())
		c.result.Bypassed = c.result.Bypassed || h.Bypassed()
		for _, s := range t.Sets {
			hs := h.Sets[s.Name]
			switch {
			case hs == nil:
				c.differ("table %s has no %s %s", t.ID(), s.Kind(), s.Name)
				continue
			case !s.Matches(t.Family, hs):
				c.differ("%s %s in table %s is declared in another way than ours", s.Kind(), s.Name, t.ID())
			}
			byKey := make(held, len(hs.Elements))
			for i := range hs.Elements {
				byKey[hs.Elements[i].Key] = &hs.Elements[i]
			}
			c.sets[s] = byKey
		}
	}
	if len(c.result.Tables) == 0 {
		c.result.State = Nothing
	}
}

func (c *compared) differ(format string, args ...any) {
	c.result.Differences = append(c.result.Differences, fmt.Sprintf(format, args...))
}

// lookup is an element that the kernel has.
func (c *compared) lookup(_ *nft.Table, set *nft.Set, key string) (nft.Element, bool) {
	e := c.sets[set][key]
	if e == nil {
		return nft.Element{}, false
	}
	return *e, true
}

// element is one of the Service's elements next to the kernel's.
func (c *compared) element(p nft.Placed) Element {
	f := p.Table.Family
	e := Element{Table: p.Table.ID().String(), Set: p.Set.Name, Text: p.Set.Text(f, p.Element), Kernel: Unknown}
	if !c.known {
		return e
	}
	h := c.sets[p.Set][p.Key]
	switch {
	case p.Comment == "":
	case h == nil || h.Comment != p.Comment:
		c.missing++
	default:
		c.there++
	}
	switch {
	case h == nil:
		e.Kernel = Missing
		if c.result.State != Nothing {
			c.differ("%s %s lacks %s", p.Set.Kind(), p.Set.Name, e.Text)
		}
	case h.KeyEnd != p.KeyEnd || h.Goto != p.Goto || h.Data != p.Data:
		e.Kernel, e.Held = Differs, p.Set.Text(f, *h)
		c.differ("%s %s has %s, want %s", p.Set.Kind(), p.Set.Name, e.Held, e.Text)
	default:
		e.Kernel = Yes
	}
	return e
}

// surplus finds elements that the kernel has of the Service and should not: those
// with its name, and slots of its frontends.
func (c *compared) surplus(b *builder, svc *proxy.Service, wanted map[*nft.Set]map[string]bool, frontends []string) {
	for _, t := range b.input.Layout.Tables() {
		for _, s := range t.Sets {
			for _, key := range slices.Sorted(maps.Keys(c.sets[s])) {
				e := c.sets[s][key]
				slot := len(key) > t.Family.AddrLen()+8 && strings.HasSuffix(s.Name, "endpoints")
				slot = slot && slices.ContainsFunc(frontends, func(f string) bool { return strings.HasPrefix(key, f) })
				if (names(e.Comment, svc.Name) || slot) && !wanted[s][key] {
					c.differ("%s %s has besides: %s", s.Kind(), s.Name, s.Text(t.Family, *e))
				}
			}
		}
	}
}

// names says that a comment is that of a Service's element.
func names(comment string, name proxy.Name) bool {
	rest, ok := strings.CutPrefix(comment, name.String())
	return ok && (rest == "" || rest[0] == ':')
}

// chains compares the chains that are always there, and those that the Service's
// verdicts lead to, with the kernel's.
func (c *compared) chains(b *builder, t *nft.Table, led map[string]bool) {
	h := c.kernel[t.ID()]
	if h == nil {
		return
	}
	todo := t.Chains[:len(t.Chains):len(t.Chains)]
	for _, name := range slices.Sorted(maps.Keys(led)) {
		if chain := b.input.Layout.Chain(t, name); chain != nil {
			todo = append(todo, chain)
		}
	}
	for _, chain := range todo {
		if chain.Base == nil || !h.Bypassed() {
			c.compareChain(t, chain)
		}
	}
}

// compareChain compares a chain with the kernel's.
func (c *compared) compareChain(t *nft.Table, chain *nft.Chain) {
	h := c.kernel[t.ID()]
	if h == nil {
		return
	}
	switch hc := h.Chains[chain.Name]; {
	case hc == nil:
		c.differ("table %s has no chain %s", t.ID(), chain.Name)
	case !chain.SameBase(hc):
		c.differ("chain %s in table %s is called at another place than ours", chain.Name, t.ID())
	case !chain.SameRules(t.Family, hc):
		c.differ("chain %s in table %s has other rules than ours", chain.Name, t.ID())
	}
}

// chain is one of the Service's own chains next to the kernel's.
func (c *compared) chain(t *nft.Table, chain *nft.Chain) Chain {
	out := Chain{Table: t.ID().String(), Name: chain.Name, Rules: []string{}, Kernel: Unknown}
	for _, r := range chain.Rules {
		out.Rules = append(out.Rules, r.Text(t.Family))
	}
	if !c.known {
		return out
	}
	var held *nft.HeldChain
	if h := c.kernel[t.ID()]; h != nil {
		held = h.Chains[chain.Name]
	}
	switch {
	case held == nil:
		out.Kernel = Missing
	case chain.SameRules(t.Family, held):
		out.Kernel = Yes
	default:
		out.Kernel = Differs
	}
	return out
}
