package conntrack

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func dialInternal(t *testing.T) *Conn {
	t.Helper()
	return openInternal(t, testbed.NewTestNamespace(t), 1<<20)
}

func openInternal(t *testing.T, ns *testbed.Namespace, receiveBuffer int) *Conn {
	t.Helper()
	c, err := open(ns.Fd(), receiveBuffer)
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func made(src, dst, reply string, zone uint16) Made {
	return Made{unix.IPPROTO_UDP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), netip.MustParseAddrPort(reply), zone}
}

func (c *Conn) insert(t *testing.T, flows ...Made) {
	t.Helper()
	check(t, c.Insert(slices.Values(flows)))
}

// deletions are those of all flows of the filter that want accepts.
func (c *Conn) deletionsOf(t *testing.T, f filter, want func(entry) bool) []byte {
	t.Helper()
	var out nfnetlink.Encoder
	_, err := c.flows(f, func(e entry) {
		if want(e) {
			e.deletion(&out, f.family, c.nl.NextSeq())
		}
	})
	check(t, err)
	return out.B
}

func all(entry) bool { return true }

func (c *Conn) count(t *testing.T) int {
	t.Helper()
	n, err := c.entries()
	check(t, err)
	return n
}

// The same addresses and ports in another zone are another flow.
func TestDeletesInItsZone(t *testing.T) {
	for _, addrs := range [][3]string{{"192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"}, {"[fd00::1]:1", "[fd00::2]:2", "[fd00::3]:3"}} {
		c := dialInternal(t)
		for zone := range uint16(3) {
			c.insert(t, made(addrs[0], addrs[1], addrs[2], zone))
		}
		family := uint8(unix.AF_INET)
		if addrs[0][0] == '[' {
			family = unix.AF_INET6
		}
		zoneOf := func(e entry) int {
			if e.zone == nil {
				return 0
			}
			return int(e.zone[1])
		}
		n, err := c.delete(c.deletionsOf(t, filter{family: family}, func(e entry) bool { return zoneOf(e) == 1 }))
		check(t, err)
		var left []int
		c.deletionsOf(t, filter{family: family}, func(e entry) bool { left = append(left, zoneOf(e)); return false })
		slices.Sort(left)
		if n != 1 || !slices.Equal(left, []int{0, 2}) {
			t.Errorf("%d deleted, left in zones %v", n, left)
		}
	}
}

// A flow that began anew since it was read is another one.
func TestDeletesByID(t *testing.T) {
	c := dialInternal(t)
	stale := made("192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3", 0)
	c.insert(t, stale)
	deletions := c.deletionsOf(t, filter{family: unix.AF_INET}, all)
	again := slices.Clone(deletions)
	n, err := c.delete(deletions)
	check(t, err)
	if n != 1 {
		t.Fatalf("%d deleted", n)
	}
	// Another entry first, so that the new one does not get the old one's place.
	c.insert(t, made("192.0.2.9:1", "192.0.2.2:2", "192.0.2.3:3", 0), stale)
	n, err = c.delete(again)
	if n != 0 || err != nil || c.count(t) != 2 {
		t.Errorf("%d deleted, error %v, %d left", n, err, c.count(t))
	}
}

// Answers that do not fit the socket are lost; Clean tries again and is right.
func TestLostAnswers(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	c := openInternal(t, ns, 1<<20)
	vip := netip.MustParseAddrPort("192.0.2.2:2")
	src := netip.MustParseAddr("198.51.100.1")
	for port := range uint16(150) {
		c.insert(t, Made{unix.IPPROTO_UDP, netip.AddrPortFrom(src, 1+port), vip, netip.MustParseAddrPort("192.0.2.3:3"), 0})
	}
	deletions := c.deletionsOf(t, filter{family: unix.AF_INET}, all)
	half := slices.Clone(deletions[:len(deletions)/2])
	n, err := c.delete(half)
	check(t, err)
	if n != 75 {
		t.Fatalf("%d deleted, not half of them", n)
	}
	c = openInternal(t, ns, 1) // the kernel makes it its minimum
	if _, err = c.delete(deletions); !errors.Is(err, errInterrupted) {
		t.Fatalf("75 errors fit into the smallest buffer: %v", err)
	}
	port := proxy.Port{Protocol: proxy.UDP, Port: vip.Port(), Frontends: []proxy.Frontend{{Addr: vip.Addr()}}}
	port.Endpoints = []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort("192.0.2.3:3")}}
	var changes Changes
	changes.Add(proxy.Service{Ports: []proxy.Port{port}}, proxy.Service{})
	_, err = c.Clean(&changes)
	if err != nil || c.count(t) != 0 {
		t.Errorf("error %v, %d left", err, c.count(t))
	}
}

// The kernel filters by what it is asked for, and IPv6 by address the wrong way
// round, which is why that is not asked for.
func TestFilters(t *testing.T) {
	c := dialInternal(t)
	c.insert(t,
		made("192.0.2.1:1", "192.0.2.2:53", "192.0.2.9:53", 0),
		made("192.0.2.1:2", "192.0.2.2:54", "192.0.2.9:53", 0),
		made("192.0.2.1:3", "192.0.2.3:53", "192.0.2.9:53", 0),
		made("[fd00::1]:1", "[fd00::2]:53", "[fd00::9]:53", 0),
		made("[fd00::1]:2", "[fd00::3]:54", "[fd00::9]:53", 0),
	)
	tcp := made("192.0.2.1:4", "192.0.2.2:53", "192.0.2.9:53", 0)
	tcp.Protocol = unix.IPPROTO_TCP
	c.insert(t, tcp)
	for _, test := range []struct {
		filter filter
		want   int
	}{
		{filter{unix.AF_INET, netip.MustParseAddr("192.0.2.2"), 53}, 1},
		{filter{unix.AF_INET, netip.Addr{}, 53}, 2},
		{filter{unix.AF_INET, netip.Addr{}, 0}, 3},
		{filter{unix.AF_INET6, netip.Addr{}, 53}, 1},
		{filter{unix.AF_INET6, netip.Addr{}, 0}, 2},
	} {
		if n, err := c.flows(test.filter, func(entry) {}); err != nil || n != test.want {
			t.Errorf("%+v: %d flows, want %d, error %v", test.filter, n, test.want, err)
		}
	}
	if c.plain {
		t.Error("a kernel that filters is taken for one that does not")
	}
	// One that does not gives TCP as well, which shows it.
	n, err := c.dump(filter{family: unix.AF_INET}, false, func(entry) {})
	if n != 4 || err != nil || !c.plain {
		t.Errorf("without a filter: %d flows, error %v, plain %v", n, err, c.plain)
	}
}

func TestPlan(t *testing.T) {
	four := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.1:54")}
	six := []netip.AddrPort{netip.MustParseAddrPort("[fd00::1]:53"), netip.MustParseAddrPort("[fd00::2]:53"), netip.MustParseAddrPort("[fd00::1]:54")}
	for _, test := range []struct {
		family uint8
		at     []netip.AddrPort
		most   int
		want   []filter
	}{
		{unix.AF_INET, four, 3, []filter{{2, four[0].Addr(), 53}, {2, four[1].Addr(), 53}, {2, four[2].Addr(), 54}}},
		{unix.AF_INET, four, 2, []filter{{family: 2, port: 53}, {family: 2, port: 54}}},
		{unix.AF_INET, four, 1, []filter{{family: 2}}},
		{unix.AF_INET, four[:1], 1, []filter{{2, four[0].Addr(), 53}}},
		{unix.AF_INET6, six[:2], 1, []filter{{family: 10, port: 53}}},
		{unix.AF_INET6, six, 2, []filter{{family: 10, port: 53}, {family: 10, port: 54}}},
		{unix.AF_INET6, six, 1, []filter{{family: 10}}},
	} {
		if got := filters(test.family, test.at, test.most); !slices.Equal(got, test.want) {
			t.Errorf("%v with at most %d: %v, want %v", test.at, test.most, got, test.want)
		}
	}
	for entries, want := range map[int]int{0: 1, 1000: 1, 50_000: 3, 200_000: 5} {
		if got := dumps(entries); got != want {
			t.Errorf("with %d entries %d dumps, want %d", entries, got, want)
		}
	}
}

// What comes while a Clean is at work stays for the next, and counts at once.
func TestChangesThatComeMeanwhile(t *testing.T) {
	vip, a, b := netip.MustParseAddrPort("10.96.0.1:53"), netip.MustParseAddrPort("10.254.0.1:53"), netip.MustParseAddrPort("10.254.0.2:53")
	dns := func(endpoints ...netip.AddrPort) proxy.Service {
		port := proxy.Port{Protocol: proxy.UDP, Port: vip.Port(), Frontends: []proxy.Frontend{{Addr: vip.Addr()}}}
		for _, e := range endpoints {
			port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: e})
		}
		return proxy.Service{Name: proxy.Name{Name: "dns"}, Ports: []proxy.Port{port}}
	}
	var c Changes
	c.Add(dns(a), dns())
	state := c.state()
	if !c.Stale(vip, b) {
		t.Error("a flow to what is no endpoint is not stale")
	}
	c.Add(dns(), dns(b))
	if c.Stale(vip, b) {
		t.Error("a flow to an endpoint that has come meanwhile is stale")
	}
	if c.drop(state); c.Len() != 1 {
		t.Errorf("%d frontends are left, want the one that has changed meanwhile", c.Len())
	}
	if c.drop(c.state()); c.Len() != 0 {
		t.Errorf("%d frontends are left when all is clean", c.Len())
	}
}
