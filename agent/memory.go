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
//
// A start makes garbage as fast as it can, while ever more is in use. Until roomToStart
// is taken, nothing is collected: with little in use that would soon be in vain.
const (
	roomForGarbage = 16 << 20
	roomToStart    = 64 << 20
	leastPercent   = 25
	mostPercent    = 100

	tunePeriod   = 10 * time.Second
	startPeriod  = 20 * time.Millisecond
	settlePeriod = time.Second
)

// gcPercent is the collector's setting while so many bytes are in use.
func gcPercent(live uint64) int {
	return int(min(max(100*roomForGarbage/max(live, 1), leastPercent), mostPercent))
}

// startPercent is the same during a start.
func startPercent(live uint64) int {
	// What is in use counts as that much, at least (GOGC in package runtime).
	live = max(live, 4<<20)
	return int(max(100*(roomToStart-min(live, roomToStart))/live, leastPercent))
}

// tuneMemory keeps the collector's setting right until the context ends. Whoever sets
// GOGC is left alone.
func tuneMemory(ctx context.Context, started <-chan struct{}) {
	if os.Getenv("GOGC") != "" {
		return
	}
	percent, now := startPercent, 0
	tick := time.NewTicker(startPeriod)
	defer tick.Stop()
	var settled <-chan time.Time
	for {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if want := percent(live[0].Value.Uint64()); want != now {
			now = want
			debug.SetGCPercent(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-started:
			started, percent = nil, gcPercent
			tick.Reset(tunePeriod)
			debug.FreeOSMemory() // what the start took besides
			settled = time.After(settlePeriod)
		case <-settled:
			debug.FreeOSMemory() // and what was still under way
		case <-tick.C:
		}
	}
}
