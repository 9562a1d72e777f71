package dataplane_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// When someone flushes the ruleset, an established connection goes on afterwards,
// and new ones succeed again; how long that takes is measured. KUBE_VERDICT_SCALE is
// the number of Services.
func TestConnectionsWhileTablesAreGone(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("KUBE_VERDICT_SCALE"))
	w := newWorld(t, flat)
	k := keep(t, w.node.Namespace, append(cluster(max(n, 20), 10)[2:], service("a", "tcp/80", vip4, backends))...)
	established, err := w.asker.Open("tcp", frontends[0], patience)
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	if _, err := established.Ask(patience); err != nil {
		t.Fatal(err)
	}
	var failed, asked int
	var gap time.Duration
	err = w.asker.Clients(1, func(c *testbed.Client) error {
		ask := func() error {
			asked++
			_, err := c.Ask("tcp", frontends[0], patience)
			return err
		}
		if err := ask(); err != nil {
			return err
		}
		if _, err := k.ns.Run("nft", "flush", "ruleset"); err != nil {
			return err
		}
		start := time.Now()
		return testbed.Wait(time.Minute, "an answer", func() error {
			err := ask()
			if err != nil {
				failed++
			}
			gap = time.Since(start)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := established.Ask(30 * time.Second); err != nil {
		t.Errorf("the connection that was there: %v", err)
	}
	r := k.repaired(1, "a flush")
	if r.Kind != dataplane.KindTable {
		t.Errorf("told of %+v", r)
	}
	t.Logf("%d Services: an answer %v after the flush, %d of %d new connections failed; repaired in %v", max(n, 20), gap.Round(100*time.Microsecond), failed, asked, r.Took.Round(100*time.Microsecond))
}
