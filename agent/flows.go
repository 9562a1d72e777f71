package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/metrics"
)

// flows deletes the UDP flows that changes leave behind, beside the programming
// of others. Changes that come while it is at work are cleaned up together.
type flows struct {
	log     logr.Logger
	metrics *metrics.Metrics
	changes conntrack.Changes
	wake    chan struct{}
}

func newFlows(log logr.Logger, m *metrics.Metrics) *flows {
	return &flows{log: log, metrics: m, wake: make(chan struct{}, 1)}
}

// add takes changes that the kernel has.
func (f *flows) add(changes []dataplane.Applied) {
	for i := range changes {
		if !changes[i].Released { // else they go on with another proxy
			f.changes.Add(changes[i].Old, changes[i].Now)
		}
	}
	f.signal()
}

// gone takes frontends that an earlier process programmed and no Service has.
func (f *flows) gone(frontends []netip.AddrPort) {
	f.changes.Gone(frontends)
	f.signal()
}

func (f *flows) signal() {
	if f.changes.Len() > 0 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// pause is between a clean-up that failed and the next.
const pause = time.Second

// run cleans up until the context ends.
func (f *flows) run(ctx context.Context) error {
	conn, err := conntrack.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-again:
		}
		again = nil
		start, frontends := time.Now(), f.changes.Len()
		result, err := conn.Clean(&f.changes)
		f.metrics.Flows.Add(float64(result.Deleted))
		f.metrics.ConntrackDeleted.Add(float64(result.Deleted))
		f.metrics.ConntrackDuration.Observe(time.Since(start).Seconds())
		if err != nil {
			f.log.Error(err, "Stale UDP flows go on to endpoints that are gone; trying again", "frontends", frontends, "after", pause)
			again = time.After(pause)
			continue
		}
		f.log.V(1).Info("Deleted stale UDP flows", "frontends", frontends, "flows", result.Deleted, "took", time.Since(start))
	}
}
