package conntrack_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// patience is how long an answer that is to come may take.
const patience = 5 * time.Second

// family has the addresses of one IP family in the test's world.
type family struct {
	name                            string
	node, vip, other, new, a, b, in netip.Addr
}

var families = []family{
	{"IPv4", ip("192.0.2.1"), ip("10.96.0.10"), ip("10.96.0.11"), ip("10.96.0.12"), ip("10.1.0.1"), ip("10.1.0.2"), ip("198.51.100.7")},
	{"IPv6", ip("fd00:2::1"), ip("fd00:96::10"), ip("fd00:96::11"), ip("fd00:96::12"), ip("fd00:1::1"), ip("fd00:1::2"), ip("fd00:c::7")},
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func on(addr netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr, port) }

// world is a node with our rules, two pods that answer, and a client outside.
type world struct {
	*testing.T
	node   *testbed.Node
	client *testbed.Host
	writer *dataplane.Writer
	table  *netlink.Handle
	conn   *conntrack.Conn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	v4, v6 := families[0], families[1]
	w := &world{T: t, node: testbed.NewTestNode(t, v4.node, v6.node)}
	pod := func(name string, addrs ...netip.Addr) {
		p, err := w.node.AddPod(name, addrs...)
		w.check(err)
		t.Cleanup(p.Close)
		for _, addr := range addrs {
			for _, server := range []struct {
				protocol string
				port     uint16
			}{{"udp", 5353}, {"udp", 5454}, {"tcp", 5353}} {
				s, err := p.Serve(server.protocol, on(addr, server.port))
				w.check(err)
				t.Cleanup(s.Close)
			}
		}
	}
	pod("a", v4.a, v6.a)
	pod("b", v4.b, v6.b)
	var err error
	w.client, err = w.node.AddClient("client", v4.in, v6.in)
	w.check(err)
	t.Cleanup(w.client.Close)

	conn, err := kernel.Open(w.node.Fd())
	w.check(err)
	t.Cleanup(func() { _ = conn.Close() })
	w.writer = dataplane.NewWriter(conn, maps.NewLayout(layout.Config{
		PodCIDRs:      []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/48")},
		MasqueradeBit: layout.DefaultMasqueradeBit,
	}))
	w.check(w.writer.Adopt())
	w.table, err = netlink.NewHandleAt(netns.NsHandle(w.node.Fd()), unix.NETLINK_NETFILTER)
	w.check(err)
	t.Cleanup(w.table.Close)
	w.conn = dial(t, w.node.Namespace)
	return w
}

func dial(t testing.TB, ns *testbed.Namespace) *conntrack.Conn {
	t.Helper()
	c, err := conntrack.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) program(services ...proxy.Service) {
	w.Helper()
	var changes []dataplane.Change
	for _, svc := range services {
		changes = append(changes, dataplane.Change{Name: svc.Name, Service: svc, Gone: svc.Ports == nil})
	}
	failures, err := w.writer.Program(changes)
	if err != nil || len(failures) > 0 {
		w.Fatal(err, failures)
	}
}

func (w *world) open(protocol string, to netip.AddrPort) *testbed.Flow {
	w.Helper()
	f, err := w.client.Open(protocol, to, patience)
	w.check(err)
	w.Cleanup(f.Close)
	return f
}

// answered asks over a flow that must be answered.
func (w *world) answered(f *testbed.Flow) netip.AddrPort {
	w.Helper()
	answer, err := f.Ask(patience)
	w.check(err)
	return answer.Server
}

// flows lists the table of the node in both families, as another program reads
// it: each flow once, with its protocol, both directions and its zone.
func (w *world) flows() []string {
	w.Helper()
	var all []string
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		list, err := w.table.ConntrackTableList(netlink.ConntrackTable, family)
		w.check(err)
		for _, f := range list {
			all = append(all, fmt.Sprint(f.Forward.Protocol, " ", f.Forward.SrcIP, ":", f.Forward.SrcPort, " to ", f.Forward.DstIP, ":", f.Forward.DstPort,
				" answered from ", f.Reverse.SrcIP, ":", f.Reverse.SrcPort))
		}
	}
	slices.Sort(all)
	return all
}

// udp is a flow as flows lists it.
func udp(src, dst, reply netip.AddrPort) string {
	text := func(a netip.AddrPort) string { return fmt.Sprint(a.Addr(), ":", a.Port()) }
	return fmt.Sprint(unix.IPPROTO_UDP, " ", text(src), " to ", text(dst), " answered from ", text(reply))
}

// missing are those of before that after does not have.
func missing(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(f string) bool { return slices.Contains(after, f) })
}
