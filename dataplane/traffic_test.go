package dataplane_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const patience = 3 * time.Second

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// world is a node with its Writer, three pods that serve, a pod that asks, and
// a client outside. Each has an address of either family.
type world struct {
	*writer
	node           *testbed.Node
	pods           [3]*testbed.Host
	asker, outside *testbed.Host
}

var (
	nodeAddrs    = []netip.Addr{addr("10.240.0.11"), addr("fd00:10:240::11")}
	askerAddrs   = []netip.Addr{addr("10.254.0.9"), addr("fd00:10:254::9")}
	outsideAddrs = []netip.Addr{addr("198.18.0.2"), addr("fd00:198::2")}
)

const (
	vip4, vip6 = "10.96.0.1", "fd00:10:96::1"
	// backends are the pods' servers on port 8080, local ones all.
	backends = "*10.254.0.1:8080,*10.254.0.2:8080,*10.254.0.3:8080,*[fd00:10:254::1]:8080,*[fd00:10:254::2]:8080,*[fd00:10:254::3]:8080"
)

func newWorld(t *testing.T, layout layoutOf) *world {
	t.Helper()
	w := &world{node: testbed.NewTestNode(t, nodeAddrs...)}
	must := func(h *testbed.Host, err error) *testbed.Host {
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for i := range w.pods {
		a4, a6 := addr(fmt.Sprintf("10.254.0.%d", i+1)), addr(fmt.Sprintf("fd00:10:254::%d", i+1))
		w.pods[i] = must(w.node.AddPod(fmt.Sprintf("pod-%d", i), a4, a6))
		for _, a := range []netip.Addr{a4, a6} {
			for _, protocol := range []string{"tcp", "udp"} {
				server, err := w.pods[i].Serve(protocol, netip.AddrPortFrom(a, 8080))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(server.Close)
			}
		}
	}
	w.asker = must(w.node.AddPod("asker", askerAddrs...))
	w.outside = must(w.node.AddClient("outside", outsideAddrs...))
	w.writer = adopt(t, w.node.Namespace, layout)
	return w
}

// frontends are port 80 of both VIPs.
var frontends = []netip.AddrPort{addrPort(vip4 + ":80"), addrPort("[" + vip6 + "]:80")}

// spread asks n times and counts which pods answer.
func spread(t *testing.T, from *testbed.Namespace, protocol string, to netip.AddrPort, n int) map[netip.AddrPort]int {
	t.Helper()
	hits := map[netip.AddrPort]int{}
	err := from.Clients(1, func(c *testbed.Client) error {
		for range n {
			answer, err := c.Ask(protocol, to, patience)
			if err != nil {
				return err
			}
			hits[answer.Server]++
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s to %s: %v", protocol, to, err)
	}
	return hits
}

// Each endpoint gets its share: the spread is one that a fair die gives at
// least once in a million times.
func TestTrafficIsSpreadEvenly(t *testing.T) { eachLayout(t, testTrafficIsSpreadEvenly) }

func testTrafficIsSpreadEvenly(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	w.program(service("a", "tcp/80", vip4+","+vip6, backends), service("b", "udp/80", vip4+","+vip6, backends))
	for _, protocol := range []string{"tcp", "udp"} {
		for _, to := range frontends {
			const n = 3000
			hits := spread(t, w.asker.Namespace, protocol, to, n)
			if len(hits) != 3 {
				t.Fatalf("%s to %s: answers from %v, want three pods", protocol, to, hits)
			}
			chi2 := 0.0
			for _, got := range hits {
				chi2 += math.Pow(float64(got)-n/3, 2) / (n / 3)
			}
			if p := (distuv.ChiSquared{K: 2}).Survival(chi2); p < 1e-6 {
				t.Errorf("%s to %s: %v is no even spread: p = %g", protocol, to, hits, p)
			}
		}
	}
}

// What becomes of a connection, and the source that the endpoint sees, for each
// kind of client.
func TestClientsAndSources(t *testing.T) { eachLayout(t, testClientsAndSources) }

func testClientsAndSources(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	w.program(
		service("a", "tcp/80", vip4+","+vip6, backends),
		service("b", "udp/80", vip4+","+vip6, backends),
		service("none", "tcp/80", "10.96.0.2,fd00:10:96::2", ""),
		service("none-udp", "udp/80", "10.96.0.2,fd00:10:96::2", ""),
		service("own", "tcp/80", "10.96.0.3,fd00:10:96::3", "*10.254.0.1:8080,*[fd00:10:254::1]:8080"),
		service("own-udp", "udp/80", "10.96.0.3,fd00:10:96::3", "*10.254.0.1:8080,*[fd00:10:254::1]:8080"),
	)
	port := func(vip string, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr(vip), port) }
	for _, tc := range []struct {
		name   string
		from   *testbed.Namespace
		to     [2]netip.AddrPort // by family
		source []netip.Addr      // that the endpoint sees
		err    error
	}{
		{"a pod keeps its address", w.asker.Namespace, [2]netip.AddrPort{port(vip4, 80), port(vip6, 80)}, askerAddrs, nil},
		{"an outside client is masqueraded", w.outside.Namespace, [2]netip.AddrPort{port(vip4, 80), port(vip6, 80)}, nodeAddrs, nil},
		{"the node itself is masqueraded", w.node.Namespace, [2]netip.AddrPort{port(vip4, 80), port(vip6, 80)}, nodeAddrs, nil},
		{"an endpoint reaches itself, masqueraded", w.pods[0].Namespace, [2]netip.AddrPort{port("10.96.0.3", 80), port("fd00:10:96::3", 80)}, nodeAddrs, nil},
		{"a pod is refused where there are no endpoints", w.asker.Namespace, [2]netip.AddrPort{port("10.96.0.2", 80), port("fd00:10:96::2", 80)}, nil, testbed.ErrRefused},
		{"the node is refused where there are no endpoints", w.node.Namespace, [2]netip.AddrPort{port("10.96.0.2", 80), port("fd00:10:96::2", 80)}, nil, testbed.ErrRefused},
		{"an outside client is refused where there are no endpoints", w.outside.Namespace, [2]netip.AddrPort{port("10.96.0.2", 80), port("fd00:10:96::2", 80)}, nil, testbed.ErrRefused},
		{"a pod is refused at a port that the ClusterIP does not have", w.asker.Namespace, [2]netip.AddrPort{port(vip4, 81), port(vip6, 81)}, nil, testbed.ErrRefused},
		{"an address of no Service is none of our business", w.asker.Namespace, [2]netip.AddrPort{port("10.96.9.9", 80), port("fd00:10:96::99", 80)}, nil, testbed.ErrUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, to := range tc.to {
				for _, protocol := range []string{"tcp", "udp"} {
					answer, err := tc.from.Ask(protocol, to, patience)
					if !errors.Is(err, tc.err) && !(tc.err == testbed.ErrRefused && errors.Is(err, unix.EPERM)) {
						// A rejected datagram fails in the sender's own call where the
						// sender is the node.
						t.Errorf("%s to %s: %v, want %v", protocol, to, err, tc.err)
						continue
					}
					if err == nil && !fromOneOf(answer.Client.Addr(), tc.source, i) {
						t.Errorf("%s to %s: the endpoint sees %s, want %s", protocol, to, answer.Client.Addr(), tc.source[i])
					}
				}
			}
		})
	}
}

// fromOneOf says that a source is the one wanted in a family. Towards a pod,
// the node has the link's own address, too, which is as much the node's.
func fromOneOf(got netip.Addr, want []netip.Addr, family int) bool {
	return got == want[family] || want[family] == nodeAddrs[family] && got.IsLinkLocalUnicast()
}

// A change shows in the traffic, whatever it is.
func TestTrafficFollowsChanges(t *testing.T) { eachLayout(t, testTrafficFollowsChanges) }

func testTrafficFollowsChanges(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	reached := func() string {
		t.Helper()
		var all []string
		for _, to := range frontends {
			answer, err := w.asker.Ask("tcp", to, patience)
			if errors.Is(err, testbed.ErrRefused) || errors.Is(err, testbed.ErrUnreachable) {
				all = append(all, errors.Unwrap(err).Error())
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = answer
			hits := spread(t, w.asker.Namespace, "tcp", to, 60)
			for _, s := range slices.SortedFunc(maps.Keys(hits), netip.AddrPort.Compare) {
				all = append(all, s.String())
			}
		}
		return strings.Join(all, " ")
	}
	const one4, two4, three4 = "10.254.0.1:8080", "10.254.0.2:8080", "10.254.0.3:8080"
	const one6 = "[fd00:10:254::1]:8080"
	for _, step := range []struct {
		what, vips, endpoints, want string
	}{
		{"one endpoint of each family", vip4 + "," + vip6, one4 + "," + one6, one4 + " " + one6},
		{"one more", vip4 + "," + vip6, one4 + "," + three4 + "," + one6, one4 + " " + three4 + " " + one6},
		{"another one instead", vip4 + "," + vip6, one4 + "," + two4 + "," + one6, one4 + " " + two4 + " " + one6},
		{"the first one less", vip4 + "," + vip6, two4 + "," + one6, two4 + " " + one6},
	} {
		w.program(service("a", "tcp/80", step.vips, step.endpoints))
		if got := reached(); got != step.want {
			t.Errorf("%s, before the sweep: reached %s, want %s", step.what, got, step.want)
		}
		w.sweep()
		if got := reached(); got != step.want {
			t.Errorf("%s: reached %s, want %s", step.what, got, step.want)
		}
	}
	w.program(service("a", "tcp/80", vip4+","+vip6, ""))
	for _, to := range frontends {
		if _, err := w.asker.Ask("tcp", to, patience); !errors.Is(err, testbed.ErrRefused) {
			t.Errorf("no endpoints: %s answers %v, want refused", to, err)
		}
	}
	w.program(gone("a"))
	for _, to := range frontends {
		if _, err := w.asker.Ask("tcp", to, patience); !errors.Is(err, testbed.ErrUnreachable) {
			t.Errorf("no Service: %s answers %v, want unreachable", to, err)
		}
	}
}

// A connection stays with its endpoint whatever changes around it.
func TestEstablishedConnectionsStay(t *testing.T) { eachLayout(t, testEstablishedConnectionsStay) }

func testEstablishedConnectionsStay(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	w.program(service("a", "tcp/80", vip4, backends))
	flow, err := w.asker.Open("tcp", frontends[0], patience)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	first, err := flow.Ask(patience)
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoints := range []string{"*10.254.0.1:8080", "*10.254.0.2:8080,*10.254.0.3:8080", ""} {
		w.program(service("a", "tcp/80", vip4, endpoints))
		w.sweep()
		if now, err := flow.Ask(patience); err != nil || now.Server != first.Server {
			t.Errorf("with endpoints %q the connection is at %s, %v; it was at %s", endpoints, now.Server, err, first.Server)
		}
	}
}

// A packet's two lookups may fall on both sides of a change. While a Service
// goes from three endpoints to two and back, as fast as it can, no new flow is
// lost: none goes untranslated, and none meets the drop at a chain's end.
func TestNoFlowIsLostWhileEndpointsComeAndGo(t *testing.T) {
	eachLayout(t, testNoFlowIsLostWhileEndpointsComeAndGo)
}

func testNoFlowIsLostWhileEndpointsComeAndGo(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	three := service("a", "udp/80", vip4, backends)
	without := []string{
		"*10.254.0.1:8080,*10.254.0.2:8080", "*10.254.0.2:8080,*10.254.0.3:8080", "*10.254.0.1:8080", "*10.254.0.1:8080,*10.254.0.3:8080",
	}
	w.program(three)

	flows := 100_000
	if testing.Short() {
		flows = 10_000
	}
	// A source port that comes again within conntrack's memory is no new flow:
	// many addresses have ports enough.
	const clients = 8
	var sources []netip.Addr
	for i := range clients {
		sources = append(sources, netip.AddrFrom4([4]byte{10, 254, 9, byte(i + 1)}))
	}
	asker, err := w.node.AddPod("many", sources...)
	if err != nil {
		t.Fatal(err)
	}
	var next, asked, lost atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- asker.Clients(clients, func(c *testbed.Client) error {
			c.From = netip.AddrPortFrom(sources[next.Add(1)-1], 0)
			seen := map[netip.AddrPort]bool{}
			for asked.Load() < int64(flows) {
				answer, err := c.Ask("udp", frontends[0], patience)
				if err != nil {
					if lost.Add(1) > 10 {
						return err
					}
					t.Errorf("a flow was lost: %v", err)
					continue
				}
				if !seen[answer.Local] {
					seen[answer.Local] = true
					asked.Add(1)
				}
			}
			return nil
		})
	}()
	toggles := 0
	for running := true; running; toggles++ {
		w.program(service("a", "udp/80", vip4, without[toggles%len(without)]))
		if toggles%3 > 0 { // now and then it grows again before the sweep
			w.sweep()
		}
		w.program(three)
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			running = false
		default:
		}
	}
	t.Logf("%d new flows, %d changes to fewer endpoints and back, %d lost", asked.Load(), toggles, lost.Load())
	if toggles < 100 {
		t.Errorf("only %d changes while the flows came", toggles)
	}
	listing, err := w.node.Run("nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(listing) {
		if strings.Contains(line, "counter packets") && !strings.Contains(line, "counter packets 0 ") {
			t.Errorf("packets met the end of a chain: %s", strings.TrimSpace(line))
		}
	}
}
