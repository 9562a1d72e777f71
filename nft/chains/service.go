package chains

import (
	"net/netip"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Elements appends what one Service adds to the maps and sets.
func (l *Layout) Elements(to []nft.Placed, svc *proxy.Service) []nft.Placed {
	for i := range svc.Ports {
		port := &svc.Ports[i]
		if len(port.Frontends) == 0 {
			continue
		}
		fam := l.family(nft.FamilyOf(port.Frontends[0].Addr))
		p := newPort(fam, svc, port)
		for _, frontend := range port.Frontends {
			to = p.elements(to, frontend)
		}
	}
	return to
}

// servicePort is a Service port as one way leads to it, in one family.
type servicePort struct {
	fam     *family
	names   names
	comment string
	*proxy.Port
}

func newPort(fam *family, svc *proxy.Service, port *proxy.Port) *servicePort {
	return &servicePort{fam, names{port.FullName(svc.Name), port.Protocol}, layout.Comment(svc.Name, port), port}
}

func (p *servicePort) elements(to []nft.Placed, frontend proxy.Frontend) []nft.Placed {
	put := func(set *nft.Set, e nft.Element) {
		to = append(to, nft.Placed{Table: p.fam.table, Set: set, Element: e})
	}
	addr := string(frontend.Addr.AsSlice())
	key := addr + string([]byte{byte(p.Protocol), 0, 0, 0, byte(p.Port.Port >> 8), byte(p.Port.Port), 0, 0})
	if frontend.Kind == proxy.ClusterIP {
		put(p.fam.ClusterIPs, nft.Element{Key: addr})
	}
	if len(p.SourceRanges) > 0 {
		put(p.fam.firewall, nft.Element{Key: key, Goto: p.names.fw(), Comment: p.comment})
	}
	nodePort := frontend.Kind == proxy.NodePort
	switch {
	case len(p.Endpoints) > 0 || p.Elsewhere:
		set := p.fam.services
		if nodePort {
			set = p.fam.nodePorts
		}
		put(set, nft.Element{Key: key, Goto: p.dispatched(), Comment: p.comment})
	case nodePort:
		put(p.fam.NoNodePort, nft.Element{Key: key, Comment: p.comment})
	default:
		put(p.fam.NoEndpoints, nft.Element{Key: key, Comment: p.comment})
	}
	return to
}

// dispatched is the chain that a frontend's traffic goes to first.
func (p *servicePort) dispatched() string {
	switch {
	case len(p.Endpoints) == 0:
		return chainNoLocal
	case p.External():
		return p.names.ext()
	case p.InternalLocal:
		return p.names.svl()
	}
	return p.names.svc()
}

// OwnChains appends the chains that one Service has for itself.
func (l *Layout) OwnChains(to []nft.OwnChain, svc *proxy.Service) []nft.OwnChain {
	o := owner{config: l.config, to: to, there: map[id]bool{}}
	for i := range svc.Ports {
		port := &svc.Ports[i]
		if len(port.Frontends) > 0 {
			fam := l.family(nft.FamilyOf(port.Frontends[0].Addr))
			o.port(newPort(fam, svc, port))
		}
	}
	return o.to
}

// owner collects the chains of a Service. Several ways into it lead to the same
// ones.
type owner struct {
	config layout.Config
	to     []nft.OwnChain
	there  map[id]bool
}

type id struct {
	family nft.Family
	chain  string
}

// put adds a chain whose rules it makes if that is not there yet.
func (o *owner) put(p *servicePort, name string, set *nft.Set, rules func() []nft.Rule) {
	if at := (id{p.fam.table.Family, name}); !o.there[at] {
		o.there[at] = true
		o.to = append(o.to, nft.OwnChain{Table: p.fam.table, Chain: &nft.Chain{Name: name, Rules: rules()}, Set: set})
	}
}

func (o *owner) port(p *servicePort) {
	if len(p.SourceRanges) > 0 {
		o.put(p, p.names.fw(), nil, p.firewall)
	}
	if len(p.Endpoints) == 0 {
		return
	}
	if p.External() {
		o.put(p, p.names.ext(), nil, func() []nft.Rule { return p.external(o.config) })
	}
	if p.InternalLocal {
		o.spread(p, p.names.svl(), p.Endpoints)
	} else {
		o.spread(p, p.names.svc(), p.Endpoints)
	}
	if p.LocalOnly && len(p.LocalEndpoints) > 0 {
		o.spread(p, p.names.svl(), p.LocalEndpoints)
	}
}

// firewall lets only those in that come from the source ranges.
func (p *servicePort) firewall() []nft.Rule {
	var rules []nft.Rule
	for _, from := range layout.OfFamily(p.fam.table.Family, p.SourceRanges) {
		rules = append(rules, layout.Commented(p.comment, nft.From{Prefix: from}, nft.Return{}))
	}
	return append(rules, layout.Rule(nft.Drop{}))
}

// external takes traffic from outside. With the policy Local, traffic from pods
// and from this node goes to any endpoint, as if it had gone out and come back
// through the load balancer.
func (p *servicePort) external(c layout.Config) []nft.Rule {
	mark, all := nft.Jump{Chain: chainMarkMasq}, nft.Goto{Chain: p.names.svc()}
	if !p.LocalOnly {
		return []nft.Rule{layout.Commented(p.comment, mark), layout.Rule(all)}
	}
	var rules []nft.Rule
	if pods := c.FromPods(p.fam.table.Family, false); pods != nil {
		rules = append(rules, layout.Commented("from a pod", pods, all))
	}
	rules = append(rules,
		layout.Commented("from this node", nft.FromNode{}, mark),
		layout.Commented("from this node", nft.FromNode{}, all))
	if len(p.LocalEndpoints) == 0 {
		return append(rules, dropped())
	}
	return append(rules, layout.Rule(nft.Goto{Chain: p.names.svl()}))
}

// spread has the chain that spreads traffic over endpoints, and theirs.
func (o *owner) spread(p *servicePort, name string, endpoints []proxy.Endpoint) {
	seps := make([]string, len(endpoints))
	for i := range endpoints {
		ep := endpoints[i]
		seps[i] = p.names.sep(ep.AddrPort)
		var set *nft.Set
		if p.Affinity > 0 {
			set = clients(seps[i])
		}
		o.put(p, seps[i], set, func() []nft.Rule { return p.endpoint(seps[i], ep) })
	}
	o.put(p, name, nil, func() []nft.Rule { return p.balance(seps) })
}

func (p *servicePort) balance(seps []string) []nft.Rule {
	var rules []nft.Rule
	if p.Affinity > 0 {
		for _, sep := range seps {
			rules = append(rules, layout.Rule(nft.InSet{Key: []nft.Field{nft.SourceAddr{}}, Set: sep}, nft.Goto{Chain: sep}))
		}
	}
	last := nft.Goto{Chain: seps[len(seps)-1]}
	if len(seps) == 1 {
		return append(rules, layout.Commented(p.comment, last))
	}
	// Spread says why there has to be one more.
	return append(rules, layout.Commented(p.comment, nft.Spread{Over: seps}),
		layout.Commented("for packets that were under way when the endpoints changed", last))
}

// endpoint translates to one endpoint. What an endpoint sends to itself is
// masqueraded, so that the answer comes back this way.
func (p *servicePort) endpoint(name string, ep proxy.Endpoint) []nft.Rule {
	var rules []nft.Rule
	if ep.ReachesItself() {
		self := netip.PrefixFrom(ep.Addr(), ep.Addr().BitLen())
		rules = append(rules, layout.Commented(p.comment, nft.From{Prefix: self}, nft.Jump{Chain: chainMarkMasq}))
	}
	if p.Affinity > 0 {
		rules = append(rules, layout.Rule(nft.Remember{Map: name, Key: []nft.Field{nft.SourceAddr{}}, Timeout: p.Affinity}))
	}
	return append(rules, layout.Commented(p.comment, nft.Translate{Protocol: uint8(p.Protocol), To: ep.AddrPort}))
}
