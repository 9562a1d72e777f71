package iptables

import (
	"fmt"
	"net/netip"
)

// Style is how the rules are spelled.
type Style uint8

const (
	// Current is kube-proxy 1.37.
	Current Style = iota
	// Classic is as Current, but for what older releases wrote and most documents
	// still show: masquerade rules stand in KUBE-SERVICES before the jump to the
	// Service's chain, and the chains of Services and endpoints have no comments.
	Classic
)

// ParseStyle reads the name of a style.
func ParseStyle(name string) (Style, error) {
	switch name {
	case "current":
		return Current, nil
	case "classic":
		return Classic, nil
	}
	return 0, fmt.Errorf("%q is no style: use current or classic", name)
}

// DefaultMark is kube-proxy's mark for packets to masquerade.
const DefaultMark = 1 << 14

// Config is what kube-proxy would be told besides Services.
type Config struct {
	IPv6 bool
	// PodCIDR or PodInterface tell traffic from pods. An interface may end with +,
	// and stands for all whose names begin so. With neither, nothing does.
	PodCIDR      netip.Prefix
	PodInterface string
	// MasqueradeAll hides the address of every client of a ClusterIP.
	MasqueradeAll bool
	// Mark is the mark for packets to masquerade, a single bit.
	Mark uint32
	// NodePortAddresses are those of the node that accept NodePort traffic; all, if
	// AllNodePortAddresses.
	NodePortAddresses    []netip.Addr
	AllNodePortAddresses bool
	// Accounting is for nfacct's counters, which kube-proxy uses where the kernel has
	// them.
	Accounting bool
	Style      Style
}

// localhost says that NodePorts are reached at loopback addresses: only over IPv4.
func (c Config) localhost() bool {
	if c.IPv6 {
		return false
	}
	for _, a := range c.NodePortAddresses {
		if a.IsLoopback() {
			return true
		}
	}
	return c.AllNodePortAddresses
}

// fromPods adds to a rule that it is for packets from pods, or for all others. It
// gives false if nothing tells them.
func (c Config) fromPods(r *Rule, others bool) bool {
	switch {
	case c.PodInterface != "":
		r.In = Interface{Not: others, Name: c.PodInterface}
	case c.PodCIDR.IsValid():
		r.Source = Address{Not: others, Prefix: c.PodCIDR}
	default:
		return false
	}
	return true
}
