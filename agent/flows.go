package agent

import (
	"context"
	"sync"
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

	mu      sync.Mutex
	changes *conntrack.Changes
	wake    chan struct{}
}

func newFlows(log logr.Logger, m *metrics.Metrics) *flows {
	return &flows{log: log, metrics: m, changes: &conntrack.Changes{}, wake: make(chan struct{}, 1)}
}

// add takes changes that the kernel has.
func (f *flows) add(changes []dataplane.Applied) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range changes {
		f.changes.Add(changes[i].Old, changes[i].Now)
	}
	if f.changes.Len() > 0 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *flows) take() *conntrack.Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes := f.changes
	f.changes = &conntrack.Changes{}
	return changes
}

// run cleans up until the context ends.
func (f *flows) run(ctx context.Context) error {
	conn, err := conntrack.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		f.clean(ctx, conn, f.take())
	}
}

// Flows are looked for again after an error, but not for ever: most end by
// themselves.
const (
	cleanTries = 5
	cleanPause = time.Second
)

func (f *flows) clean(ctx context.Context, conn *conntrack.Conn, changes *conntrack.Changes) {
	for try := 1; ; try++ {
		start := time.Now()
		result, err := conn.Clean(changes)
		f.metrics.Flows.Add(float64(result.Deleted))
		if err == nil {
			f.log.V(1).Info("Deleted stale UDP flows", "frontends", changes.Len(), "flows", result.Deleted, "took", time.Since(start))
			return
		}
		f.log.Error(err, "Stale UDP flows may go on to endpoints that are gone", "frontends", changes.Len(), "tries", try)
		if try == cleanTries {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(cleanPause):
		}
	}
}
