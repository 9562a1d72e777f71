package layout

import (
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Signs are the chains of a layout that show what configuration it was made with.
type Signs struct {
	// Chains makes those that are always there.
	Chains func(nft.Family, Config) []*nft.Chain
	// Mark names one whose rules depend on the mark alone, Pods those that depend
	// on how pods are told and on MasqueradeAll, the most telling first.
	Mark string
	Pods []string
}

// ConfigOf is the configuration that tables in the kernel were made with, so that
// who looks at them need not be told. It says nothing of tables that no
// configuration makes. Of PodCIDRs it tells whether there are some.
func (s Signs) ConfigOf(held []*nft.Held) (Config, bool) {
	var found Config
	known := false
	for _, h := range held {
		if h == nil {
			continue
		}
		c, ok := s.configOf(h)
		if !ok || known && (c.MasqueradeBit != found.MasqueradeBit || c.MasqueradeAll != found.MasqueradeAll || c.PodInterface != found.PodInterface) {
			return Config{}, false
		}
		c.PodCIDRs = append(found.PodCIDRs, c.PodCIDRs...)
		found, known = c, true
	}
	return found, known
}

// configOf finds the configuration of one table by trying: a table is made by few
// of them, and rules are compared as they are when a start takes them over.
func (s Signs) configOf(h *nft.Held) (Config, bool) {
	same := func(c Config, names ...string) bool {
		for _, chain := range s.Chains(h.Family, c) {
			held := h.Chains[chain.Name]
			if slices.Contains(names, chain.Name) && (held == nil || !chain.SameRules(h.Family, held)) {
				return false
			}
		}
		return true
	}
	bit := 0
	for ; bit < 32; bit++ {
		if same(Config{MasqueradeBit: bit}, s.Mark) {
			break
		}
	}
	if bit == 32 {
		return Config{}, false
	}
	pods := []Config{{}, {PodCIDRs: []netip.Prefix{everything(h.Family)}}}
	if told := h.Chains[s.Pods[0]]; told != nil && len(told.Rules) > 0 {
		for _, name := range words(told.Rules[0].Program) {
			pods = append(pods, Config{PodInterface: name})
			for n := range len(name) { // the start of a name has no end in a program
				pods = append(pods, Config{PodInterface: name[:n+1] + "*"})
			}
		}
	}
	for _, c := range pods {
		for _, all := range []bool{false, true} {
			c.MasqueradeBit, c.MasqueradeAll = bit, all
			if c.Validate() == nil && same(c, s.Pods...) {
				return c, true
			}
		}
	}
	return Config{}, false
}

func everything(f nft.Family) netip.Prefix {
	if f == nft.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// words are what could be names in a rule's program.
func words(program []byte) []string {
	var all []string
	var word []byte
	for _, b := range append(slices.Clone(program), 0) {
		if b > ' ' && b < 0x7f {
			word = append(word, b)
			continue
		}
		if len(word) > 0 {
			all = append(all, string(word))
		}
		word = nil
	}
	return all
}
