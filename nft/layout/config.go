package layout

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// TableName is the name of our tables. kube-proxy deletes those named
// kube-proxy.
const TableName = "kube-verdict"

// Config is what the layout depends on, besides Services and Networks.
type Config struct {
	// PodCIDRs are the addresses of pods, in either family, by which pods are
	// told; Networks has them as they are now. Traffic to a ClusterIP from any
	// other source is masqueraded, so that the answer comes back through this
	// node. With none for a family, nothing of that family is masqueraded for
	// its source.
	PodCIDRs []netip.Prefix
	// PodInterface tells pods by the interface that their packets come in by: a
	// name, or, ending in "*", what names start with.
	PodInterface string
	// MasqueradeAll masquerades all traffic to ClusterIPs, whatever its source.
	MasqueradeAll bool
	// MasqueradeBit is the bit of the packet mark, 0 to 31, that marks traffic
	// to masquerade between the hooks.
	MasqueradeBit int
	// Counted has the maps count new connections, by Service and by endpoint.
	Counted bool
	// Scope says which Services are in the tables; empty for all. It is there for
	// those who read them.
	Scope proxy.Scope
}

// View is what of it connections notice.
func (c Config) View() view.Config {
	told := func(f nft.Family) bool { return c.PodInterface != "" || len(OfFamily(f, c.PodCIDRs)) > 0 }
	return view.Config{MasqueradeAll: c.MasqueradeAll, NoPods4: !told(nft.IPv4), NoPods6: !told(nft.IPv6)}
}

// Networks are the cluster's networks, which may change in its life.
type Networks struct {
	// Pods are the addresses of pods, in the families that Config has some for.
	Pods []netip.Prefix
	// Services are what the API server allocates ClusterIPs from. Traffic to one
	// that no Service has is dropped.
	Services []netip.Prefix
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
	if err := (Networks{Pods: c.PodCIDRs}).Validate(); err != nil {
		return err
	}
	if name := strings.TrimSuffix(c.PodInterface, "*"); len(name) >= unix.IFNAMSIZ || c.PodInterface == "*" {
		return fmt.Errorf("pod interface %q: a name of 1 to %d characters, or what names start with, and *", c.PodInterface, unix.IFNAMSIZ-1)
	}
	return nil
}

// Validate says what is wrong with the networks.
func (n Networks) Validate() error {
	for _, of := range []struct {
		what     string
		prefixes []netip.Prefix
	}{{"pod", n.Pods}, {"service", n.Services}} {
		for _, p := range of.prefixes {
			if !p.IsValid() || p != p.Masked() {
				return fmt.Errorf("%s CIDR %s: not the first address of a network: write %s", of.what, p, p.Masked())
			}
		}
	}
	return nil
}

// Equal says that two are alike.
func (n Networks) Equal(o Networks) bool {
	return slices.Equal(n.Pods, o.Pods) && slices.Equal(n.Services, o.Services)
}

// Mark is the bit as a packet mark.
func (c Config) Mark() uint32 { return 1 << c.MasqueradeBit }

// OfFamily are the prefixes of a family in order, without those that lie in
// another: the kernel takes no ranges that overlap.
func OfFamily(f nft.Family, prefixes []netip.Prefix) []netip.Prefix {
	var own []netip.Prefix
	for _, p := range slices.SortedFunc(slices.Values(prefixes), netip.Prefix.Compare) {
		if nft.FamilyOf(p.Addr()) == f && (len(own) == 0 || !own[len(own)-1].Contains(p.Addr())) {
			own = append(own, p)
		}
	}
	return own
}
