package testbed

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	podLinks     = ends{addr("169.254.1.1"), addr("169.254.1.2"), addr("fe80::1"), addr("fe80::2")}
	outsideLinks = ends{addr("169.254.2.1"), addr("169.254.2.2"), addr("fe80::1"), addr("fe80::2")}
	// outsideAddrs are what the outside sends its ICMP errors from.
	outsideAddrs = []netip.Addr{addr("198.18.255.1"), addr("fd00:ffff::1")}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Host is a namespace with one link, eth0, to a router: a pod on a node, or a
// client outside of it.
type Host struct {
	*Namespace
	Name  string
	Addrs []netip.Addr
	// Link is the name of the router's end of the host's link.
	Link string

	router *router
}

// Close takes the host off its router and gives its namespace up.
func (h *Host) Close() {
	h.router.detach(h)
	h.Namespace.Close()
}

// Take gives a host all addresses of a network: whatever is sent there, it is
// taken for its own. One host is so a stand-in for any number of pods. No other host
// may have an address of that network, as this one would not send there.
func (h *Host) Take(network netip.Prefix) error {
	near, err := h.router.links.LinkByName(h.Link)
	if err != nil {
		return err
	}
	lo, err := h.links.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.links.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(network), Type: unix.RTN_LOCAL,
		Scope: unix.RT_SCOPE_HOST, Table: unix.RT_TABLE_LOCAL,
	}); err != nil {
		return fmt.Errorf("making %s local to %s: %w", network, h.Name, err)
	}
	return addRoute(h.router.Namespace, near, network, h.router.ends.host(network.Addr()), first(h.router.sources, network.Addr()), 0)
}

// Node is a namespace that routes for its pods, the way a cluster's node does.
//
// Its eth0 leads to Outside, another namespace, which is all the world there is:
// clients are attached to it, it sends the node everything that it knows no client
// for, and it answers "unreachable" to what the node sends there in vain. A packet
// to a Service address that the node does not translate thus fails at once.
type Node struct {
	*Namespace
	Addrs   []netip.Addr
	Outside *Namespace

	inside, outside *router
}

// NewNode makes a node with these addresses, of either or both families, on eth0.
func NewNode(addrs ...netip.Addr) (*Node, error) {
	if len(addrs) == 0 {
		return nil, errors.New("a node needs at least one address")
	}
	outside, err := newRouter(outsideLinks, outsideAddrs)
	if err != nil {
		return nil, err
	}
	inside, err := newRouter(podLinks, addrs)
	if err != nil {
		outside.close()
		return nil, err
	}
	n := &Node{Namespace: inside.Namespace, Addrs: addrs, Outside: outside.Namespace, inside: inside, outside: outside}
	if err := n.connect(); err != nil {
		n.Close()
		return nil, fmt.Errorf("making a node with addresses %v: %w", addrs, err)
	}
	return n, nil
}

func (n *Node) connect() error {
	lo, err := n.Outside.links.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range outsideAddrs {
		if err := addAddr(n.Outside, lo, a); err != nil {
			return err
		}
	}
	h := &Host{Namespace: n.Namespace, Name: "node", Addrs: n.Addrs, router: n.outside}
	if err := n.outside.attach(h); err != nil {
		return err
	}
	link, err := n.Outside.links.LinkByName(h.Link)
	if err != nil {
		return err
	}
	for _, like := range outsideAddrs {
		if err := n.turnBack(link, like); err != nil {
			return fmt.Errorf("routing between the node and its outside: %w", err)
		}
	}
	if err := n.refuse(link); err != nil {
		return fmt.Errorf("refusing what the outside knows no client for: %w", err)
	}
	return nil
}

// turnBack gives the outside its default route of one family: to the node. Routes to
// clients are in the main table, which the rule comes after.
func (n *Node) turnBack(link netlink.Link, like netip.Addr) error {
	const table, afterMain = 100, 32800
	if !first(n.Addrs, like).IsValid() {
		return nil
	}
	pass := netlink.NewRule()
	pass.Family, pass.Priority, pass.Table = netlink.FAMILY_V4, afterMain, table
	if like.Is6() {
		pass.Family = netlink.FAMILY_V6
	}
	return errors.Join(
		n.Outside.links.RuleAdd(pass),
		addRoute(n.Outside, link, everything(like), outsideLinks.host(like), first(outsideAddrs, like), table),
	)
}

// refuse has the outside answer "unreachable" to what came from the node and would
// go back there, and circle until its time to live ran out. An unreachable route
// would do so for one IPv4 packet of a sender a second (ip_error, net/ipv4/route.c);
// no namespace of its own can change that.
func (n *Node) refuse(link netlink.Link) error {
	conn, err := nftables.New(nftables.WithNetNSFd(n.Outside.Fd()))
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "outside"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "forward", Table: table,
		Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link.Attrs().Name)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_NO_ROUTE},
	}})
	return conn.Flush()
}

// AddPod makes a pod with these addresses and routes to it. One pod with many
// addresses is a cheap stand-in for many pods.
func (n *Node) AddPod(name string, addrs ...netip.Addr) (*Host, error) {
	h, err := n.inside.add(name, addrs)
	if err != nil {
		return nil, fmt.Errorf("adding pod %s: %w", name, err)
	}
	return h, nil
}

// AddClient makes a host outside the node: a client, or a pod of another node.
func (n *Node) AddClient(name string, addrs ...netip.Addr) (*Host, error) {
	h, err := n.outside.add(name, addrs)
	if err != nil {
		return nil, fmt.Errorf("adding client %s: %w", name, err)
	}
	return h, nil
}

// Close removes the node, its pods, its outside and its clients.
func (n *Node) Close() {
	n.inside.close()
	n.outside.close()
}
