package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// round is one proxy on a node of its own, from its start to its end, with all other
// proxies away.
type round struct {
	suite   *suite
	c       *cluster
	peer    *peer // nil: there is none, and what is measured is to compare with
	number  int
	site    *site
	process *testbed.Process
	memory  *memory
	// late says that the proxy has not even started in time, and again how long what is
	// measured in the next round, too, takes.
	late  bool
	again time.Duration
}

// scenario names, in the order of the report.
const (
	coldScenario    = "cold start"
	latencyScenario = "latency"
	restartScenario = "restart"
	packetScenario  = "packets"
	usageScenario   = "usage"
	rollingScenario = "rolling update"
	writerScenario  = "writer"
)

var scenarios = []string{coldScenario, latencyScenario, restartScenario, packetScenario, usageScenario, rollingScenario, writerScenario}

func (r *round) name() string {
	if r.peer == nil {
		return nobody
	}
	return r.peer.name
}

func (r *round) record(scenario, what, metric string, value float64) error {
	return r.suite.recorder.add(record{scenario: scenario, size: r.c.String(), peer: r.name(), what: what, metric: metric, round: r.number, value: value})
}

// wants says what is measured in this round.
func (r *round) wants(scenario string) bool { return r.suite.options.wants(scenario, r.number) }

// wants says what is measured in a round. Later ones repeat only what has one figure in
// each.
func (o *options) wants(scenario string, round int) bool {
	again := scenario == coldScenario || scenario == restartScenario || scenario == packetScenario
	return o.scenarios[scenario] && (again || round <= o.full)
}

// tell says what is under way.
func (r *round) tell(format string, args ...any) {
	r.suite.progress.tell("%s, round %d, %s: %s", r.c.size, r.number, r.name(), fmt.Sprintf(format, args...))
}

// run does all that is wanted of one proxy at one size.
func (r *round) run(ctx context.Context) (err error) {
	began := time.Now()
	// A round before may have ended in the middle of a change.
	if err := r.c.restore(ctx, nil); err != nil {
		return err
	}
	if r.site, err = newSite(r.c); err != nil {
		return err
	}
	defer r.site.close()
	if r.peer == nil {
		defer func() { r.again = time.Since(began) }()
		return r.limits(ctx)
	}
	defer func() {
		if r.process != nil {
			r.process.Kill()
		}
		if err != nil && r.process != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s at %s: %w; the end of what it said:\n%s", r.name(), r.c, err, lastLines(r.process.Output()))
		}
	}()
	err = r.coldStart(ctx)
	var late *lateError
	if errors.As(err, &late) {
		r.late = true
		r.tell("%v", late)
		return r.record(coldScenario, "", unfinished, late.after.Seconds())
	}
	r.again = time.Since(began)
	if err != nil {
		return err
	}
	steps := []struct {
		scenario string
		do       func(context.Context) error
	}{
		{usageScenario, r.idle},
		{latencyScenario, r.singleChanges},
		{latencyScenario, r.churn},
		{packetScenario, r.packets},
		{rollingScenario, r.rolling},
		{restartScenario, r.restart},
		{usageScenario, r.tables},
	}
	for _, step := range steps {
		if !r.wants(step.scenario) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		err := step.do(ctx)
		if r.suite.options.wants(step.scenario, r.number+1) {
			r.again += time.Since(began)
		}
		if errors.As(err, &late) {
			r.tell("%v", late)
			err = r.record(step.scenario, late.what, unfinished, late.after.Seconds())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limits are what any proxy is to be compared with, where there is none.
func (r *round) limits(ctx context.Context) error {
	if r.wants(coldScenario) {
		if err := r.read(ctx); err != nil {
			return err
		}
	}
	if r.wants(latencyScenario) {
		if err := r.told(ctx); err != nil {
			return err
		}
	}
	if r.wants(packetScenario) {
		return r.bare()
	}
	return nil
}

// lateError is of what did not come within the patience that -patience gives.
type lateError struct {
	what  string
	after time.Duration
}

func (e *lateError) Error() string {
	return fmt.Sprintf("%s: not finished within %v", e.what, e.after)
}

// begin starts the proxy.
func (r *round) begin() (started time.Time, err error) {
	started = time.Now()
	if r.process, err = r.peer.start(r.site, r.c); err != nil {
		return started, err
	}
	r.memory = watchMemory(r.process)
	return started, nil
}

// end stops the proxy; its rules stay. kube-proxy does not end on SIGTERM in time
// when it has much to write, so that how it ends is no error.
func (r *round) end() {
	_ = r.process.Stop()
	r.process = nil
}

// alive says that the proxy has not ended by itself.
func (r *round) alive() error {
	select {
	case <-r.process.Done():
		return errors.New("it has ended")
	default:
		return nil
	}
}

func lastLines(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}

// pause waits, unless the benchmark is interrupted.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
