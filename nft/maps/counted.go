package maps

import (
	"strconv"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Prefixes of the chains that exist once for each number: of endpoints, or, for
// the last, of seconds. Which of them are there depends on the Services.
const (
	// clusterPrefix translates to one of all endpoints.
	clusterPrefix = "cluster-"
	// externalPrefix is for traffic from outside that may go to any of them.
	externalPrefix = "external-"
	// externalLocalPrefix is for traffic from outside that stays on this node,
	// except for what this node and pods send.
	externalLocalPrefix = "external-local-"
	// localPrefix translates to one of the endpoints on this node.
	localPrefix = "local-"
	// stickyPrefix and stickyLocalPrefix translate likewise, but send a client that
	// is known to the endpoint that it had.
	stickyPrefix      = "sticky-"
	stickyLocalPrefix = "sticky-local-"
	// rememberPrefix remembers a client's endpoint for so many seconds.
	rememberPrefix = "remember-"
)

func chainName(prefix string, n int) string { return prefix + strconv.Itoa(n) }

// Chain makes the chain that a verdict names, or nil if the layout has no such
// chain, or has it always.
func (l *Layout) Chain(t *nft.Table, name string) *nft.Chain {
	at := strings.LastIndexByte(name, '-') + 1
	n, err := strconv.ParseUint(name[at:], 10, 32)
	if err != nil || n == 0 || name != chainName(name[:at], int(n)) {
		return nil
	}
	r := rules{t.Family, l.config}
	chain := &nft.Chain{Name: name}
	switch name[:at] {
	case clusterPrefix:
		chain.Rules = append(r.outside(), r.translate("endpoints", uint32(n))...)
	case localPrefix:
		chain.Rules = r.translate("local-endpoints", uint32(n))
	case stickyPrefix:
		chain.Rules = append(r.outside(), r.stick("endpoints", uint32(n))...)
	case stickyLocalPrefix:
		chain.Rules = r.stick("local-endpoints", uint32(n))
	case externalPrefix:
		chain.Rules = []nft.Rule{r.mark(), rule(nft.Goto{Chain: chainName(clusterPrefix, int(n))})}
	case externalLocalPrefix:
		chain.Rules = append(r.shortCircuit(chainName(clusterPrefix, int(n))),
			rule(nft.Dispatch{Key: frontend, Map: "local-services"}),
			rule(nft.Counter{}, nft.Drop{}))
	case rememberPrefix:
		chain.Rules = r.remember(time.Duration(n) * time.Second)
	default:
		return nil
	}
	return chain
}

// translate gives a connection the endpoint in a random one of n slots. The priority
// has handed the chain's number on; it is not for queues.
func (r rules) translate(slots string, n uint32) []nft.Rule {
	return r.balance(slots, n, nft.SetPriority{})
}

// stick does so for clients that are not known. The priority stays until it is learned
// what they got, if they are to be remembered.
func (r rules) stick(slots string, n uint32) []nft.Rule {
	var list []nft.Rule
	for _, transport := range transports {
		list = append(list, rule(transport, nft.TranslateTo{Key: []nft.Field{nft.SourceAddr{}, nft.Priority{}}, Map: "remembered"}))
	}
	// Those whose Service port has used up its share are balanced, and not remembered.
	list = append(list, rule(nft.InSet{Key: []nft.Field{nft.Priority{}}, Set: "sticky-shares"}, nft.TranslateTo{Key: slot(n), Map: slots}))
	return append(list, r.balance(slots, n, nft.SetPriority{})...)
}

func (r rules) balance(slots string, n uint32, before ...nft.Statement) []nft.Rule {
	to := func(n uint32) nft.TranslateTo { return nft.TranslateTo{Key: slot(n), Map: slots} }
	list := []nft.Rule{rule(append(before, to(n))...)}
	if n > 1 {
		// The slot may have gone since the verdict was looked up; the lower
		// ones are still there.
		list = append(list, rule(to(n-1)))
	}
	// Never let a connection through untranslated: a dropped packet is sent
	// again, a confirmed connection stays wrong.
	return append(list, rule(nft.Counter{}, nft.Drop{}))
}

func (r rules) remember(timeout time.Duration) []nft.Rule {
	return []nft.Rule{
		rule(nft.Remember{
			Map: "remembered", Timeout: timeout,
			Key:  []nft.Field{nft.SourceAddr{}, nft.Priority{}},
			Data: []nft.Field{nft.DestAddr{}, nft.DestPort{}},
		}),
		rule(nft.SetPriority{}),
	}
}
