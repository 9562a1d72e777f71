package iptables

import (
	"net/netip"
	"strings"
)

// endpointsSaid are the endpoints of chains, by the comments of rules that lead there.
func endpointsSaid(t *Table) map[string]netip.AddrPort {
	said := map[string]netip.AddrPort{}
	for _, c := range t.Chains {
		for i := range c.Rules {
			r := &c.Rules[i]
			if !strings.HasPrefix(r.Jump(), PrefixEndpoint) {
				continue
			}
			if _, text, ok := strings.Cut(r.Comment(), " -> "); ok {
				if at, err := netip.ParseAddrPort(text); err == nil {
					said[r.Jump()] = at
				}
			}
		}
	}
	return said
}

// endpoint mends a rule that does not say where to, where the rule before said so.
func (c *completer) endpoint(chain *Chain, r *Rule, said map[string]netip.AddrPort) {
	to, known := said[chain.Name]
	if !known {
		return
	}
	switch target := r.Target.(type) {
	case DNAT:
		// An older iptables may print it as ":0".
		if len(target.To) > 0 && target.To[0] != (Destinations{}) {
			return
		}
	case OtherTarget:
		if target.Name != "DNAT" {
			return
		}
	default:
		return
	}
	c.warn(r.Line, "%s in chain %s does not say where to; %s is taken, as the comment of the rule before says", strings.TrimSpace(string(r.Target.append(nil))), chain.Name, to)
	r.Target = DNAT{To: []Destinations{{From: to.Addr(), To: to.Addr(), FromPort: to.Port(), ToPort: to.Port()}}}
}
