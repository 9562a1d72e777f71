package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Keywords for the addresses that accept NodePort traffic, as kube-proxy has
// them. They stand beside each other and beside CIDRs.
const (
	NodePortPrimary   = "primary"
	NodePortAll       = "all"
	NodePortLocalhost = "localhost"
)

// localhost is what that keyword stands for.
func localhost() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// nodePortChoice says which of a machine's addresses accept NodePort traffic.
type nodePortChoice struct {
	// text is how it was asked for.
	text string
	// node are addresses of the Node object, which accept it even while no interface
	// has them; networks are for addresses that an interface has.
	node     []netip.Addr
	networks []netip.Prefix
}

// choose reads what was asked for: nothing stands for the primary addresses.
func choose(wanted []string, node Local) (nodePortChoice, error) {
	if len(wanted) == 0 {
		wanted = []string{NodePortPrimary}
	}
	c := nodePortChoice{text: strings.Join(wanted, ",")}
	for _, text := range wanted {
		switch text = strings.TrimSpace(text); text {
		case NodePortPrimary:
			c.node = append(c.node, primary(node)...)
		case NodePortAll:
			c.networks = append(c.networks, everywhere()...)
		case NodePortLocalhost:
			c.networks = append(c.networks, localhost()...)
		default:
			prefix, _, ok := proxy.ParsePrefix(text)
			if !ok {
				return c, fmt.Errorf("--nodeport-addresses: %q is neither a CIDR such as 192.168.0.0/16 nor one of %s, %s and %s",
					text, NodePortPrimary, NodePortAll, NodePortLocalhost)
			}
			c.networks = append(c.networks, prefix)
		}
	}
	return c, nil
}

// primary are the addresses that the Node object has first of each family.
func primary(node Local) (first []netip.Addr) {
	if !node.FromObject {
		return nil // which of the machine's is the node's, nobody has said
	}
	for _, family := range everywhere() {
		of := func(a netip.Addr) bool { return family.Contains(a) && !a.IsLoopback() }
		if i := slices.IndexFunc(node.Addresses, of); i >= 0 {
			first = append(first, node.Addresses[i])
		}
	}
	return first
}

// of picks the addresses, in order, and tells what may be unexpected. Each family is on
// its own: all addresses of one that was not asked for accept NodePort traffic, as
// kube-proxy has it.
func (c nodePortChoice) of(own []netip.Addr) (picked []netip.Addr, warnings []string) {
	for _, family := range everywhere() {
		inFamily := func(a netip.Addr) bool { return family.Contains(a) }
		networks := slices.DeleteFunc(slices.Clone(c.networks), func(p netip.Prefix) bool { return !inFamily(p.Addr()) })
		if len(networks) == 0 && !slices.ContainsFunc(c.node, inFamily) {
			networks = []netip.Prefix{family}
			if slices.ContainsFunc(global(own), inFamily) && (len(c.networks) > 0 || len(c.node) > 0) {
				warnings = append(warnings, fmt.Sprintf("--nodeport-addresses %s has no %s address: NodePorts are served at all %s addresses of this machine",
					c.text, familyName(family), familyName(family)))
			}
		}
		for _, a := range own {
			if inFamily(a) && slices.ContainsFunc(networks, func(p netip.Prefix) bool { return accepts(p, a) }) {
				picked = append(picked, a)
			}
		}
	}
	picked = append(picked, c.node...)
	slices.SortFunc(picked, netip.Addr.Compare)
	if picked = slices.Compact(picked); len(picked) == 0 {
		warnings = append(warnings, fmt.Sprintf("--nodeport-addresses %s matches no address of this machine: no NodePort is served; its addresses are %v", c.text, slices.SortedFunc(slices.Values(global(own)), netip.Addr.Compare)))
	}
	return picked, warnings
}

// accepts reports whether a network stands for an address. Loopback and link-local ones
// have to be asked for: the first need a sysctl, and each interface of a pod has one of
// the second. Linux routes nothing from ::1 to anywhere else, so that there is no NodePort.
func accepts(p netip.Prefix, a netip.Addr) bool {
	switch {
	case !p.Contains(a) || a == netip.IPv6Loopback():
		return false
	case a.IsLoopback():
		return p.Addr().IsLoopback()
	case a.IsLinkLocalUnicast():
		return p.Addr().IsLinkLocalUnicast()
	}
	return a.IsGlobalUnicast()
}

func familyName(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}
