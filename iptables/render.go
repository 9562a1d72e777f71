package iptables

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Names of kube-proxy's chains that are there once.
const (
	chainServices         = "KUBE-SERVICES"
	chainExternalServices = "KUBE-EXTERNAL-SERVICES"
	chainNodePorts        = "KUBE-NODEPORTS"
	chainPostrouting      = "KUBE-POSTROUTING"
	chainMarkMasq         = "KUBE-MARK-MASQ"
	chainMarkDrop         = "KUBE-MARK-DROP" // until 1.27
	chainForward          = "KUBE-FORWARD"
	chainFirewall         = "KUBE-FIREWALL"
	chainProxyFirewall    = "KUBE-PROXY-FIREWALL"
	chainCanary           = "KUBE-PROXY-CANARY"
)

// manyEndpoints is where kube-proxy leaves comments out, to save memory.
const manyEndpoints = 1000

// Render is what kube-proxy in iptables mode would have in the kernel for these
// Services, as they are granted. The order of Services is theirs; kube-proxy's is
// another one each time.
func Render(services []proxy.Service, c Config) *Dump {
	r := newRenderer(services, c)
	mangle := tableWith("mangle", "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
	r.filter = tableWith("filter", "INPUT", "FORWARD", "OUTPUT")
	r.nat = tableWith("nat", "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
	for _, t := range []*Table{mangle, r.filter, r.nat} {
		t.Add(chainCanary)
	}
	r.fixedFilter()
	r.fixedNAT()
	for i := range services {
		r.service(&services[i])
	}
	r.nodePorts()
	for _, t := range []*Table{mangle, r.filter, r.nat} {
		t.sort()
	}
	return &Dump{Tables: []Table{*mangle, *r.filter, *r.nat}}
}

// RenderService is the part of Render that one of the Services has, as grep would
// find it.
func RenderService(services []proxy.Service, name proxy.Name, c Config) *Dump {
	r := newRenderer(services, c)
	r.filter, r.nat = &Table{Name: "filter"}, &Table{Name: "nat"}
	for i := range services {
		if services[i].Name == name {
			r.service(&services[i])
		}
	}
	d := &Dump{}
	for _, t := range []*Table{r.filter, r.nat} {
		if len(t.Chains) > 0 {
			t.sort()
			d.Tables = append(d.Tables, *t)
		}
	}
	return d
}

func newRenderer(services []proxy.Service, c Config) *renderer {
	endpoints := 0
	for i := range services {
		for _, p := range servicePorts(&services[i], c.IPv6) {
			endpoints += len(p.all())
		}
	}
	return &renderer{Config: c, terse: endpoints > manyEndpoints || c.Style == Classic}
}

func (r *renderer) service(svc *proxy.Service) {
	for _, p := range servicePorts(svc, r.IPv6) {
		r.port(p)
	}
}

// tableWith is a table with its built-in chains.
func tableWith(name string, chains ...string) *Table {
	t := &Table{Name: name}
	for _, c := range chains {
		t.Add(c).Policy = Accept
	}
	return t
}

// sort puts the chains in the order of iptables-save: the built-in ones, then the
// others by name.
func (t *Table) sort() {
	slices.SortStableFunc(t.Chains, func(a, b *Chain) int {
		switch {
		case a.Policy != "" && b.Policy != "":
			return 0
		case a.Policy != "":
			return -1
		case b.Policy != "":
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}

type renderer struct {
	Config
	filter, nat *Table
	// terse leaves out the comments of Services' and endpoints' chains.
	terse bool
}

func (t *Table) rule(chain string, r Rule) {
	c := t.Add(chain)
	c.Rules = append(c.Rules, r)
}

func jump(to string, matches ...Match) Rule {
	return Rule{Matches: matches, Target: Jump{To: to}}
}

// portal is a rule for connections to a port, at an address if there is one.
func portal(addr netip.Addr, protocol string, port uint16, comment string, to Target) Rule {
	r := Rule{
		Protocol: Protocol{Name: protocol},
		Matches:  []Match{Comment(comment), Ports{Module: protocol, Destination: PortRange{Set: true, From: port, To: port}}},
		Target:   to,
	}
	if addr.IsValid() {
		r.Destination = Address{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	}
	return r
}

// fixedFilter has the rules of the table filter that no Service has.
func (r *renderer) fixedFilter() {
	t := r.filter
	added := Conntrack{Module: "conntrack", States: New}
	for _, name := range []string{chainServices, chainExternalServices, chainNodePorts, chainFirewall, chainForward, chainProxyFirewall} {
		t.Add(name)
	}
	t.rule("INPUT", jump(chainFirewall))
	t.rule("INPUT", jump(chainProxyFirewall, added, Comment("kubernetes load balancer firewall")))
	t.rule("INPUT", jump(chainNodePorts, Comment("kubernetes health check service ports")))
	t.rule("INPUT", jump(chainExternalServices, added, Comment("kubernetes externally-visible service portals")))
	t.rule("FORWARD", jump(chainProxyFirewall, added, Comment("kubernetes load balancer firewall")))
	t.rule("FORWARD", jump(chainForward, Comment("kubernetes forwarding rules")))
	t.rule("FORWARD", jump(chainServices, added, Comment("kubernetes service portals")))
	t.rule("FORWARD", jump(chainExternalServices, added, Comment("kubernetes externally-visible service portals")))
	t.rule("OUTPUT", jump(chainFirewall))
	t.rule("OUTPUT", jump(chainProxyFirewall, added, Comment("kubernetes load balancer firewall")))
	t.rule("OUTPUT", jump(chainServices, added, Comment("kubernetes service portals")))

	if r.localhost() {
		// NodePorts at 127.0.0.1 need route_localnet, which lets others in, too.
		loopback := netip.MustParsePrefix("127.0.0.0/8")
		block := jump(Drop, Comment("block incoming localnet connections"), Conntrack{Module: "conntrack", Not: true, States: Related | Established | DNATed})
		block.Source, block.Destination = Address{Not: true, Prefix: loopback}, Address{Prefix: loopback}
		t.rule(chainFirewall, block)
	}
	invalid := jump(Drop, Conntrack{Module: "conntrack", States: Invalid})
	if r.Accounting {
		invalid.Matches = append(invalid.Matches, counted("ct_state_invalid_dropped_pkts"))
	}
	t.rule(chainForward, invalid)
	t.rule(chainForward, jump(Accept, Comment("kubernetes forwarding rules"), r.marked(false)))
	t.rule(chainForward, jump(Accept, Comment("kubernetes forwarding conntrack rule"), Conntrack{Module: "conntrack", States: Related | Established}))
}

// counted is nfacct's match, with the two blanks that iptables-save prints.
func counted(name string) Match { return Other{"nfacct", "--nfacct-name  " + name} }

func (r *renderer) marked(not bool) Match {
	return Mark{Not: not, Value: r.Config.Mark, Mask: r.Config.Mark}
}

// fixedNAT has the rules of the table nat that no Service has.
func (r *renderer) fixedNAT() {
	t := r.nat
	for _, name := range []string{chainServices, chainNodePorts} {
		t.Add(name)
	}
	t.rule("PREROUTING", jump(chainServices, Comment("kubernetes service portals")))
	t.rule("OUTPUT", jump(chainServices, Comment("kubernetes service portals")))
	t.rule("POSTROUTING", jump(chainPostrouting, Comment("kubernetes postrouting rules")))
	t.rule(chainMarkMasq, Rule{Target: SetMark{r.Mark, r.Mark}})
	t.rule(chainPostrouting, jump(Return, r.marked(true)))
	t.rule(chainPostrouting, Rule{Target: SetMark{r.Mark, 0}})
	t.rule(chainPostrouting, Rule{Matches: []Match{Comment("kubernetes service traffic requiring SNAT")}, Target: Masquerade{RandomFully: true}})
}

// nodePorts ends KUBE-SERVICES with the way to the NodePorts.
func (r *renderer) nodePorts() {
	last := Comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
	if r.AllNodePortAddresses {
		all := jump(chainNodePorts, last, AddrType{Destination: "LOCAL"})
		if r.IPv6 {
			all.Destination = Address{Not: true, Prefix: netip.MustParsePrefix("::1/128")}
		}
		r.nat.rule(chainServices, all)
		return
	}
	for _, addr := range r.NodePortAddresses {
		if addr.Is6() != r.IPv6 || r.IPv6 && addr.IsLoopback() {
			continue
		}
		one := jump(chainNodePorts, last)
		one.Destination = Address{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
		r.nat.rule(chainServices, one)
	}
}
