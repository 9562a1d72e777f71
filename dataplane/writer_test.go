package dataplane_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Stock nft lists our tables after every kind of change, the listing loads
// again, and it is what nft makes of a fresh rendering of the same Services.
func TestNftListsEveryState(t *testing.T) { eachLayout(t, testNftListsEveryState) }

func testNftListsEveryState(t *testing.T, layout layoutOf) {
	ns := testbed.NewTestNamespace(t)
	w := adopt(t, ns, layout)
	now := map[string]proxy.Service{}
	long := strings.Repeat("n", 63)
	for _, change := range []struct {
		what string
		svc  proxy.Service
	}{
		{"a Service without endpoints", service("a", "tcp/80", "10.96.0.1,fd00:10:96::1", "")},
		{"its first endpoints", service("a", "tcp/80", "10.96.0.1,fd00:10:96::1", "10.254.0.1:8080,[fd00:10:254::1]:8080")},
		{"one more", service("a", "tcp/80", "10.96.0.1,fd00:10:96::1", "10.254.0.1:8080,10.254.0.2:8080,[fd00:10:254::1]:8080,[fd00:10:254::2]:8080")},
		{"others, local ones", service("a", "tcp/80", "10.96.0.1,fd00:10:96::1", "*10.254.0.3:8080,10.254.0.2:8080,*[fd00:10:254::3]:8080")},
		{"a UDP Service", service("b", "udp/53", "10.96.0.2", "10.254.0.1:5353")},
		{"an SCTP Service", service("c", "sctp/3868", "fd00:10:96::3", "[fd00:10:254::1]:3868")},
		{"the longest names", proxy.Service{Name: proxy.Name{Namespace: long, Name: long}, Ports: []proxy.Port{{Name: "fifteen-letters", Protocol: proxy.TCP, Port: 65535,
			Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr("10.96.255.255")}}, Endpoints: []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort("255.1.1.1:65535")}}}}}},
		{"many endpoints", many("d", "10.96.0.4", scaled(layout, 3000))},
		{"a port that changes", service("b", "udp/54", "10.96.0.2", "10.254.0.1:5353")},
		{"a Service deleted", gone("a")},
		{"a family less", service("c", "sctp/3868", "10.96.0.3", "10.254.0.9:3868")},
	} {
		w.program(change.svc)
		if change.svc.Ports == nil {
			delete(now, change.svc.Name.String())
		} else {
			now[change.svc.Name.String()] = change.svc
		}
		listing(t, ns, change.what+", before the sweep")
		w.sweep()
		got := listing(t, ns, change.what)

		var services []proxy.Service
		for _, svc := range now {
			services = append(services, svc)
		}
		fresh := testbed.NewTestNamespace(t)
		load(t, fresh, rendered(t, layout, services))
		if diff := differs(got, listing(t, fresh, "fresh")); diff != "" {
			t.Errorf("%s: against a fresh rendering, the kernel has\n%s", change.what, diff)
		}
		load(t, fresh, "flush ruleset\n"+got)
		if diff := differs(listing(t, fresh, "again"), got); diff != "" {
			t.Errorf("%s: nft loads its own listing with this difference\n%s", change.what, diff)
		}
	}
}

func many(name, vip string, n int) proxy.Service {
	svc := service(name, "tcp/80", vip, "")
	for i := range n {
		svc.Ports[0].Endpoints = append(svc.Ports[0].Endpoints, proxy.Endpoint{
			AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)})
	}
	return svc
}

func listing(t *testing.T, ns *testbed.Namespace, what string) string {
	t.Helper()
	text, err := ns.Run("nft", "list", "ruleset")
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !strings.Contains(text, "table ip kube-verdict") || !strings.Contains(text, "table ip6 kube-verdict") {
		t.Fatalf("%s: nft lists\n%s", what, text)
	}
	return text
}

// differs are the sets, maps and chains of one listing that are not in the
// other. The order in which chains were made is of no matter.
func differs(got, want string) string {
	var out strings.Builder
	have, wanted := blocks(got), blocks(want)
	for _, b := range wanted {
		if !slices.Contains(have, b) {
			fmt.Fprintf(&out, "missing:\n%s\n", b)
		}
	}
	for _, b := range have {
		if !slices.Contains(wanted, b) {
			fmt.Fprintf(&out, "too much:\n%s\n", b)
		}
	}
	return out.String()
}

// blocks are the sets, maps and chains of a listing, each with its table.
func blocks(listing string) []string {
	var all []string
	for table := range strings.SplitSeq("\n"+listing, "\ntable ") {
		name, rest, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(table), "\n}"), " {\n")
		for block := range strings.SplitSeq(rest, "\n\n") {
			all = append(all, name+": "+inOrder(block))
		}
	}
	return all
}

// inOrder sorts the elements in a listing, nft lists ranges as they came, and the slots.
func inOrder(block string) string {
	head, list, found := strings.Cut(block, "elements = { ")
	if !found {
		return block
	}
	list, tail, _ := strings.Cut(list, " }")
	elements := strings.Split(list, ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	elements = testbed.SortSlots(elements)
	return head + strings.Join(elements, "\n") + tail
}

func load(t *testing.T, ns *testbed.Namespace, script string) {
	t.Helper()
	if _, err := ns.RunInput(strings.NewReader(script), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

func cluster(n, endpoints int) []proxy.Service {
	services := make([]proxy.Service, n)
	for i := range services {
		services[i] = many(fmt.Sprintf("svc-%d", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), endpoints)
	}
	return services
}

func TestARestartWritesNothing(t *testing.T) { eachLayout(t, testARestartWritesNothing) }

func testARestartWritesNothing(t *testing.T, layout layoutOf) {
	for _, size := range []struct{ services, endpoints int }{{5, 3}, {scaled(layout, 5000), 5}} { // more than are listed at a start
		ns := testbed.NewTestNamespace(t)
		first := adopt(t, ns, layout)
		services := cluster(size.services, size.endpoints)
		first.program(services...)
		first.sweep()
		before := first.generation()

		second := adopt(t, ns, layout)
		second.program(services...)
		second.sweep()
		if after := second.generation(); after != before || second.conn.Stats() != (kernel.Stats{}) {
			t.Errorf("%v: a restart moved the generation from %d to %d and sent %+v", size, before, after, second.conn.Stats())
		}
	}
}

// rendered is the script for a fresh table with Services.
func rendered(t *testing.T, layout layoutOf, services []proxy.Service) string {
	t.Helper()
	contents, err := dataplane.Contents(layout(config), layout(config).Known(), services)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	if err := nft.WriteScript(&script, contents...); err != nil {
		t.Fatal(err)
	}
	return script.String()
}

// A table that nft loaded from our own text is as good as one we wrote.
func TestATableLoadedFromOurTextIsAdopted(t *testing.T) {
	eachLayout(t, testATableLoadedFromOurTextIsAdopted)
}

func testATableLoadedFromOurTextIsAdopted(t *testing.T, layout layoutOf) {
	services := cluster(5, 3)
	ns := testbed.NewTestNamespace(t)
	load(t, ns, rendered(t, layout, services))
	w := adopt(t, ns, layout)
	w.program(services...)
	w.sweep()
	if w.conn.Stats() != (kernel.Stats{}) {
		t.Errorf("sent %+v", w.conn.Stats())
	}
}

// A restart brings about what has changed meanwhile, and only that.
func TestARestartWritesWhatHasChanged(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	w := adopt(t, ns, flat)
	w.program(service("a", "tcp/80", "10.96.0.1", "10.254.0.1:80,10.254.0.2:80"), service("b", "tcp/80", "10.96.0.2", "10.254.0.1:80"))
	w.sweep()
	// Someone else changes our tables, too.
	load(t, ns, `
delete element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 1 }
add element ip kube-verdict cluster-ips { 1.2.3.4 }
flush chain ip kube-verdict masquerading
add chain ip kube-verdict stray
add rule ip6 kube-verdict nat-output drop`)

	w = adopt(t, ns, flat)
	services := []proxy.Service{service("a", "tcp/80", "10.96.0.1", "10.254.0.1:80,10.254.0.2:80"), service("c", "tcp/80", "10.96.0.3", "10.254.0.3:80")}
	w.program(services...)
	w.sweep()
	if added := w.conn.Stats().Added; added != 4 { // the slot, and c's three
		t.Errorf("added %d elements, want 4", added)
	}
	equalsFresh(t, ns, flat, services)
}

// equalsFresh says that the kernel holds what a fresh start would write.
func equalsFresh(t *testing.T, ns *testbed.Namespace, layout layoutOf, services []proxy.Service) {
	t.Helper()
	fresh := testbed.NewTestNamespace(t)
	w := adopt(t, fresh, layout)
	w.program(services...)
	if diff := differs(listing(t, ns, "kernel"), listing(t, fresh, "fresh")); diff != "" {
		t.Errorf("against a fresh start, the kernel has\n%s", diff)
	}
}

func TestAForeignLayoutIsReplacedInOneTransaction(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	load(t, ns, `
table ip kube-verdict {
	map services { type ipv4_addr . inet_service : verdict; elements = { 10.96.0.1 . 80 : goto old }; }
	chain old { drop; }
	chain nat-prerouting { type nat hook prerouting priority 0; ip daddr . th dport vmap @services; }
}
table ip other { chain c { accept; }; }`)
	w := adopt(t, ns, flat)
	services := cluster(2000, 20)
	before := w.generation()
	w.program(services...)
	if after := w.generation(); after != before+1 {
		t.Errorf("%d transactions, want 1", after-before)
	}
	w.sweep()
	if got := w.count("endpoints"); got != 2000*20 {
		t.Errorf("%d slots, want %d", got, 2000*20)
	}
	if other, err := ns.Run("nft", "list", "table", "ip", "other"); err != nil || !strings.Contains(other, "accept") {
		t.Errorf("the table of others: %v\n%s", err, other)
	}
}

// A change costs what it changes, whatever else is programmed.
func TestAChangeCostsTheSameAtAnySize(t *testing.T) { eachLayout(t, testAChangeCostsTheSameAtAnySize) }

func testAChangeCostsTheSameAtAnySize(t *testing.T, layout layoutOf) {
	type cost struct {
		messages, bytes uint64
		allocations     float64
	}
	kinds := []struct {
		what    string
		changed proxy.Service
	}{
		{"an endpoint replaced", withEndpoint(many("svc-7", "10.96.0.7", 10), 4)},
		{"an endpoint less", many("svc-7", "10.96.0.7", 9)},
		{"no endpoint left", many("svc-7", "10.96.0.7", 0)},
		{"the Service deleted", gone("svc-7")},
	}
	costs := map[string]map[int]cost{}
	for _, size := range []int{scaled(layout, 500), scaled(layout, 4000)} {
		w := adopt(t, testbed.NewTestNamespace(t), layout)
		w.program(cluster(size, 10)...)
		same := many("svc-7", "10.96.0.7", 10)
		for _, kind := range kinds {
			before := w.conn.Stats()
			w.program(kind.changed)
			w.sweep()
			after := w.conn.Stats()
			w.program(same)
			allocations := testing.AllocsPerRun(scaled(layout, 50), func() {
				w.program(kind.changed)
				w.sweep()
				w.program(same)
				w.sweep()
			})
			if costs[kind.what] == nil {
				costs[kind.what] = map[int]cost{}
			}
			costs[kind.what][size] = cost{after.Messages - before.Messages, after.Bytes - before.Bytes, allocations}
		}
	}
	for what, at := range costs {
		small, large := at[scaled(layout, 500)], at[scaled(layout, 4000)]
		t.Logf("%s: %+v", what, large)
		if small.messages != large.messages || small.bytes != large.bytes {
			t.Errorf("%s: %+v with 500 Services, %+v with 4000", what, small, large)
		}
		// The race detector and map growth make for a few more or less.
		if diff := large.allocations - small.allocations; diff > 8 {
			t.Errorf("%s: %.0f allocations with 500 Services, %.0f with 4000", what, small.allocations, large.allocations)
		}
	}
}

func withEndpoint(svc proxy.Service, slot int) proxy.Service {
	svc.Ports[0].Endpoints[slot].AddrPort = netip.MustParseAddrPort("192.168.0.1:80")
	return svc
}

func TestLargeServices(t *testing.T) {
	for _, tc := range []struct {
		what     string
		services []proxy.Service
		slots    int
	}{
		{"a Service of 5 000 endpoints", []proxy.Service{many("large", "10.96.0.1", 5000)}, 5000},
		{"a Service of 250 000 endpoints", []proxy.Service{many("huge", "10.96.0.1", 250_000)}, 250_000},
		{"1 000 distinct endpoint counts", counts(1000), 1000 * 1001 / 2},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if raceEnabled && tc.slots > 100_000 {
				tc.services, tc.slots = counts(300), 300*301/2 // the detector makes it ten times slower
			}
			w := adopt(t, testbed.NewTestNamespace(t), flat)
			w.program(tc.services...)
			w.sweep()
			if got := w.count("endpoints"); got != tc.slots {
				t.Errorf("the kernel has %d slots, want %d", got, tc.slots)
			}
			if got := w.count("services"); got != len(tc.services) {
				t.Errorf("the kernel has %d frontends, want %d", got, len(tc.services))
			}
		})
	}
}

// counts are Services with 1, 2, 3 ... endpoints.
func counts(n int) []proxy.Service {
	services := make([]proxy.Service, n)
	for i := range services {
		services[i] = many(fmt.Sprintf("svc-%d", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), i+1)
	}
	return services
}

// A map starts small and grows with what is added, one Service at a time.
func TestAMapGrowsPastItsFirstSize(t *testing.T) {
	w := adopt(t, testbed.NewTestNamespace(t), flat)
	w.program(cluster(1, 10)...)
	for i := 1; i <= 20; i++ {
		w.program(cluster(i*50, 10)...)
	}
	if got := w.count("endpoints"); got != 1000*10 {
		t.Errorf("the kernel has %d slots, want %d", got, 1000*10)
	}
}

// One Service that the kernel refuses does not hold up the others, and keeps
// what it had.
func TestARefusedServiceStandsAlone(t *testing.T) { eachLayout(t, testARefusedServiceStandsAlone) }

func testARefusedServiceStandsAlone(t *testing.T, layout layoutOf) {
	ns := testbed.NewTestNamespace(t)
	w := adopt(t, ns, layout)
	services := cluster(100, 2)
	w.program(services...)
	// Addresses of both families where one belongs: the kernel sees a key or data
	// of the wrong length.
	bad := service("svc-50", "tcp/80", "10.96.0.50", "10.254.0.1:80")
	bad.Ports[0].Frontends = append(bad.Ports[0].Frontends, proxy.Frontend{Addr: netip.MustParseAddr("fd00::50")})
	bad.Ports[0].Endpoints[0].AddrPort = netip.MustParseAddrPort("[fd00::1]:80")
	services = cluster(100, 3)
	services[50] = bad
	var changes []dataplane.Change
	for _, svc := range services {
		changes = append(changes, dataplane.Change{Name: svc.Name, Service: svc})
	}
	failures, err := w.Program(changes)
	if err != nil {
		t.Fatal(err)
	}
	if len(failures) != 1 || failures[0].Name.Name != "svc-50" {
		t.Fatalf("failures %v, want one, of svc-50", failures)
	}
	const want = "service ns/svc-50: add element ip kube-verdict "
	if got := failures[0].Error(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "invalid argument") {
		t.Errorf("got  %s\nwant %s...: invalid argument", got, want)
	}
	w.sweep()
	services[50] = cluster(51, 2)[50]
	equalsFresh(t, ns, layout, services)
}

func TestMemoryOfALoadIsGivenBack(t *testing.T) { eachLayout(t, testMemoryOfALoadIsGivenBack) }

func testMemoryOfALoadIsGivenBack(t *testing.T, layout layoutOf) {
	w := adopt(t, testbed.NewTestNamespace(t), layout)
	services := cluster(scaled(layout, 3000), 10)
	w.program(services...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		w.program(many("svc-7", "10.96.0.7", 9))
		w.sweep()
		w.program(services[7])
		w.sweep()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("20 changes and back grew the heap by %d bytes", grown)
	}
}
