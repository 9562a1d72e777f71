package conntrack_test

import (
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// wholeTable cleans up as kube-proxy 1.37 does with the same library: it lists the
// family's table and picks the stale flows, then the library lists it once more
// and deletes, one by one, what has the same addresses and ports.
type wholeTable struct {
	handle *netlink.Handle
	family netlink.InetFamily
	valid  map[string]map[string]bool
}

func text(addr fmt.Stringer, port uint16) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(int(port)))
}

func identity(f *netlink.ConntrackFlow) string {
	one, two := &f.Forward, &f.Reverse
	return fmt.Sprintf("%d %s %d %s %d %s %d %s %d", one.Protocol,
		one.SrcIP, one.SrcPort, one.DstIP, one.DstPort, two.SrcIP, two.SrcPort, two.DstIP, two.DstPort)
}

// picked is a filter of the library's.
type picked map[string]bool

func (p picked) MatchConntrackFlow(f *netlink.ConntrackFlow) bool { return p[identity(f)] }

func (w *wholeTable) clean() (uint, error) {
	flows, err := w.handle.ConntrackTableList(netlink.ConntrackTable, w.family)
	if err != nil {
		return 0, err
	}
	stale := picked{}
	for _, f := range flows {
		if f.Forward.Protocol != unix.IPPROTO_UDP {
			continue
		}
		valid, ours := w.valid[text(f.Forward.DstIP, f.Forward.DstPort)]
		if ours && !valid[text(f.Reverse.SrcIP, f.Reverse.SrcPort)] {
			stale[identity(f)] = true
		}
	}
	if len(stale) == 0 {
		return 0, nil
	}
	return w.handle.ConntrackDeleteFilters(netlink.ConntrackTable, w.family, stale)
}

// BenchmarkClean is what a change costs that makes flows stale: an endpoint of one
// Service is gone. It depends on the flows of others more than on those.
func BenchmarkClean(b *testing.B) {
	for _, f := range families {
		for _, others := range []int{1000, 20_000, foreign} {
			ns, err := testbed.NewNamespace()
			must(b, err)
			conn, err := conntrack.Open(ns.Fd())
			must(b, err)
			must(b, conn.Insert(f.crowd(others)))
			for _, stale := range []int{1, 500} {
				f.benchmark(b, ns, conn, fmt.Sprintf("%s/%d_others/%d_stale", f.name, others, stale), stale)
			}
			must(b, conn.Close())
			ns.Close()
		}
	}
}

func (f *family) benchmark(b *testing.B, ns *testbed.Namespace, conn *conntrack.Conn, name string, stale int) {
	vip, gone, left := on(f.vip, 53), on(f.a, 5353), on(f.b, 5353)
	flows := func(from netip.AddrPort) iter.Seq[conntrack.Made] { return f.flowsTo(vip, from, foreign, stale) }
	run := func(name string, clean func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				must(b, conn.Insert(flows(gone)))
				b.StartTimer()
				if n, err := clean(); err != nil || n != stale {
					b.Fatalf("%d deleted, error %v", n, err)
				}
			}
		})
	}
	old, now := dns(f.vip, 53, gone, left), dns(f.vip, 53, left)
	ours := func(conn *conntrack.Conn) func() (int, error) {
		return func() (int, error) {
			var changes conntrack.Changes
			changes.Add(old, now)
			result, err := conn.Clean(&changes)
			return result.Deleted, err
		}
	}
	run(name+"/ours", ours(conn))
	unfiltered := dial(b, ns)
	unfiltered.Unfiltered()
	run(name+"/ours_unfiltered", ours(unfiltered))
	table := &wholeTable{family: unix.AF_INET, valid: map[string]map[string]bool{
		text(vip.Addr(), vip.Port()): {text(left.Addr(), left.Port()): true},
	}}
	if f.vip.Is6() {
		table.family = unix.AF_INET6
	}
	var err error
	table.handle, err = netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_NETFILTER)
	must(b, err)
	defer table.handle.Close()
	run(name+"/whole_table", func() (int, error) {
		n, err := table.clean()
		return int(n), err
	})
}

// BenchmarkBatch is what many changes at once cost, in a table with many others.
func BenchmarkBatch(b *testing.B) {
	f := families[0]
	ns, err := testbed.NewNamespace()
	must(b, err)
	defer ns.Close()
	conn, err := conntrack.Open(ns.Fd())
	must(b, err)
	defer func() { _ = conn.Close() }()
	must(b, conn.Insert(f.crowd(foreign)))
	for _, n := range []int{1, 2, 5, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var dumps int
			for range b.N {
				var changes conntrack.Changes
				for i := range n {
					addr := netip.AddrFrom4([4]byte{10, 97, 0, byte(i)})
					gone := dns(addr, uint16(53+i), on(f.a, 5353))
					changes.Add(gone, dns(addr, uint16(53+i)))
				}
				result, err := conn.Clean(&changes)
				must(b, err)
				dumps = result.Dumps
			}
			b.ReportMetric(float64(dumps), "dumps")
		})
	}
}
