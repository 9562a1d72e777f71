package layout

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// The layouts by name.
const (
	Maps   = "maps"
	Chains = "chains"
)

// chainStored is the chain that says how a table was made. Nothing leads to it.
const chainStored = "configuration"

// Stored is the chain that has the configuration in its rules' comments: of all that
// nft lists, rules alone can be replaced in place on every kernel.
func (c Config) Stored(f nft.Family, layout string) *nft.Chain {
	pods := "not told"
	switch {
	case c.PodInterface != "":
		pods = "interface " + c.PodInterface
	case len(OfFamily(f, c.PodCIDRs)) > 0:
		pods = "pod-cidrs"
	}
	chain := &nft.Chain{Name: chainStored}
	for _, fact := range [][2]string{
		{"layout", layout},
		{"scope", string(cmp.Or(c.Scope, proxy.ScopeAll))},
		{"masquerade bit", strconv.Itoa(c.MasqueradeBit)},
		{"masquerade all", strconv.FormatBool(c.MasqueradeAll)},
		{"pods", pods},
	} {
		chain.Rules = append(chain.Rules, Commented(fact[0]+": "+fact[1], nft.Return{}))
	}
	return chain
}

// StoredIn is the configuration, and the name of the layout, that tables say they were
// made with. Tables of older releases say nothing. Of PodCIDRs it has all
// addresses of those families that have some: the set pod-cidrs has them as they are.
func StoredIn(tables []*nft.Held) (c Config, layout string, ok bool) {
	for _, t := range tables {
		if t == nil || t.Chains[chainStored] == nil {
			continue
		}
		for _, r := range t.Chains[chainStored].Rules {
			key, value, _ := strings.Cut(nft.ElementComment(r.UserData), ": ")
			switch key {
			case "layout":
				layout, ok = value, true
			case "scope":
				c.Scope = proxy.Scope(value)
			case "masquerade bit":
				c.MasqueradeBit, _ = strconv.Atoi(value)
			case "masquerade all":
				c.MasqueradeAll = value == "true"
			case "pods":
				if name, found := strings.CutPrefix(value, "interface "); found {
					c.PodInterface = name
				} else if value == "pod-cidrs" {
					c.PodCIDRs = append(c.PodCIDRs, everything(t.Family))
				}
			}
		}
	}
	return c, layout, ok && c.Validate() == nil
}

func everything(f nft.Family) netip.Prefix {
	if f == nft.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
