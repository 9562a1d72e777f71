package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Keywords for the addresses that accept NodePort traffic, as kube-proxy has
// them.
const (
	NodePortPrimary   = "primary"
	NodePortAll       = "all"
	NodePortLocalhost = "localhost"
)

// Local is what is known of the node that we run on.
type Local struct {
	proxy.Node
	// FromObject says that the addresses are those of the Node object; else
	// they are the machine's.
	FromObject bool
	// NodePorts are the addresses that accept NodePort traffic.
	NodePorts []netip.Addr
}

// FindLocal collects what is known of the node of that name. Its addresses
// come from its Node object, or from the interfaces when there is none. An error
// tells what was left out; the rest is good.
func FindLocal(name string, object *corev1.Node, nodePortAddresses []string) (Local, error) {
	l := Local{Node: proxy.Node{Name: name}}
	var wrong []error
	if object != nil {
		l.FromObject = true
		for _, a := range object.Status.Addresses {
			if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
				continue
			}
			addr, err := netip.ParseAddr(a.Address)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("node %s: status.addresses: %s %q is not an IP address", name, a.Type, a.Address))
				continue
			}
			l.Addresses = append(l.Addresses, addr.Unmap())
		}
	}
	if len(l.Addresses) == 0 {
		l.FromObject = false
		own, err := interfaceAddresses()
		l.Addresses, wrong = own, append(wrong, err)
	}
	ports, err := nodePorts(l.Addresses, nodePortAddresses)
	l.NodePorts = ports
	return l, errors.Join(append(wrong, err)...)
}

func interfaceAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var own []netip.Addr
	for _, a := range all {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ipnet.IP); ok {
			if addr = addr.Unmap(); addr.IsGlobalUnicast() {
				own = append(own, addr)
			}
		}
	}
	return own, nil
}

// nodePorts picks the addresses that accept NodePort traffic: all, the first
// of each family (the node's primary addresses), the loopback ones, or those
// in CIDRs.
func nodePorts(addresses []netip.Addr, wanted []string) ([]netip.Addr, error) {
	if len(wanted) == 1 {
		switch wanted[0] {
		case NodePortAll:
			return addresses, nil
		case NodePortPrimary:
			var first []netip.Addr
			for _, is4 := range []bool{true, false} {
				if i := slices.IndexFunc(addresses, func(a netip.Addr) bool { return a.Is4() == is4 }); i >= 0 {
					first = append(first, addresses[i])
				}
			}
			return first, nil
		case NodePortLocalhost:
			return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
		}
	}
	var picked []netip.Addr
	for _, text := range wanted {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--nodeport-addresses: %q is neither a CIDR such as 192.168.0.0/16 nor, alone, one of %s, %s and %s",
				text, NodePortPrimary, NodePortAll, NodePortLocalhost)
		}
		for _, a := range addresses {
			if prefix.Contains(a) && !slices.Contains(picked, a) {
				picked = append(picked, a)
			}
		}
	}
	return picked, nil
}
