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
	// Pods are the pod CIDRs of the Node object; any address, in a family that it
	// has none for.
	Pods []netip.Prefix
}

// AnyPods are all addresses, of either family.
func AnyPods() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// podsOf are the pod CIDRs of a Node object.
func podsOf(object *corev1.Node) (pods []netip.Prefix, err error) {
	var texts []string
	if object != nil {
		if texts = object.Spec.PodCIDRs; len(texts) == 0 && object.Spec.PodCIDR != "" {
			texts = []string{object.Spec.PodCIDR}
		}
	}
	for _, text := range texts {
		prefix, e := netip.ParsePrefix(text)
		if e != nil {
			err = fmt.Errorf("node %s: spec.podCIDRs: %q is not a CIDR", object.Name, text)
			continue
		}
		pods = append(pods, prefix.Masked())
	}
	for _, all := range AnyPods() {
		if !slices.ContainsFunc(pods, func(p netip.Prefix) bool { return p.Addr().Is4() == all.Addr().Is4() }) {
			pods = append(pods, all)
		}
	}
	return pods, err
}

// FindLocal collects what is known of the node of that name. Its addresses
// come from its Node object, or from the interfaces when there is none. An error
// tells what was left out; the rest is good.
func FindLocal(name string, object *corev1.Node, nodePortAddresses []string) (Local, error) {
	l := Local{Node: proxy.Node{Name: name}}
	var wrong []error
	pods, err := podsOf(object)
	l.Pods, wrong = pods, append(wrong, err)
	if object != nil {
		l.FromObject = true
		l.Zone = object.Labels[corev1.LabelTopologyZone]
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

// nodePorts picks the addresses that accept NodePort traffic: the node's primary
// ones, which are the first of each family; all of the machine's, or those in
// CIDRs; or the loopback one. Linux routes nothing from ::1 to anywhere else, so
// that there is no NodePort.
func nodePorts(node []netip.Addr, wanted []string) ([]netip.Addr, error) {
	if len(wanted) == 1 {
		switch wanted[0] {
		case NodePortAll:
			own, err := interfaceAddresses()
			slices.SortFunc(own, netip.Addr.Compare)
			return own, err
		case NodePortPrimary:
			var first []netip.Addr
			for _, is4 := range []bool{true, false} {
				if i := slices.IndexFunc(node, func(a netip.Addr) bool { return a.Is4() == is4 }); i >= 0 {
					first = append(first, node[i])
				}
			}
			return first, nil
		case NodePortLocalhost:
			return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
		}
	}
	var prefixes []netip.Prefix
	for _, text := range wanted {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--nodeport-addresses: %q is neither a CIDR such as 192.168.0.0/16 nor, alone, one of %s, %s and %s",
				text, NodePortPrimary, NodePortAll, NodePortLocalhost)
		}
		prefixes = append(prefixes, prefix)
	}
	own, err := interfaceAddresses()
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.DeleteFunc(own, func(a netip.Addr) bool {
		return !slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}), err
}
