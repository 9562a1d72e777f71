package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Reading is what a dump's rules mean for Services.
type Reading struct {
	// View is what connections to each frontend meet.
	View view.View
	// Frontends say where each frontend of the View comes from.
	Frontends map[view.Key]Frontend
	// HealthChecks are the ports for load balancers to ask, by the Service port
	// that they are written for.
	HealthChecks map[string]uint16
	// PodCIDRs and PodInterfaces are what tells pods, each once.
	PodCIDRs      []netip.Prefix
	PodInterfaces []string
	// NodePortAddresses are those of the node at which NodePorts are reached; all are,
	// if AllNodePortAddresses.
	NodePortAddresses    []netip.Addr
	AllNodePortAddresses bool
	// Unhooked are the ways from base chains that kube-proxy has and the dump lacks.
	Unhooked []Unhooked
	// Empty says that this is a whole dump of kube-proxy's, without one Service.
	Empty bool
	// Warnings are those of the dump, and what could not be carried over.
	Warnings []Warning
}

// Unhooked is a base chain that does not lead to one of kube-proxy's chains.
type Unhooked struct{ From, To string }

// String is a sentence.
func (u Unhooked) String() string {
	return fmt.Sprintf("chain %s does not lead to %s, as kube-proxy has it", u.From, u.To)
}

// Frontend is what a rule says of a frontend besides what connections meet.
type Frontend struct {
	view.Origin
	// Line is that of the first rule for it.
	Line int
}

// Interpret reads the rules of kube-proxy, of any release from 1.12 on. It walks
// them as packets would, from pods, from the node and from outside, so that it does
// not depend on how a release laid out its chains. Others' rules are left alone.
// What has no place in a View, or is not understood, is in the Warnings.
func Interpret(d *Dump) *Reading { return interpret(Complete(d), false) }

func interpret(d *Dump, fromHooks bool) *Reading {
	named := len(d.Warnings)
	in := &interpreter{
		fromHooks: fromHooks,
		Reading:   &Reading{View: view.View{}, Frontends: map[view.Key]Frontend{}, HealthChecks: map[string]uint16{}, Warnings: slices.Clone(d.Warnings)},
		family:    4, cut: d.cut,
		nat: d.Table("nat"), filter: d.Table("filter"), told: map[Warning]bool{}, index: map[*Chain]*index{},
	}
	if line4, line6 := d.families(); line4 == 0 && line6 > 0 {
		in.family = 6
	}
	if in.nat.Chain(chainServices) == nil {
		in.warn(0, "there is no chain %s in a table nat: these are not the rules of kube-proxy in iptables mode", chainServices)
	}
	in.findPods()
	in.findNodePorts()
	in.checkMarks()
	in.checkHooks()
	in.findUnhooked()
	in.frontends()
	for _, key := range in.keys() {
		in.frontend(key)
	}
	if t := in.nat; len(in.View) == 0 && !d.Listing && t.Chain(chainServices) != nil && t.Chain(chainServices).Line > 0 {
		in.Empty = named == 0 && !in.serves()
		if in.Empty {
			in.warn(0, "kube-proxy serves no Service here")
		}
	}
	in.checkNames()
	in.checkNotes()
	in.checkOthers(d)
	slices.SortStableFunc(in.Warnings, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return in.Reading
}

// interpreter is one run of Interpret.
type interpreter struct {
	*Reading
	nat, filter *Table
	// fromHooks is for walks that begin at the base chains, and masquerades says that
	// connections that are marked for it are masqueraded.
	fromHooks, masquerades bool
	told                   map[Warning]bool
	index                  map[*Chain]*index
	family                 int  // 4 or 6
	cut                    bool // chains may have lost their rules
	mark                   uint32
	endless                int               // walks that were given up
	ofChain                map[string]string // see services
}

// warn tells of something, once.
func (in *interpreter) warn(line int, format string, args ...any) {
	w := Warning{line, fmt.Sprintf(format, args...)}
	if in.told[w] || len(in.told) > maxWarnings {
		return
	}
	in.told[w] = true
	if len(in.told) > maxWarnings {
		w = Warning{Text: "more warnings like these are left out"}
	}
	in.Warnings = append(in.Warnings, w)
}

// keys are the frontends in the order of the dump.
func (in *interpreter) keys() []view.Key {
	keys := make([]view.Key, 0, len(in.Frontends))
	for key := range in.Frontends {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b view.Key) int {
		return cmp.Or(cmp.Compare(in.Frontends[a].Line, in.Frontends[b].Line), strings.Compare(a.String(), b.String()))
	})
	return keys
}

// serves reports whether there is a chain of a Service, so that one was lost if there is
// no frontend.
func (in *interpreter) serves() bool {
	return slices.ContainsFunc(in.nat.Chains, func(c *Chain) bool { return IsServiceChain(c.Name) && len(c.Rules) > 0 }) ||
		slices.ContainsFunc(in.nat.Chain(chainServices).Rules, func(r Rule) bool { return r.Jump() != chainNodePorts })
}

// frontends finds all frontends: what rules in the chains that dispatch have a
// port for.
func (in *interpreter) frontends() {
	for _, chain := range []*Chain{
		in.nat.Chain(chainServices), in.nat.Chain(chainNodePorts),
		in.filter.Chain(chainServices), in.filter.Chain(chainExternalServices), in.filter.Chain(chainProxyFirewall),
	} {
		if chain == nil {
			continue
		}
		for i := range chain.Rules {
			in.frontendOf(chain, &chain.Rules[i])
		}
	}
	if chain := in.filter.Chain(chainNodePorts); chain != nil {
		for i := range chain.Rules {
			in.healthCheck(&chain.Rules[i])
		}
	}
}

// frontendOf notes the frontend that a rule is for, if it is for one.
func (in *interpreter) frontendOf(chain *Chain, r *Rule) {
	port := r.port()
	protocol, ok := protocolOf(r.Protocol)
	if port == 0 || !ok || r.Destination.Not || r.Jump() == Accept {
		return
	}
	if r.Destination.IsZero() {
		if chain.Name == chainNodePorts || hasAddrType(r) {
			in.note(view.NodePort(in.is4(), protocol, port), proxy.NodePort, r)
		}
		return
	}
	addr, ok := in.single(r)
	if !ok {
		return
	}
	in.note(view.Key{Addr: addr, Protocol: protocol, Port: port}, kindOf(chain, r), r)
}

func hasAddrType(r *Rule) bool {
	return slices.ContainsFunc(r.Matches, func(m Match) bool {
		a, ok := m.(AddrType)
		return ok && a.Destination == "LOCAL"
	})
}

// single is the one address that a rule is for.
func (in *interpreter) single(r *Rule) (netip.Addr, bool) {
	p := r.Destination.Prefix
	switch {
	case r.Destination.Mask == "" && p.IsSingleIP():
		return p.Addr(), true
	case p.Addr().IsLoopback():
		return netip.Addr{}, false // NodePorts there are counted apart
	case r.Destination.Mask == "" && p.Masked() != p:
		in.warn(r.Line, "-d %s is no network: %s has bits beyond the first %d; the single address is taken", p, p.Addr(), p.Bits())
		return p.Addr(), true
	}
	in.warn(r.Line, "-d %s is no single address; the rule is passed over: %s", p, r.Comment())
	return netip.Addr{}, false
}

func (in *interpreter) note(key view.Key, kind proxy.FrontendKind, r *Rule) {
	f, there := in.Frontends[key]
	if !there {
		f = Frontend{view.Origin{Kind: kind}, r.Line}
	}
	if f.Kind == proxy.ClusterIP {
		// No endpoints on this node is the internal policy Local, as well.
		f.InternalLocal = f.InternalLocal || strings.HasPrefix(r.Jump(), PrefixLocal) || r.Jump() == Drop
	}
	in.Frontends[key] = f
}

// Model is the Services that the rules stand for. Frontends that are of no known
// Service are warned of.
func (r *Reading) Model() []proxy.Service {
	services, unknown := view.Model(r.View, func(key view.Key) view.Origin { return r.Frontends[key].Origin })
	for _, key := range unknown {
		r.Warnings = append(r.Warnings, Warning{r.Frontends[key].Line, fmt.Sprintf("no comment says which Service %s is of; it is left out", key)})
	}
	for i := range services {
		for _, p := range services[i].Ports {
			if port := r.HealthChecks[p.FullName(services[i].Name)]; port != 0 {
				services[i].HealthCheck.Port = port
			}
		}
	}
	return services
}

// kindOf tells by the comment and the chain what kind of address a rule is for.
func kindOf(chain *Chain, r *Rule) proxy.FrontendKind {
	switch comment := r.Comment(); {
	case strings.HasSuffix(comment, " external IP"):
		return proxy.ExternalIP
	case strings.HasSuffix(comment, " loadbalancer IP"), chain.Name == chainProxyFirewall:
		return proxy.LoadBalancerIP
	case chain.Name == chainExternalServices:
		return proxy.ExternalIP
	}
	return proxy.ClusterIP
}

// healthCheck notes a port that load balancers may ask.
func (in *interpreter) healthCheck(r *Rule) {
	name, ok := strings.CutSuffix(r.Comment(), " health check node port")
	if ok && r.port() != 0 && r.Jump() == Accept {
		in.HealthChecks[strings.TrimSuffix(name, ":")] = r.port()
	}
}

// is4 says that the rules are of IPv4, which a NodePort does not show.
func (in *interpreter) is4() bool {
	return in.family != 6
}

// port is the one port that a rule is for, 0 for none.
func (r *Rule) port() uint16 {
	for _, m := range r.Matches {
		if p, ok := m.(Ports); ok {
			return p.Destination.One()
		}
	}
	return 0
}

func protocolOf(p Protocol) (proxy.Protocol, bool) {
	for _, known := range []proxy.Protocol{proxy.TCP, proxy.UDP, proxy.SCTP} {
		if p.Is(known.String()) {
			return known, true
		}
	}
	return 0, false
}

// serviceOf is the Service port that a comment begins with. Before 1.17 one
// without a name had a colon all the same.
func serviceOf(comment string) string {
	name, _, _ := strings.Cut(comment, " ")
	if !strings.Contains(name, "/") {
		return ""
	}
	return strings.TrimSuffix(name, ":")
}
