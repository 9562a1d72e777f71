package conntrack_test

import (
	"fmt"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// client is the i-th of many sources.
func (f *family) client(i int) netip.AddrPort {
	addr := f.in.AsSlice()
	addr[1] += 10
	addr[len(addr)-2], addr[len(addr)-1] = byte(i>>14), byte(i>>6)
	from, _ := netip.AddrFromSlice(addr)
	return on(from, uint16(1024+i&63))
}

// crowd are n flows that have nothing to do with the port 53 at the VIP, but
// everything else with one that has.
func (f *family) crowd(n int) iter.Seq[conntrack.Made] {
	const udp, tcp = unix.IPPROTO_UDP, unix.IPPROTO_TCP
	a := on(f.a, 5353)
	kinds := []conntrack.Made{
		{Protocol: udp, Dst: on(f.other, 53), Reply: a},
		{Protocol: udp, Dst: on(f.vip, 5300), Reply: a},
		{Protocol: udp, Dst: a, Reply: a},
		{Protocol: tcp, Dst: on(f.vip, 53), Reply: a},
		{Protocol: udp, Dst: on(f.in, 7), Reply: on(f.vip, 53)},
	}
	return func(yield func(conntrack.Made) bool) {
		for i := range n {
			made := kinds[i%len(kinds)]
			// Not all can be answered from one place: sources are apart.
			made.Src = f.client(i)
			if !yield(made) {
				return
			}
		}
	}
}

// flowsTo are n flows to the frontend, answered from reply.
func (f *family) flowsTo(frontend, reply netip.AddrPort, from, n int) iter.Seq[conntrack.Made] {
	return func(yield func(conntrack.Made) bool) {
		for i := range n {
			if !yield(conntrack.Made{Protocol: unix.IPPROTO_UDP, Src: f.client(from + i), Dst: frontend, Reply: reply}) {
				return
			}
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// foreign is how many flows of others there are.
const foreign = 200_000

func TestFullTable(t *testing.T) {
	needEntries(t, foreign+1000)
	for _, f := range families {
		for _, unfiltered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/unfiltered=%v", f.name, unfiltered), func(t *testing.T) {
				conn := dial(t, testbed.NewTestNamespace(t))
				must(t, conn.Insert(f.crowd(foreign)))
				vip, a, b := on(f.vip, 53), on(f.a, 5353), on(f.b, 5353)
				must(t, conn.Insert(f.flowsTo(vip, a, foreign, 500)))
				must(t, conn.Insert(f.flowsTo(vip, b, foreign+500, 500)))
				if unfiltered {
					conn.Unfiltered()
				}
				var changes conntrack.Changes
				changes.Add(dns(f.vip, 53, a, b), dns(f.vip, 53, b))
				result, err := conn.Clean(&changes)
				must(t, err)
				left, err := conn.Entries()
				must(t, err)
				if result.Deleted != 500 || left != foreign+500 {
					t.Errorf("%+v, %d flows are left", result, left)
				}
				// Those of b are still there, and nothing else is.
				changes = conntrack.Changes{}
				changes.Add(dns(f.vip, 53, b), proxy.Service{})
				result, err = conn.Clean(&changes)
				must(t, err)
				left, err = conn.Entries()
				must(t, err)
				if result.Deleted != 500 || left != foreign {
					t.Errorf("then %+v, %d flows are left", result, left)
				}
			})
		}
	}
}

// needEntries skips a test where the kernel's table has less room, as it has on a machine
// of less than 4 GB. Only the machine itself can change that, not a namespace.
func needEntries(t *testing.T, n int) {
	t.Helper()
	const setting = "/proc/sys/net/netfilter/nf_conntrack_max"
	text, err := os.ReadFile(setting)
	if err != nil {
		return // its default comes with the module
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	switch {
	case most >= n || most == 0: // 0 is for no limit
	case os.Getenv("CI") == "true":
		t.Fatalf("net.netfilter.nf_conntrack_max is %d; set it to %d or more", most, n)
	default:
		t.Skipf("net.netfilter.nf_conntrack_max is %d, and this test needs %d", most, n)
	}
}

// All flows that are stale are deleted, however many Services change at once.
func TestManyChanges(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			conn := dial(t, testbed.NewTestNamespace(t))
			const services, other = 100, 1000
			must(t, conn.Insert(f.crowd(other)))
			var changes conntrack.Changes
			for i := range services {
				addr, number := f.client(i).Addr(), uint16(6000+i)
				must(t, conn.Insert(f.flowsTo(on(addr, number), on(f.a, 5353), 1_000_000+i*10, 10)))
				changes.Add(service(fmt.Sprint(i), to(addr, proxy.ClusterIP, proxy.UDP, number, on(f.a, 5353))), proxy.Service{})
			}
			result, err := conn.Clean(&changes)
			must(t, err)
			left, err := conn.Entries()
			must(t, err)
			if result.Deleted != services*10 || result.Dumps != 1 || left != other {
				t.Errorf("%+v, %d flows are left", result, left)
			}
		})
	}
}

func TestNothingChanged(t *testing.T) {
	conn := dial(t, testbed.NewTestNamespace(t))
	result, err := conn.Clean(&conntrack.Changes{})
	must(t, err)
	if result != (conntrack.Result{}) {
		t.Errorf("%+v", result)
	}
}
