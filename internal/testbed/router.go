package testbed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ends are the link-local addresses of the two ends of each of a router's links.
// They serve as next hops only: the kernel never picks an address of link scope
// as the source of traffic that goes further.
type ends struct{ router4, host4, router6, host6 netip.Addr }

// router is a namespace with hosts around it, each on a link of its own.
type router struct {
	*Namespace
	ends ends
	// sources are the addresses it speaks to its hosts from.
	sources []netip.Addr

	mu    sync.Mutex
	count int
	hosts map[*Host]struct{}
}

// settleLimit bounds what normally takes a millisecond.
const settleLimit = 5 * time.Second

// forwarding makes a namespace pass packets on.
var forwarding = map[string]string{
	"net.ipv4.ip_forward":          "1",
	"net.ipv6.conf.all.forwarding": "1",
}

func newRouter(ends ends, sources []netip.Addr) (*router, error) {
	ns, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	if err := ns.sysctls(forwarding); err != nil {
		ns.Close()
		return nil, err
	}
	return &router{Namespace: ns, ends: ends, sources: sources, hosts: map[*Host]struct{}{}}, nil
}

// add makes a namespace and links it to the router.
func (r *router) add(name string, addrs []netip.Addr) (*Host, error) {
	ns, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{Namespace: ns, Name: name, Addrs: addrs, router: r}
	// A host's sockets are mostly clients that need a fresh port each.
	if err := errors.Join(ns.Sysctl("net.ipv4.ip_local_port_range", "16384 65535"), r.attach(h)); err != nil {
		ns.Close()
		return nil, err
	}
	return h, nil
}

// attach joins h to the router by a veth, the host's end of which is eth0.
func (r *router) attach(h *Host) error {
	r.mu.Lock()
	r.count++
	h.Link = fmt.Sprintf("veth%d", r.count)
	r.hosts[h] = struct{}{}
	r.mu.Unlock()
	if err := r.link(h); err != nil {
		r.detach(h)
		return fmt.Errorf("linking %s to its router: %w", h.Name, err)
	}
	return nil
}

func (r *router) link(h *Host) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = h.Link
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(h.fd)}
	if err := r.links.LinkAdd(veth); err != nil {
		return err
	}
	near, err := r.links.LinkByName(h.Link)
	if err != nil {
		return err
	}
	far, err := h.links.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := errors.Join(
		r.links.LinkSetAlias(near, h.Name),
		r.links.LinkSetUp(near), h.links.LinkSetUp(far),
		addAddr(r.Namespace, near, r.ends.router4), addAddr(r.Namespace, near, r.ends.router6),
		addAddr(h.Namespace, far, r.ends.host4), addAddr(h.Namespace, far, r.ends.host6),
	); err != nil {
		return err
	}
	defaults := map[bool]bool{}
	for _, addr := range h.Addrs {
		if err := addAddr(h.Namespace, far, addr); err != nil {
			return err
		}
		if err := addRoute(r.Namespace, near, prefix(addr), r.ends.host(addr), first(r.sources, addr), 0); err != nil {
			return err
		}
		if defaults[addr.Is4()] {
			continue
		}
		defaults[addr.Is4()] = true
		if err := addRoute(h.Namespace, far, everything(addr), r.ends.router(addr), addr, 0); err != nil {
			return err
		}
	}
	return nil
}

// detach removes a host's link and with it the routes to the host.
func (r *router) detach(h *Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.hosts[h]; !ok {
		return
	}
	delete(r.hosts, h)
	if link, err := r.links.LinkByName(h.Link); err == nil {
		_ = r.links.LinkDel(link)
	}
}

// close removes the router and the hosts around it.
func (r *router) close() {
	r.mu.Lock()
	var hosts []*Host
	for h := range r.hosts {
		hosts = append(hosts, h)
	}
	r.mu.Unlock()
	for _, h := range hosts {
		h.Close()
	}
	r.Namespace.Close()
}

func (e ends) host(of netip.Addr) netip.Addr {
	if of.Is4() {
		return e.host4
	}
	return e.host6
}

func (e ends) router(of netip.Addr) netip.Addr {
	if of.Is4() {
		return e.router4
	}
	return e.router6
}

// first is the first of addrs that has the family of like.
func first(addrs []netip.Addr, like netip.Addr) netip.Addr {
	for _, addr := range addrs {
		if addr.Is4() == like.Is4() {
			return addr
		}
	}
	return netip.Addr{}
}

func prefix(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

func everything(like netip.Addr) netip.Prefix {
	if like.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func addAddr(ns *Namespace, link netlink.Link, addr netip.Addr) error {
	a := &netlink.Addr{IPNet: ipNet(prefix(addr))}
	if addr.IsLinkLocalUnicast() {
		a.Scope = unix.RT_SCOPE_LINK
	}
	if addr.Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := ns.links.AddrAdd(link, a); err != nil {
		return fmt.Errorf("adding address %s to %s: %w", addr, link.Attrs().Name, err)
	}
	if addr.Is4() || a.Scope == unix.RT_SCOPE_LINK {
		return nil
	}
	// The kernel leaves the rest of an IPv6 address to a worker. Until that has run,
	// packets for the address follow the default route away from its owner.
	return Wait(settleLimit, fmt.Sprintf("address %s of %s to be usable", addr, link.Attrs().Name), func() error {
		routes, err := ns.links.RouteGet(addr.AsSlice())
		if err == nil && routes[0].Type != unix.RTN_LOCAL {
			err = errors.New("it is not a local address yet")
		}
		return err
	})
}

// addRoute adds a route to table (0: main). The next hop need not lie in any
// subnet of the link.
func addRoute(ns *Namespace, link netlink.Link, to netip.Prefix, via, from netip.Addr, table int) error {
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(to),
		Gw:        via.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
		Table:     table,
	}
	if from.IsValid() {
		route.Src = from.AsSlice()
	}
	if err := ns.links.RouteAdd(route); err != nil {
		return fmt.Errorf("adding route to %s via %s on %s: %w", to, via, link.Attrs().Name, err)
	}
	return nil
}
