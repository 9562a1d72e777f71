package iptables

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// client says where a connection comes from, as far as rules tell.
type client uint8

const (
	fromPod client = iota
	fromNode
	fromOutside
	clients
)

// connection is a first packet. A NodePort has no address: it is any of the
// node's.
type connection struct {
	addr     netip.Addr
	protocol proxy.Protocol
	port     uint16
	from     client
}

// flow is a part of the connections that are alike, and what rules have done to
// them so far.
type flow struct {
	share float64
	// masquerade and drop are kube-proxy's marks.
	masquerade, drop bool
	// local says that they went through a chain for the external policy Local.
	local bool
	// source is where they come from, anywhere if it is invalid.
	source netip.Prefix
}

// end is what becomes of a flow.
type end struct {
	flow
	fate     fate
	endpoint netip.AddrPort
}

type fate uint8

const (
	passed   fate = iota // no rule took it
	balanced             // to an endpoint
	rejected
	dropped
	lost // by a rule that could not be carried over
)

// walker follows the connections of one kind of client to one frontend.
type walker struct {
	*interpreter
	connection
	ends []end
	// affinity is the longest time that a client keeps its endpoint, in seconds.
	affinity uint32
	// service is the Service port by the first comment that names one.
	service  string
	depth    int
	steps    int
	inFilter bool // the table filter, not nat
}

// maxDepth and maxFlows bound a walk: chains that lead to each other in a circle, or
// that tell more clients apart than Services do.
const (
	maxDepth = 16
	maxFlows = 64
	maxSteps = 1 << 20
	// maxEndless is how many walks may reach the last bound before no other is tried.
	maxEndless = 8
)

// chain lets flows through a chain, and gives those that come out at its end.
func (w *walker) chain(c *Chain, flows []flow, hint string) []flow {
	w.depth++
	defer func() { w.depth-- }()
	var out []flow
	for i := range w.rulesFor(c) {
		r := &c.Rules[i]
		if len(flows) == 0 {
			break
		}
		if len(flows) > maxFlows {
			w.warn(r.Line, "chain %s tells too many kinds of clients apart; what is left is not followed", c.Name)
			w.finish(flows, lost)
			return out
		}
		if w.steps++; w.steps > maxSteps || w.endless > maxEndless {
			if w.steps == maxSteps+1 {
				w.endless++
				w.warn(r.Line, "chains lead to each other in too many ways, among them %s", c.Name)
			}
			w.finish(flows, lost)
			return out
		}
		on, returned := w.rule(c, r, flows, func(taken flow) (_, _ []flow) { return w.target(c, r, taken, hint) })
		flows, out = join(on), append(out, returned...)
	}
	return join(append(out, flows...))
}

// rule lets flows through a rule, whose target gets those that it takes. It gives the flows
// behind the rule, and those that leave the chain.
func (w *walker) rule(c *Chain, r *Rule, flows []flow, target func(taken flow) (on, returned []flow)) (on, returned []flow) {
	for _, f := range flows {
		taken, rest := w.match(c, r, f)
		if rest.share > 0 {
			on = append(on, rest)
		}
		if taken.share > 0 {
			back, left := target(taken)
			on, returned = append(on, back...), append(returned, left...)
		}
	}
	return on, returned
}

// join takes flows together that are alike.
func join(flows []flow) []flow {
	if len(flows) < 2 {
		return flows
	}
	joined := flows[:0:0]
	for _, f := range flows {
		i := slices.IndexFunc(joined, func(o flow) bool { o.share = f.share; return o == f })
		if i < 0 {
			joined = append(joined, f)
		} else {
			joined[i].share += f.share
		}
	}
	return joined
}

func (w *walker) finish(flows []flow, as fate) {
	for _, f := range flows {
		w.ends = append(w.ends, end{flow: f, fate: as})
	}
}

// target does what a rule does with a flow, and gives the flows that go on behind
// the rule, and those that leave the chain.
func (w *walker) target(c *Chain, r *Rule, f flow, hint string) (on, returned []flow) {
	if comment := r.Comment(); comment != "" {
		if w.service == "" {
			w.service = serviceOf(comment)
		}
		if _, to, ok := strings.Cut(comment, " -> "); ok {
			hint = to
		}
	}
	switch t := r.Target.(type) {
	case nil:
		return []flow{f}, nil
	case Jump:
		f.local = f.local || strings.HasPrefix(c.Name, PrefixExternal) && strings.HasPrefix(t.To, PrefixLocal)
		return w.jump(r, t, f, hint)
	case DNAT:
		to := t.One()
		if !to.IsValid() || to.Port() == 0 || to.Addr().Is4() != w.is4() {
			return nil, w.unreadable(c, r, f, hint)
		}
		w.ends = append(w.ends, end{f, balanced, to})
	case Reject:
		w.finish([]flow{f}, rejected)
	case SetMark:
		f.masquerade = f.masquerade || t.Value != 0 && t.Value == w.mark
		return []flow{f}, nil
	default:
		return nil, w.unreadable(c, r, f, hint)
	}
	return nil, nil
}

// unreadable is for a rule that does what can't be carried over. Where a comment
// says which endpoint it stands for, that is taken.
func (w *walker) unreadable(c *Chain, r *Rule, f flow, hint string) []flow {
	text := string(r.Target.append(nil))
	if to, err := netip.ParseAddrPort(hint); err == nil && strings.HasPrefix(text, " -j DNAT") {
		w.warn(r.Line, "%s in chain %s does not say where to; %s is taken, as the comment of the rule before says", strings.TrimSpace(text), c.Name, to)
		w.ends = append(w.ends, end{f, balanced, to})
		return nil
	}
	w.warn(r.Line, "%s in chain %s can't be carried over; connections that get there have no endpoint", strings.TrimSpace(text), c.Name)
	w.finish([]flow{f}, lost)
	return nil
}

func (w *walker) jump(r *Rule, t Jump, f flow, hint string) (on, returned []flow) {
	switch t.To {
	case Accept:
		w.finish([]flow{f}, passed)
		return nil, nil
	case Drop:
		w.finish([]flow{f}, dropped)
		return nil, nil
	case Return:
		return nil, []flow{f}
	case chainMarkMasq:
		f.masquerade = true
		return []flow{f}, nil
	case chainMarkDrop:
		f.drop = true
		return []flow{f}, nil
	}
	f.local = f.local || strings.HasPrefix(t.To, PrefixBalancer)
	to := w.nat.Chain(t.To)
	if w.inFilter {
		to = w.filter.Chain(t.To)
	}
	switch {
	case to == nil || len(to.Rules) == 0 && (to.Line == 0 && !w.fromHooks || w.cut && IsServiceChain(t.To)): // a kernel's chains have no lines
		w.missing(r, t, f, hint)
		return nil, nil
	case w.depth >= maxDepth:
		w.warn(r.Line, "chains lead to each other in a circle, or %d deep, by way of %s", maxDepth, t.To)
		w.finish([]flow{f}, lost)
		return nil, nil
	}
	back := w.chain(to, []flow{f}, hint)
	if t.Goto {
		return nil, back
	}
	return back, nil
}

// missing is for a jump to a chain that is not in the dump.
func (w *walker) missing(r *Rule, t Jump, f flow, hint string) {
	if to, err := netip.ParseAddrPort(hint); err == nil && strings.HasPrefix(t.To, PrefixEndpoint) {
		w.warn(r.Line, "chain %s is not in the dump; %s is taken, as the comment says", t.To, to)
		w.ends = append(w.ends, end{f, balanced, to})
		return
	}
	w.warn(r.Line, "chain %s is not in the dump: where it leads to can't be told", t.To)
	w.finish([]flow{f}, lost)
}
