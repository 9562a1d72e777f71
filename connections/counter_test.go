package connections_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/connections"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// The counts are those of real connections, and none is lost when elements are
// replaced: endpoints come, go and change places between connections.
func TestConnectionsAreCounted(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11"))
	open := func() *kernel.Conn {
		conn, err := kernel.Open(node.Fd())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	conn := open()
	tables := maps.NewLayout(layout.Config{MasqueradeBit: 12, Counted: true})
	w := dataplane.NewWriter(conn, tables)
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	var endpoints []netip.AddrPort
	for i := range 3 {
		for _, a := range []string{fmt.Sprintf("10.254.0.%d", i+1), fmt.Sprintf("fd00:10:254::%d", i+1)} {
			pod, err := node.AddPod(fmt.Sprintf("pod-%d-%d", i, len(endpoints)), netip.MustParseAddr(a))
			if err != nil {
				t.Fatal(err)
			}
			at := netip.AddrPortFrom(netip.MustParseAddr(a), 8080)
			server, err := pod.Serve("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			endpoints = append(endpoints, at)
		}
	}
	client, err := node.AddPod("client", netip.MustParseAddr("10.254.0.9"), netip.MustParseAddr("fd00:10:254::9"))
	if err != nil {
		t.Fatal(err)
	}
	frontends := []netip.AddrPort{netip.MustParseAddrPort("10.96.0.1:80"), netip.MustParseAddrPort("[fd00:10:96::1]:80")}
	program := func(numbers ...int) {
		t.Helper()
		svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "web"}}
		for i, f := range frontends {
			p := proxy.Port{Name: "http", Protocol: proxy.TCP, Port: 80, Frontends: []proxy.Frontend{{Addr: f.Addr()}}}
			for _, n := range numbers {
				p.Endpoints = append(p.Endpoints, proxy.Endpoint{AddrPort: endpoints[2*n+i]})
			}
			svc.Ports = append(svc.Ports, p)
		}
		if failures, err := w.Program([]dataplane.Change{{Name: svc.Name, Service: svc}}); err != nil || len(failures) > 0 {
			t.Fatal(err, failures)
		}
		if err := w.Sweep(); err != nil {
			t.Fatal(err)
		}
	}
	counter := connections.New(open(), dataplane.IDs(tables)...)
	conn.TellDeleted(counter.Deleted)
	program(0, 1, 2)
	if _, err := counter.Counts(); err != nil {
		t.Fatal(err)
	}
	total := map[netip.AddrPort]uint64{}
	asked := uint64(0)
	for round, numbers := range [][]int{{0, 1, 2}, {0, 2}, {2}, {1, 2}, {0, 1, 2}} {
		program(numbers...)
		err := client.Clients(1, func(c *testbed.Client) error {
			for range 20 {
				for _, to := range frontends {
					answer, err := c.Ask("tcp", to, 5*time.Second)
					if err != nil {
						return fmt.Errorf("round %d: %w", round, err)
					}
					total[answer.Server]++
					asked++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	counter.Expire()
	counts, err := counter.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		want := total[c.Endpoint]
		if !c.Endpoint.IsValid() {
			want = asked
		}
		if c.Service != "ns/web:http" || c.Connections != want {
			t.Errorf("%s %v: counted %d, want %d", c.Service, c.Endpoint, c.Connections, want)
		}
	}
	if len(counts) != 7 {
		t.Errorf("%d counts, want those of a Service port and six endpoints: %v", len(counts), counts)
	}

	// A process that starts goes on with what the kernel has. Off and on again, the
	// tables are replaced, each time in one transaction.
	again := connections.New(open(), dataplane.IDs(tables)...)
	if counts, err := again.Counts(); err != nil || len(counts) != 7 {
		t.Errorf("a second Counter has %v, %v", counts, err)
	}
	text, err := node.Run("nft", "list", "map", "ip", "kube-verdict", "services")
	if err != nil || !strings.Contains(text, "\tcounter\n") || !strings.Contains(text, "counter packets ") {
		t.Errorf("nft lists %s, %v", text, err)
	}
	for _, counted := range []bool{false, true} {
		w = dataplane.NewWriter(conn, maps.NewLayout(layout.Config{MasqueradeBit: 12, Counted: counted}))
		before, _ := conn.Generation()
		if err := w.Adopt(); err != nil {
			t.Fatal(err)
		}
		program(0, 1, 2)
		if after, _ := conn.Generation(); after != before+1 {
			t.Errorf("counted %v: %d transactions, want one", counted, after-before)
		}
		if _, err := client.Ask("tcp", frontends[0], 5*time.Second); err != nil {
			t.Error(err)
		}
	}
	// And with no change of that, a start writes nothing.
	w = dataplane.NewWriter(conn, maps.NewLayout(layout.Config{MasqueradeBit: 12, Counted: true}))
	before, _ := conn.Generation()
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	program(0, 1, 2)
	if after, _ := conn.Generation(); after != before {
		t.Errorf("a restart made %d transactions", after-before)
	}
}

// The counts of what is gone go, too.
func TestGoneServicesAreForgotten(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	tables := maps.NewLayout(layout.Config{Counted: true})
	w := dataplane.NewWriter(conn, tables)
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "web"}, Ports: []proxy.Port{{Protocol: proxy.TCP, Port: 80,
		Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr("10.96.0.1")}}, Endpoints: []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort("10.254.0.1:80")}}}}}
	counter := connections.New(conn, dataplane.IDs(tables)...)
	for _, gone := range []bool{false, true} {
		if _, err := w.Program([]dataplane.Change{{Name: svc.Name, Service: svc, Gone: gone}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Sweep(); err != nil {
			t.Fatal(err)
		}
		var counts []connections.Count
		for range 4 {
			counter.Expire()
			if counts, err = counter.Counts(); err != nil {
				t.Fatal(err)
			}
		}
		if want := map[bool]int{false: 2, true: 0}[gone]; len(counts) != want {
			t.Errorf("gone %v: %v, want %d counts", gone, counts, want)
		}
	}
}

// Without a table there are no counts, and that is no error; what else fails is one.
func TestNoTableNoCounts(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	tables := maps.NewLayout(layout.Config{Counted: true})
	counter := connections.New(conn, dataplane.IDs(tables)...)
	if counts, err := counter.Counts(); err != nil || len(counts) != 0 {
		t.Errorf("without a table the counts are %v, %v", counts, err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	counter.Expire()
	if counts, err := counter.Counts(); err == nil {
		t.Errorf("over a connection that is closed the counts are %v", counts)
	}
}
