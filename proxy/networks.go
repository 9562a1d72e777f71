package proxy

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// ReasonNotForClusterIPs is for a ServiceCIDR with addresses that are something else's.
const ReasonNotForClusterIPs = "NotForClusterIPs"

// Taken is a network with addresses that are no ClusterIPs.
type Taken struct {
	netip.Prefix
	By string
}

// takenAlways are networks that the API server may take for a ServiceCIDR, and that no
// router sends a packet to.
func takenAlways() []Taken {
	p := netip.MustParsePrefix
	return []Taken{
		{p("127.0.0.0/8"), "loopback"}, {p("169.254.0.0/16"), "link-local addresses"}, {p("224.0.0.0/4"), "multicast"},
		{p("::1/128"), "loopback"}, {p("fe80::/10"), "link-local addresses"}, {p("ff00::/8"), "multicast"},
	}
}

// ServiceCIDRs are the networks that ClusterIPs are allocated from, sorted and
// each once (KEP-1880). As what goes there and to no Service is dropped, one that
// covers anything else is left out: a mistake must cut off neither this node nor the
// correction.
func ServiceCIDRs(objects []*networkingv1.ServiceCIDR, taken ...Taken) ([]netip.Prefix, []Problem) {
	var all []netip.Prefix
	var list []Problem
	for _, o := range objects {
		told := problems{kind: "ServiceCIDR", name: Name{Name: o.Name}, list: &list}
		for i, text := range o.Spec.CIDRs {
			prefix, canonical, ok := ParsePrefix(text)
			field := fmt.Sprintf("spec.cidrs[%d]", i)
			if !ok {
				told.add(false, ReasonInvalidAddress, field, "%q is not a CIDR such as 10.96.0.0/16; it is left out", text)
				continue
			}
			if by, covered := coveredBy(prefix, taken); covered {
				told.add(false, ReasonNotForClusterIPs, field, "%s has addresses of %s (%s), so nothing is dropped that goes there; make a ServiceCIDR without them and delete this one",
					prefix, by.By, by.Prefix)
				continue
			}
			if !canonical {
				told.add(true, ReasonInvalidAddress, field, takenAs, text, prefix)
			}
			all = append(all, prefix)
		}
		told.end("spec.cidrs")
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all), list
}

// coveredBy finds what a ServiceCIDR has besides ClusterIPs. Of networks that are told by
// hand, as pods' are, it has to have all: they may be larger than what they are for.
func coveredBy(cidr netip.Prefix, taken []Taken) (Taken, bool) {
	for _, t := range takenAlways() {
		if cidr.Overlaps(t.Prefix) {
			return t, true
		}
	}
	for _, t := range taken {
		if cidr.Bits() <= t.Bits() && cidr.Contains(t.Addr()) {
			return t, true
		}
	}
	return Taken{}, false
}

// Taken are the node's addresses and the networks of its pods. One that is everything
// says nothing.
func (n Node) Taken(pods ...[]netip.Prefix) []Taken {
	var all []Taken
	for _, a := range append(slices.Clone(n.Addresses), n.NodePorts...) {
		all = append(all, Taken{netip.PrefixFrom(a, a.BitLen()), "this node"})
	}
	for _, p := range slices.Concat(pods...) {
		if p.Bits() > 0 {
			all = append(all, Taken{p, "pods"})
		}
	}
	return all
}
