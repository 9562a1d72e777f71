package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
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
	// Warnings are about NodePorts that are served nowhere, or where nobody may want them.
	Warnings []string
}

// AnyPods are all addresses, of either family.
func AnyPods() []netip.Prefix { return everywhere() }

// everywhere has the network that all addresses of a family are in, IPv4 first.
func everywhere() []netip.Prefix {
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
		prefix, _, ok := proxy.ParsePrefix(text)
		if !ok {
			err = fmt.Errorf("node %s: spec.podCIDRs: %q is not a CIDR", object.Name, text)
			continue
		}
		pods = append(pods, prefix)
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
	own, err := interfaceAddresses()
	wrong = append(wrong, err)
	if object != nil {
		l.Zone = object.Labels[corev1.LabelTopologyZone]
		l.Addresses, err = addressesOf(object)
		wrong = append(wrong, err)
	}
	l.FromObject = len(l.Addresses) > 0
	if !l.FromObject {
		l.Addresses = global(own)
	}
	choice, err := choose(nodePortAddresses, l)
	if err != nil {
		return l, errors.Join(append(wrong, err)...)
	}
	l.NodePorts, l.Warnings = choice.of(own)
	return l, errors.Join(wrong...)
}

// addressesOf are the addresses of a Node, the internal ones first: a cloud's controller
// may write the others before. The first of a family is where the node is reached.
func addressesOf(object *corev1.Node) (addresses []netip.Addr, err error) {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range object.Status.Addresses {
			if a.Type != kind {
				continue
			}
			addr, _, ok := proxy.ParseAddr(a.Address)
			if !ok {
				err = errors.Join(err, fmt.Errorf("node %s: status.addresses: %s %q is not an IP address", object.Name, a.Type, a.Address))
				continue
			}
			addresses = append(addresses, addr)
		}
	}
	return addresses, err
}

// global are those of the machine's addresses that others may reach it at.
func global(own []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool { return !a.IsGlobalUnicast() })
}

// errUnlisted is when the machine's addresses are not known, so that what depends on
// them is missing.
var errUnlisted = errors.New("list this machine's addresses")

// interfaceAddresses are all of this machine's.
func interfaceAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnlisted, err)
	}
	var own []netip.Addr
	for _, a := range all {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ipnet.IP); ok {
			own = append(own, addr.Unmap())
		}
	}
	return own, nil
}
