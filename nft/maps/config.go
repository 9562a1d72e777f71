package maps

import (
	"fmt"
	"net/netip"

	"github.com/kube-verdict/kube-verdict/nft"
)

// TableName is the name of our tables. kube-proxy deletes those named
// kube-proxy.
const TableName = "kube-verdict"

// Config is what the layout depends on, besides Services.
type Config struct {
	// PodCIDRs are the addresses of pods, in either family. Traffic to a
	// ClusterIP from any other source is masqueraded, so that the answer comes
	// back through this node. With none for a family, nothing of that family
	// is masqueraded for its source.
	PodCIDRs []netip.Prefix
	// MasqueradeBit is the bit of the packet mark, 0 to 31, that marks traffic
	// to masquerade between the hooks.
	MasqueradeBit int
}

// DefaultMasqueradeBit is used by no other component that we know of: 13 is
// the portmap CNI plugin's, 14 kube-proxy's, 15 the kubelet's old drop mark;
// Cilium has 8 to 11, Calico, Antrea and kube-router bits from 16 on.
const DefaultMasqueradeBit = 12

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.MasqueradeBit < 0 || c.MasqueradeBit > 31 {
		return fmt.Errorf("masquerade bit %d: a packet mark has the bits 0 to 31", c.MasqueradeBit)
	}
	for _, p := range c.PodCIDRs {
		if !p.IsValid() || p != p.Masked() {
			return fmt.Errorf("pod CIDR %s: not the first address of a network: write %s", p, p.Masked())
		}
	}
	return nil
}

func (c Config) mark() uint32 { return 1 << c.MasqueradeBit }

// podCIDRs are the pod CIDRs of a family, without those that lie in another.
func (c Config) podCIDRs(f nft.Family) []netip.Prefix {
	var own []netip.Prefix
	for i, p := range c.PodCIDRs {
		if nft.FamilyOf(p.Addr()) != f {
			continue
		}
		covered := false
		for j, q := range c.PodCIDRs {
			if q.Contains(p.Addr()) && (q.Bits() < p.Bits() || q == p && j < i) {
				covered = true
			}
		}
		if !covered {
			own = append(own, p)
		}
	}
	return own
}
