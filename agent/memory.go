package agent

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go's collector lets garbage grow to as much as is in use, by default. What we
// hold of a large cluster stays as it is for hours and changes make little garbage, so
// that would be memory for nothing. Less costs CPU time: each collection goes through
// all that is in use. So garbage may grow to roomForGarbage, and, where more than a few
// times that is in use, to leastPercent of it.
const (
	roomForGarbage = 16 << 20
	leastPercent   = 25
	mostPercent    = 100
	tunePeriod     = 10 * time.Second
)

// gcPercent is the collector's setting while so many bytes are in use.
func gcPercent(live uint64) int {
	return int(min(max(100*roomForGarbage/max(live, 1), leastPercent), mostPercent))
}

// tuneMemory keeps the collector's setting right until the context ends. Whoever sets
// GOGC is left alone.
func tuneMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	// A start makes the most garbage.
	now := leastPercent
	debug.SetGCPercent(now)
	tick := time.NewTicker(tunePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if want := gcPercent(live[0].Value.Uint64()); want != now {
			now = want
			debug.SetGCPercent(now)
		}
	}
}

// freeMemory gives back what a start took besides: now, and when the Services that
// were queued meanwhile have been looked at.
func freeMemory(ctx context.Context) {
	debug.FreeOSMemory()
	select {
	case <-ctx.Done():
	case <-time.After(tunePeriod):
		debug.FreeOSMemory()
	}
}
