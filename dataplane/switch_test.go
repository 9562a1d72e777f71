package dataplane_test

import (
	"net/netip"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// A node goes from one layout to the other and back while clients connect: in one
// transaction each time, and no connection is lost.
func TestTheLayoutIsSwitchedOnALiveNode(t *testing.T) {
	w := newWorld(t, flat)
	services := append(cluster(20, 5)[2:], service("a", "tcp/80", vip4+","+vip6, backends))
	w.program(services...)
	w.sweep()

	var asked, lost atomic.Int64
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- w.asker.Clients(4, func(c *testbed.Client) error {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				if _, err := c.Ask("tcp", frontends[i%2], patience); err != nil {
					lost.Add(1)
					t.Errorf("a connection was lost: %v", err)
					return err
				}
				asked.Add(1)
			}
		})
	}()
	const switches = 20
	for i := range switches {
		layout := []layoutOf{chained, flat}[i%2]
		before := w.generation()
		now := adopt(t, w.node.Namespace, layout)
		now.program(services...)
		if after := now.generation(); after != before+1 {
			t.Errorf("switch %d: %d transactions, want 1", i, after-before)
		}
		now.sweep()
		if i < 2 {
			equalsFresh(t, w.node.Namespace, layout, services)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("%d connections, %d switches, %d lost", asked.Load(), switches, lost.Load())
	if asked.Load() < switches {
		t.Errorf("only %d connections while the layout was switched", asked.Load())
	}
}

// What clients remember in the layout with chains goes through a restart, too, and
// what an affinity that is over has left behind goes.
func TestARestartKeepsWhatChainsRemember(t *testing.T) {
	w := newWorld(t, chained)
	base := sticky(service("s", "tcp/80", vip4, backends), 8, 3600e9)
	w.program(base)
	w.sweep()
	first := spread(t, w.asker.Namespace, "tcp", frontends[0], 1)

	before := w.generation()
	again := adopt(t, w.node.Namespace, chained)
	again.program(base)
	again.sweep()
	if after := again.generation(); after != before {
		t.Errorf("a restart moved the generation from %d to %d", before, after)
	}
	if hits := spread(t, w.asker.Namespace, "tcp", frontends[0], 10); len(hits) != 1 || !sameServer(first, hits) {
		t.Errorf("before the restart the client had %v, now %v", first, hits)
	}
	plain := service("s", "tcp/80", vip4, backends)
	again.program(plain)
	again.sweep()
	equalsFresh(t, w.node.Namespace, chained, []proxy.Service{plain})
	if hits := spread(t, w.asker.Namespace, "tcp", netip.AddrPortFrom(addr(vip4), 80), 60); len(hits) != 3 {
		t.Errorf("without affinity the client gets %v, want all", hits)
	}
}

// Damage to chains and sets of single owners is repaired, too.
func TestDamageToChainsIsRepaired(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	k := keepIn(t, ns, chained, sticky(service("a", "tcp/80", vip4+","+vip6, backends), 8, 3600e9), service("b", "udp/80", vip4, backends))
	before := listing(t, ns, "before")
	svc := regexp.MustCompile(`goto (KUBE-SVC-\w+)`).FindStringSubmatch(before)[1]
	sep := regexp.MustCompile(`chain (KUBE-SEP-\w+)`).FindStringSubmatch(before)[1]
	for _, command := range []string{
		"flush chain ip kube-verdict " + svc,
		"insert rule ip kube-verdict " + svc + " drop",
		"add rule ip kube-verdict " + sep + " drop",
		"add chain ip kube-verdict KUBE-SEP-STRAY; add rule ip kube-verdict KUBE-SEP-STRAY drop",
		"flush ruleset",
	} {
		if _, err := ns.Run("nft", command); err != nil {
			t.Fatal(err)
		}
		k.listed(before, command)
	}
}
