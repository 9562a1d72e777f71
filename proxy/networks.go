package proxy

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// ServiceCIDRs are the networks that ClusterIPs are allocated from, sorted and
// each once (KEP-1880).
func ServiceCIDRs(objects []*networkingv1.ServiceCIDR) ([]netip.Prefix, []Problem) {
	var all []netip.Prefix
	var list []Problem
	for _, o := range objects {
		told := problems{kind: "ServiceCIDR", name: Name{Name: o.Name}, list: &list}
		for i, text := range o.Spec.CIDRs {
			prefix, canonical, ok := ParsePrefix(text)
			field := fmt.Sprintf("spec.cidrs[%d]", i)
			switch {
			case !ok:
				told.add(false, ReasonInvalidAddress, field, "%q is not a CIDR such as 10.96.0.0/16; it is left out", text)
				continue
			case !canonical:
				told.add(true, ReasonInvalidAddress, field, takenAs, text, prefix)
			}
			all = append(all, prefix)
		}
		told.end("spec.cidrs")
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all), list
}
