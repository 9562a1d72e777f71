package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// sticky gives a Service session affinity, and another way in: a NodePort.
func sticky(svc proxy.Service, id uint32, timeout time.Duration) proxy.Service {
	for i := range svc.Ports {
		p := &svc.Ports[i]
		p.Affinity, p.ID = timeout, id<<20 // see proxy.IDBits
		node := *p
		node.Port = 30080
		node.Frontends = []proxy.Frontend{{Addr: nodeAddrs[0], Kind: proxy.NodePort}}
		if !p.Frontends[0].Addr.Is4() {
			node.Frontends[0].Addr = nodeAddrs[1]
		}
		svc.Ports = append(svc.Ports, node)
	}
	return svc
}

// A client keeps its endpoint through every frontend of the Service port, until
// that endpoint goes.
func TestAClientKeepsItsEndpoint(t *testing.T) { eachLayout(t, testAClientKeepsItsEndpoint) }

func testAClientKeepsItsEndpoint(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	flows, err := conntrack.Open(w.node.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flows.Close() })
	for _, protocol := range []string{"tcp", "udp"} {
		base := func(backends string) proxy.Service {
			return sticky(service("s-"+protocol, protocol+"/80", vip4+","+vip6, backends), 2*uint32(len(protocol)+int(protocol[0])), time.Hour)
		}
		w.program(base(backends))
		for i, family := range []string{"IPv4", "IPv6"} {
			frontends := []netip.AddrPort{frontends[i], netip.AddrPortFrom(nodeAddrs[i], 30080)}
			has := func() netip.AddrPort {
				t.Helper()
				hits := map[netip.AddrPort]int{}
				for _, to := range frontends {
					for at, n := range spread(t, w.asker.Namespace, protocol, to, 10) {
						hits[at] += n
					}
				}
				if len(hits) != 1 {
					t.Fatalf("%s over %s: one client got %v", protocol, family, hits)
				}
				for at := range hits {
					return at
				}
				return netip.AddrPort{}
			}
			w.program(base(backends))
			first := has()
			// Without the endpoint that it has, it gets another and keeps that.
			rest := ""
			for _, text := range []string{"10.254.0.1:8080", "10.254.0.2:8080", "10.254.0.3:8080", "[fd00:10:254::1]:8080", "[fd00:10:254::2]:8080", "[fd00:10:254::3]:8080"} {
				if text != first.String() {
					rest += ",*" + text
				}
			}
			w.program(base(rest[1:]))
			w.sweep()
			// UDP flows that go on to the old one are for others to end; a socket that
			// happens to get the port of one would be part of it.
			var changes conntrack.Changes
			changes.Add(base(backends), base(rest[1:]))
			if _, err := flows.Clean(&changes); err != nil {
				t.Fatal(err)
			}
			second := has()
			if second == first {
				t.Errorf("%s over %s: the client is still sent to %s, which is gone", protocol, family, first)
			}
			// When the old one is back, nothing changes for the client.
			w.program(base(backends))
			w.sweep()
			if third := has(); third != second {
				t.Errorf("%s over %s: the client went from %s to %s for no reason", protocol, family, second, third)
			}
		}
		w.program(gone("s-" + protocol))
		w.sweep()
		if client := strings.Split(listing(t, w.node.Namespace, "the Service gone"), " expires "); len(client) > 1 {
			t.Errorf("%d clients are remembered for a Service that is gone", len(client)-1)
		}
	}
}

// When no more clients can be remembered, one that is new gets an endpoint all the
// same, and those that are known keep theirs.
func TestMemoryIsFull(t *testing.T) {
	w := newWorld(t, flat)
	w.program(sticky(service("s", "tcp/80", vip4, backends), 8, time.Hour))
	first := spread(t, w.asker.Namespace, "tcp", frontends[0], 1)

	table := maps.NewLayout(config).Tables()[0]
	set := table.Set("remembered")
	held := must(w.conn.Elements(table.ID(), set.Name))(t)
	if len(held) != 1 {
		t.Fatalf("%d clients are remembered, want one", len(held))
	}
	var tx nft.Transaction
	for i := range set.Size - 1 {
		client := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}).As4()
		tx = append(tx, nft.Op{Table: table, Set: set, Element: nft.Element{Key: string(client[:]) + held[0].Key[4:], Data: held[0].Data}})
		if len(tx) == 1<<14 || i == set.Size-2 {
			if err := w.conn.Commit(tx); err != nil {
				t.Fatal(err)
			}
			tx = nil
		}
	}
	if hits := spread(t, w.outside.Namespace, "tcp", frontends[0], 30); len(hits) != 3 {
		t.Errorf("a client that is not remembered got %v, want all three", hits)
	}
	if again := spread(t, w.asker.Namespace, "tcp", frontends[0], 10); len(again) != 1 || len(first) != 1 || !sameServer(first, again) {
		t.Errorf("the client that is remembered had %v and got %v", first, again)
	}
}

// The same where each endpoint has a set of clients.
func TestClientsOfAnEndpointAreTooMany(t *testing.T) {
	w := newWorld(t, chained)
	w.program(sticky(service("s", "tcp/80", vip4, "*10.254.0.1:8080"), 8, time.Hour))
	table := chains.NewLayout(config).Tables()[0]
	held := must(w.conn.Read(table.ID()))(t)
	for name := range held.Sets {
		if table.Set(name) != nil {
			continue
		}
		set := *table.Own
		set.Name = name
		var tx nft.Transaction
		for i := range set.Size {
			client := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}).As4()
			tx = append(tx, nft.Op{Table: table, Set: &set, Element: nft.Element{Key: string(client[:])}})
		}
		for part := range slices.Chunk(tx, 1<<14) {
			if err := w.conn.Commit(part); err != nil {
				t.Fatal(err)
			}
		}
	}
	if hits := spread(t, w.asker.Namespace, "tcp", frontends[0], 10); len(hits) != 1 {
		t.Errorf("a client that is not remembered got %v, want the endpoint", hits)
	}
	client := string(askerAddrs[0].AsSlice())
	for name := range held.Sets {
		if table.Set(name) == nil && slices.ContainsFunc(must(w.conn.Elements(table.ID(), name))(t), func(e nft.Element) bool { return e.Key == client }) {
			t.Error("the client is remembered in a set that is full: this test tests nothing")
		}
	}
}

func sameServer(a, b map[netip.AddrPort]int) bool {
	for server := range a {
		if b[server] == 0 {
			return false
		}
	}
	return true
}

// An endpoint that keeps itself is answered while it goes, too: until clients have
// forgotten it, what it sends itself is masqueraded.
func TestAnEndpointThatKeepsItselfGoes(t *testing.T) {
	w := newWorld(t, flat)
	own := "*10.254.0.1:8080,*[fd00:10:254::1]:8080"
	rest := "*10.254.0.2:8080,*[fd00:10:254::2]:8080"
	for i, to := range frontends {
		w.program(sticky(service("s", "udp/80", vip4+","+vip6, own), 8, time.Hour))
		w.sweep()
		if hits := spread(t, w.pods[0].Namespace, "udp", to, 2); hits[netip.AddrPortFrom(w.pods[0].Addrs[i], 8080)] != 2 {
			t.Fatalf("%s leads the only endpoint to %v, want itself", to, hits)
		}
		w.program(sticky(service("s", "udp/80", vip4+","+vip6, rest), 8, time.Hour))
		spread(t, w.pods[0].Namespace, "udp", to, 2)
		w.sweep()
		if hits := spread(t, w.pods[0].Namespace, "udp", to, 2); hits[netip.AddrPortFrom(w.pods[1].Addrs[i], 8080)] != 2 {
			t.Errorf("%s leads to %v, want the endpoint that is left", to, hits)
		}
	}
}

// A NodePort at the loopback address, which nothing but this node can ask for. The
// kernel routes it only when it is told to.
func TestNodePortAtLocalhost(t *testing.T) { eachLayout(t, testNodePortAtLocalhost) }

func testNodePortAtLocalhost(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	svc := service("l", "tcp/30080", "127.0.0.1", "*10.254.0.1:8080,*10.254.0.2:8080")
	svc.Ports[0].Frontends[0].Kind = proxy.NodePort
	w.program(svc)
	to := netip.MustParseAddrPort("127.0.0.1:30080")
	if _, err := w.node.Ask("tcp", to, patience/10); err == nil {
		t.Error("without route_localnet the NodePort answers at localhost")
	}
	if err := w.node.Sysctl("net.ipv4.conf.all.route_localnet", "1"); err != nil {
		t.Fatal(err)
	}
	if hits := spread(t, w.node.Namespace, "tcp", to, 30); len(hits) != 2 {
		t.Errorf("localhost leads to %v, want both endpoints", hits)
	}
}

// A client is forgotten when its Service port's time is over, and a new time holds
// from the client's next connection on.
func TestTimeOfAffinity(t *testing.T) {
	w := newWorld(t, flat)
	id := w.table("ip")
	remembered := func() int { return len(must(w.conn.Elements(id, "remembered"))(t)) }
	w.program(sticky(service("s", "tcp/80", vip4, backends), 8, time.Second))
	// A second may pass on a busy machine before one can look.
	if err := testbed.Wait(time.Minute, "the client to be remembered", func() error {
		spread(t, w.asker.Namespace, "tcp", frontends[0], 1)
		if n := remembered(); n != 1 {
			return fmt.Errorf("%d clients are remembered", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := testbed.Wait(time.Minute, "the client to be forgotten", func() error {
		if n := remembered(); n != 0 {
			return fmt.Errorf("%d clients are remembered", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.program(sticky(service("s", "tcp/80", vip4, backends), 8, time.Hour))
	w.sweep()
	spread(t, w.asker.Namespace, "tcp", frontends[0], 1)
	listing := must(w.node.Run("nft", "list", "map", "ip", "kube-verdict", "remembered"))(t)
	if !strings.Contains(listing, "timeout 1h expires 59m") && !strings.Contains(listing, "timeout 1h expires 1h") {
		t.Errorf("the client is not remembered for an hour:\n%s", listing)
	}
	if chains := must(w.node.Run("nft", "list", "chains", "ip"))(t); strings.Contains(chains, "remember-1 ") {
		t.Error("the chain for one second is still there")
	}
}

// A ClusterIP with the internal policy Local never leads to the endpoint that the
// client has from outside, which may be on another node, nor the other way round.
func TestAClientsEndpointsByPolicy(t *testing.T) { eachLayout(t, testAClientsEndpointsByPolicy) }

func testAClientsEndpointsByPolicy(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	svc := sticky(service("s", "tcp/80", vip4, "*10.254.0.1:8080"), 2, time.Hour)
	svc.Ports[0].InternalLocal = true
	elsewhere := service("s", "tcp/80", vip4, "10.254.0.2:8080,10.254.0.3:8080").Ports[0].Endpoints
	svc.Ports[1].Endpoints = elsewhere
	w.program(svc)
	inside, outside := netip.AddrPortFrom(addr(vip4), 80), netip.AddrPortFrom(nodeAddrs[0], 30080)
	var first netip.AddrPort
	for round := range 3 {
		if hits := spread(t, w.asker.Namespace, "tcp", inside, 10); hits[addrPort("10.254.0.1:8080")] != 10 {
			t.Errorf("round %d: by ClusterIP the client got %v", round, hits)
		}
		for at, n := range spread(t, w.asker.Namespace, "tcp", outside, 10) {
			if !first.IsValid() {
				first = at
			}
			if n != 10 || at != first || at == addrPort("10.254.0.1:8080") {
				t.Errorf("round %d: by NodePort the client got %s %d times, %s at first", round, at, n, first)
			}
		}
	}
}
