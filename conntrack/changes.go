package conntrack

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Changes are changes of Services, as far as they can leave stale flows behind:
// the UDP frontends in question, and where flows to each may go now. Its zero
// value has none. Changes may be added while a Clean is at work on them, and have
// to be: a flow to an endpoint that has come meanwhile is not stale.
type Changes struct {
	mu        sync.RWMutex
	frontends map[netip.AddrPort]frontend
	added     uint64 // how often
}

// frontend is an address and port at which a Service is or was reached.
type frontend struct {
	owner proxy.Name // who said so last
	gone  bool
	// endpoints are sorted.
	endpoints []netip.AddrPort
}

// Len is the number of frontends in question; with 0 there is nothing to clean.
func (c *Changes) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.frontends)
}

// state says how far changes have come; drop forgets them all, unless some have
// come since that state.
func (c *Changes) state() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.added
}

func (c *Changes) drop(state uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.added == state {
		c.frontends = nil
	}
}

// Add adds a change of one Service; the zero Service is for one that there was
// not, or is not any more. With the zero Service as old, every flow to now is in
// question: that is also the way to clean up what happened before this process.
//
// Changes of one Service are added in the order in which they happened, those of
// different Services in any. A frontend that moved from one to the other is the
// one's that has it now. Both must be the models that were programmed, without
// frontends that belong to others.
func (c *Changes) Add(old, now proxy.Service) {
	if !hasUDP(old) && !hasUDP(now) || old.Equal(now) {
		return
	}
	was, is := byFrontend(old), byFrontend(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added++
	for at, endpoints := range is {
		before, had := was[at]
		_, known := c.frontends[at]
		if known || !had || len(before) == 0 && len(endpoints) > 0 || !subset(before, endpoints) {
			c.set(at, frontend{owner: now.Name, endpoints: endpoints})
		}
	}
	for at, before := range was {
		if _, has := is[at]; has {
			continue
		}
		// A frontend without endpoints was cleaned when it lost them.
		if f, known := c.frontends[at]; known && f.owner == old.Name || !known && len(before) > 0 {
			c.set(at, frontend{owner: old.Name, gone: true})
		}
	}
}

// Gone adds UDP frontends that no Service has, and that no known Service had. Flows to
// them are answered by nobody.
func (c *Changes) Gone(frontends []netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added++
	for _, at := range frontends {
		if _, known := c.frontends[at]; !known {
			c.set(at, frontend{gone: true})
		}
	}
}

func (c *Changes) set(at netip.AddrPort, f frontend) {
	if c.frontends == nil {
		c.frontends = map[netip.AddrPort]frontend{}
	}
	c.frontends[at] = f
}

// has reports whether a frontend is in question.
func (c *Changes) has(at netip.AddrPort) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, has := c.frontends[at]
	return has
}

// Stale says whether a UDP flow is stale that a client sent to dst and that is
// answered from src.
func (c *Changes) Stale(dst, src netip.AddrPort) bool {
	c.mu.RLock()
	f, ok := c.frontends[dst]
	c.mu.RUnlock()
	if !ok {
		return false
	}
	if _, valid := slices.BinarySearchFunc(f.endpoints, src, netip.AddrPort.Compare); valid {
		return false
	}
	// Without endpoints no rule translates, so a flow that is not translated is
	// where it should be: at a process of this node's, for example.
	return src != dst || len(f.endpoints) > 0
}

func hasUDP(svc proxy.Service) bool {
	return slices.ContainsFunc(svc.Ports, func(p proxy.Port) bool { return p.Protocol == proxy.UDP })
}
