package dataplane_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// keeper is a Programmer at work, with a Monitor, and what it has told.
type keeper struct {
	*dataplane.Programmer
	t  *testing.T
	ns *testbed.Namespace

	mu        sync.Mutex
	repairs   []dataplane.Repair
	contested []bool
	changed   chan struct{}
}

func (*keeper) Conflicts(proxy.Name, []proxy.Conflict)        {}
func (*keeper) Failed(error)                                  {}
func (*keeper) Programmed([]dataplane.Applied, time.Duration) {}

func (k *keeper) Refused(name proxy.Name, err error) {
	if err != nil {
		k.t.Errorf("service %s: %v", name, err)
	}
}

func (k *keeper) Repaired(r dataplane.Repair) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.repairs = append(k.repairs, r)
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

func (k *keeper) Contested(_ kernel.Change, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.contested = append(k.contested, on)
}

// told are the repairs so far.
func (k *keeper) told() []dataplane.Repair {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.repairs
}

// keep starts a Programmer with these Services.
func keep(t *testing.T, ns *testbed.Namespace, services ...proxy.Service) *keeper {
	t.Helper()
	return keepIn(t, ns, flat, services...)
}

// keepIn is keep with another layout.
func keepIn(t *testing.T, ns *testbed.Namespace, layoutOf layoutOf, services ...proxy.Service) *keeper {
	t.Helper()
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	l := layoutOf(config)
	k := &keeper{t: t, ns: ns, changed: make(chan struct{}, 1)}
	k.Programmer = dataplane.NewProgrammer(dataplane.NewWriter(conn, l), logr.Discard(), k)
	monitor, _, err := kernel.NewMonitor(ns.Fd(), conn, dataplane.IDs(l)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, svc := range services {
		k.Update(svc)
	}
	k.SetNetworks(layout.Networks{Pods: config.PodCIDRs, Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { _ = k.Run(ctx, func() { close(ready) }) })
	running.Go(func() {
		if err := monitor.Run(ctx, k.Suspect); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = monitor.Close()
		_ = conn.Close()
	})
	<-ready
	return k
}

// repaired waits for the n-th repair.
func (k *keeper) repaired(n int, what string) dataplane.Repair {
	k.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if told := k.told(); len(told) >= n {
			return told[n-1]
		}
		select {
		case <-k.changed:
		case <-deadline:
			k.t.Fatalf("%s: not repaired", what)
		}
	}
}

// listed waits until nft lists what it listed before.
func (k *keeper) listed(before, what string) {
	k.t.Helper()
	var diff string
	err := testbed.Wait(20*time.Second, "the repair of "+what, func() error {
		text, err := k.ns.Run("nft", "list", "ruleset")
		if err != nil {
			return err
		}
		if diff = differs(text, before); diff != "" {
			return errDiffers
		}
		return nil
	})
	if err != nil {
		k.t.Fatalf("%v: the kernel has\n%s", err, diff)
	}
}

type constError string

func (e constError) Error() string { return string(e) }

const errDiffers = constError("the listing is another")

// Each kind of damage is mended, told once by its kind with who did it, and new
// connections succeed again.
func TestDamageIsRepaired(t *testing.T) {
	for damage := range slices.Chunk([]damage{
		{"flush ruleset", dataplane.KindTable},
		{"delete table ip kube-verdict", dataplane.KindTable},
		{"add table ip kube-verdict { flags dormant; }", dataplane.KindTable},
		{"delete element ip kube-verdict services { 10.96.0.1 . tcp . 80 }", dataplane.KindElement},
		{"delete element ip kube-verdict endpoints { 10.96.0.1 . tcp . 80 . 1 }", dataplane.KindElement},
		{"add element ip kube-verdict endpoints { 10.96.0.7 . tcp . 80 . 1 : 10.254.0.9 . 99 }", dataplane.KindElement},
		{"add element ip kube-verdict pod-cidrs { 10.0.0.0/24 }", dataplane.KindElement},
		{"flush map ip6 kube-verdict services", dataplane.KindElement},
		{"flush chain ip kube-verdict masquerading", dataplane.KindRule},
		{"insert rule ip kube-verdict services drop", dataplane.KindRule},
		{"add rule ip kube-verdict cluster-3 drop", dataplane.KindRule},
		{"add chain ip kube-verdict stray; add rule ip kube-verdict stray jump cluster-3", dataplane.KindChain},
		{"flush chain ip kube-verdict filter-input; delete chain ip kube-verdict filter-input", dataplane.KindChain},
		{"add set ip kube-verdict stray { type ipv4_addr; }", dataplane.KindTable},
		{"add chain ip kube-verdict stray { type filter hook input priority 0; policy drop; }", dataplane.KindTable},
		{"flush chain ip kube-verdict nat-prerouting; delete chain ip kube-verdict nat-prerouting; add chain ip kube-verdict nat-prerouting { type nat hook prerouting priority 7; }", dataplane.KindTable},
	}, dataplane.RepairBurst-1) {
		w := newWorld(t, flat)
		k := keep(t, w.node.Namespace,
			service("a", "tcp/80", vip4+","+vip6, backends), service("b", "udp/80", vip4+","+vip6, backends), service("c", "tcp/81", "10.96.0.9", ""))
		before := listing(t, k.ns, "before")
		for i, tc := range damage {
			if _, err := k.ns.Run("nft", tc.command); err != nil {
				t.Fatal(err)
			}
			r := k.repaired(i+1, tc.command)
			if r.Kind != tc.kind || r.Operations == 0 || r.By.Process != "nft" {
				t.Errorf("%s: told of %+v (kind %s), want kind %s, by nft", tc.command, r, r.Kind, tc.kind)
			}
			k.listed(before, tc.command)
			for _, to := range frontends {
				for _, protocol := range []string{"tcp", "udp"} {
					if _, err := w.asker.Ask(protocol, to, patience); err != nil {
						t.Errorf("after %s: %v", tc.command, err)
					}
				}
			}
		}
		if told := k.told(); len(told) != len(damage) {
			t.Errorf("%d repairs were told, want %d", len(told), len(damage))
		}
	}
}

type damage struct {
	command string
	kind    dataplane.Kind
}

// What others do to their own tables, and to ours without a trace, is nobody's
// business.
func TestOthersMayChangeTheirTables(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	k := keep(t, ns, service("a", "tcp/80", vip4, "10.254.0.1:80"))
	before := listing(t, ns, "before")
	load(t, ns, "table ip kube-proxy { chain c { type filter hook input priority 0; }; set s { type ipv4_addr; elements = { 1.2.3.4 }; }; }")
	load(t, ns, "delete table ip kube-proxy")
	load(t, ns, "add element ip kube-verdict cluster-ips { 1.2.3.4 }\ndelete element ip kube-verdict cluster-ips { 1.2.3.4 }")
	load(t, ns, "delete element ip kube-verdict cluster-ips { 10.96.0.1 }")
	k.repaired(1, "an element deleted")
	k.listed(before, "an element deleted")
	if told := k.told(); len(told) != 1 {
		t.Errorf("told of %v, want one repair", told)
	}
}

// Changes that come while tables are damaged are brought about with the repair.
func TestChangesComeWithDamage(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	k := keep(t, ns, cluster(50, 3)...)
	for i := range 5 {
		load(t, ns, "flush ruleset")
		k.Update(many("svc-7", "10.96.0.7", 4+i))
		k.Delete(proxy.Name{Namespace: "ns", Name: "svc-8"})
		k.repaired(i+1, "a flush")
	}
	services := append(cluster(50, 3)[:7], cluster(50, 3)[9:]...)
	services = append(services, many("svc-7", "10.96.0.7", 8))
	fresh := testbed.NewTestNamespace(t)
	w := adopt(t, fresh, flat)
	w.SetNetworks(layout.Networks{Pods: config.PodCIDRs, Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
	w.program(services...)
	k.listed(listing(t, fresh, "fresh"), "flushes")
}

// A neighbour that deletes our table all the time costs a bounded number of
// repairs, and is told of once.
func TestANeighbourThatDoesNotCease(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	k := keep(t, ns, service("a", "tcp/80", vip4, "10.254.0.1:80"))
	before := listing(t, ns, "before")
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	table := maps.NewLayout(config).Tables()[0]
	start := time.Now()
	for range 60 {
		_ = conn.Commit(nft.Transaction{{Table: table}, {Verb: nft.Delete, Table: table}})
		time.Sleep(100 * time.Millisecond)
	}
	most := dataplane.RepairBurst + int(time.Since(start)/dataplane.RepairEvery) + 1
	k.mu.Lock()
	told, contested := len(k.repairs), k.contested
	k.mu.Unlock()
	if told < dataplane.RepairBurst || told > most {
		t.Errorf("%d repairs, want %d to %d", told, dataplane.RepairBurst, most)
	}
	if len(contested) != 1 || !contested[0] {
		t.Errorf("told %v of a contest, want once that there is one", contested)
	}
	k.listed(before, "the neighbour's work when it has ceased")
	for _, r := range k.told()[1:] {
		if r.Kind != dataplane.KindTable || !strings.HasPrefix(r.By.Process, "dataplane") {
			t.Errorf("told of %+v", r)
		}
	}
}
