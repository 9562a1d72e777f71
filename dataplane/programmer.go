package dataplane

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Programmer keeps the kernel as the Services that it is told of want it.
// Update, Delete and Release may be called from any goroutine, return at once,
// and are carried out together with all others that have come meanwhile.
type Programmer struct {
	writer   *Writer
	cluster  *proxy.Cluster
	log      logr.Logger
	observer Observer

	mu sync.Mutex
	// pending is what has come since the last round; nil is for deletion.
	pending map[proxy.Name]*proxy.Service
	// released are those of the deletions that are another proxy's now; releasing
	// are those of this round.
	released, releasing map[proxy.Name]bool
	// networks are new ones, if any.
	networks *layout.Networks
	// suspect is what others have done to our tables, if anything.
	suspect *kernel.Change
	wake    chan struct{}

	// adopted is false while the kernel's content is not known, and broken true
	// while it is known not to be what was written.
	adopted, broken bool
	// readBack says that it was read.
	readBack bool
	// culprit did what is to be repaired at repairAt.
	culprit  *kernel.Change
	repairAt time.Time
	pace     *pace
	// contested says that others change our tables again and again.
	contested bool
	// loaded says that all Services have been programmed once.
	loaded bool
	// keepOthers is KeepOthers'; recovered reports whether the kernel was asked for
	// what nobody else knows.
	keepOthers, recovered bool
	// sweeps says when the next step of a sweep may begin.
	sweeps *rate.Limiter
	// unsettled are Services whose change may not have been brought about.
	unsettled []proxy.Name
	// setAside are the Services that the kernel refused, with the number of
	// tries so far.
	setAside map[proxy.Name]int
	retryAt  time.Time
}

// Observer is told what became of Services. Its methods are called one at a
// time and must not wait.
type Observer interface {
	// Conflicts says which frontends a Service does not get because another
	// one has them; none when that is over.
	Conflicts(name proxy.Name, conflicts []proxy.Conflict)
	// Refused says that the kernel did not take a Service; nil when it has.
	Refused(name proxy.Name, err error)
	// Programmed says that a round is done, and the kernel up to date: what has
	// changed, if anything, and how long it took.
	Programmed(changes []Applied, took time.Duration)
	// Failed says that a round failed; it is tried again.
	Failed(err error)
	// Repaired says that others had changed our tables, and what was done about
	// it.
	Repaired(Repair)
	// Contested says that others change our tables so often that repairs have to
	// wait, or that they have ceased.
	Contested(by kernel.Change, on bool)
}

// Applied is a change of a Service that the kernel has. After a start, Old is
// empty for all: what an earlier process left is not known as Services.
type Applied struct {
	Name proxy.Name
	// Old and Now are without ports where there was or is no Service.
	Old, Now proxy.Service
	// Released says that another proxy serves it now.
	Released bool
}

// NewProgrammer makes a Programmer that starts with no Service.
func NewProgrammer(w *Writer, log logr.Logger, observer Observer) *Programmer {
	return &Programmer{
		writer: w, log: log, observer: observer,
		cluster: proxy.NewCluster(),
		pending: map[proxy.Name]*proxy.Service{}, released: map[proxy.Name]bool{},
		// One wake-up is enough for any number of changes.
		wake:     make(chan struct{}, 1),
		setAside: map[proxy.Name]int{},
		pace:     newPace(),
		sweeps:   rate.NewLimiter(rate.Every(sweepEvery), sweepBurst),
	}
}

// Update says what a Service is now.
func (p *Programmer) Update(svc proxy.Service) { p.put(svc.Name, &svc) }

// Delete says that a Service is gone.
func (p *Programmer) Delete(name proxy.Name) { p.put(name, nil) }

// Release says that a Service is another proxy's.
func (p *Programmer) Release(name proxy.Name) {
	p.mu.Lock()
	p.pending[name], p.released[name] = nil, true
	p.mu.Unlock()
	p.signal()
}

// SetNetworks says what the cluster's networks are.
func (p *Programmer) SetNetworks(n layout.Networks) {
	p.mu.Lock()
	p.networks = &n
	p.mu.Unlock()
	p.signal()
}

func (p *Programmer) put(name proxy.Name, svc *proxy.Service) {
	p.mu.Lock()
	p.pending[name] = svc
	delete(p.released, name)
	p.mu.Unlock()
	p.signal()
}

func (p *Programmer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// retryAfter and retryMost bound the time until a Service that the kernel
// refused is tried again; it doubles from one to the other.
const (
	retryAfter = time.Second
	retryMost  = time.Minute
)

// Run carries out changes until the context ends. The first round adopts what
// the kernel holds, so all Services have to be said before; ready is called
// when it is done. The rules stay when it returns.
func (p *Programmer) Run(ctx context.Context, ready func()) error {
	var quiet <-chan struct{} // closed when stale elements may be deleted
	var due time.Time         // when the next step of a sweep may begin, once that is known
	var swept error
	tries := 0
	if f := p.writer.forgetter; f != nil {
		ended := make(chan struct{})
		go func() {
			f.run(ctx)
			close(ended)
		}()
		defer func() {
			select {
			case <-ended:
			case <-time.After(time.Second): // it may be in the middle of a large memory
			}
		}()
	}
	for {
		err := swept
		if err == nil {
			err = p.Round()
		}
		swept = nil
		wake, at := p.wake, p.Due()
		switch {
		case err == nil:
			tries = 0
			if !p.writer.Bypassed() {
				ready()
				ready = func() {}
			}
		case p.loaded && amiss(err):
			p.log.V(1).Info("Our tables are not as they were written", "refused", err.Error())
			p.broken, p.adopted = true, true
			p.Suspect(kernel.Change{Lost: true})
			p.suspicion(time.Now())
			wake, at = nil, p.repairAt
		default:
			delay := backoff(tries)
			tries++
			p.log.Error(err, "Programming the kernel failed; reading it back and trying again", "after", delay)
			p.adopted, p.broken = false, false
			// At the second time the tables were read back.
			p.writer.blame = amiss(err) && tries > 1
			wake, at = nil, time.Now().Add(delay) // changes wait with the rest
		}
		if p.readBack {
			p.readBack, quiet = false, nil // it was about what was known before
		}
		if quiet == nil && p.adopted && !p.broken && p.writer.Stale() {
			now := time.Now()
			if due.IsZero() {
				due = now.Add(p.sweeps.ReserveN(now, 1).DelayFrom(now))
			}
			if now.Before(due) && !p.writer.Urgent() {
				at = earliest(at, due)
			} else {
				quiet, due = p.quiesced(), time.Time{}
			}
		}
		var wait <-chan time.Time
		if !at.IsZero() {
			wait = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-wait:
		case <-quiet:
			quiet = nil
			swept = p.writer.SweepStep()
		case found := <-p.findings():
			swept = p.forgetFound(found)
		}
	}
}

// earliest is the first of some times; zero ones don't count.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// Some steps of sweeps may follow one another at once. Under steady changes, where there
// is always something stale, there are few: each takes a transaction, and a thread that
// waits for packets.
const (
	sweepBurst = 8
	sweepEvery = 250 * time.Millisecond
)

// quiesced is closed when no packet is left that was under way now.
func (p *Programmer) quiesced() <-chan struct{} {
	p.writer.Mark()
	done := make(chan struct{})
	go func() {
		p.writer.conn.Quiesce()
		close(done)
	}()
	return done
}

func backoff(tries int) time.Duration {
	return min(retryAfter<<min(tries, 10), retryMost)
}

// Round carries out all changes that have come. An error means that the kernel
// could not be written to, or is not as it was written; the next round reads it
// back first.
func (p *Programmer) Round() error {
	err := p.round()
	if err != nil {
		p.observer.Failed(err)
		p.broken = p.loaded && amiss(err)
		p.adopted = p.broken
	}
	return err
}

func (p *Programmer) round() error {
	start := time.Now()
	var applied []Applied
	if p.adopted && p.suspicion(start) || p.broken {
		var err error
		if applied, err = p.repair(start); err != nil {
			return err
		}
		p.broken = false
	}
	names := p.take()
	var changes []Change
	adopted := false
	if !p.adopted {
		if err := p.writer.Adopt(); err != nil {
			return err
		}
		if !p.recovered {
			if err := p.recover(); err != nil {
				return err
			}
			p.recovered = true
		}
		p.cluster.TakeBackIDs(p.writer.heldID)
		p.adopted, p.readBack, adopted = true, true, true
		clear(p.setAside)
		changes = p.all()
	} else {
		if !p.retryAt.IsZero() && !p.retryAt.After(start) {
			names = slices.AppendSeq(names, maps.Keys(p.setAside))
		}
		changes = p.changes(names)
	}
	pairs := p.pairs(changes)
	failures, err := p.writer.Program(changes)
	p.note(changes, failures)
	if err != nil {
		p.unsettled = append(p.unsettled, names...)
		return err
	}
	if adopted {
		if err := p.keepRefused(failures); err != nil {
			return err
		}
	}
	for _, f := range failures {
		pairs = slices.DeleteFunc(pairs, func(a Applied) bool { return a.Name == f.Name })
	}
	p.loaded, p.writer.blame = true, false
	p.observer.Programmed(append(applied, pairs...), time.Since(start))
	return nil
}

// pairs are the changes with what was there before.
func (p *Programmer) pairs(changes []Change) []Applied {
	pairs := make([]Applied, len(changes))
	for i, c := range changes {
		pairs[i] = Applied{Name: c.Name, Now: c.Service, Released: p.releasing[c.Name]}
		pairs[i].Old, _ = p.writer.Applied(c.Name)
		if c.Gone {
			pairs[i].Now = proxy.Service{Name: c.Name}
		}
	}
	return pairs
}

// take moves what has come into the cluster and gives the names of Services
// that are granted something else now.
func (p *Programmer) take() []proxy.Name {
	p.mu.Lock()
	var pending map[proxy.Name]*proxy.Service
	if len(p.pending) > 0 {
		pending, p.pending = p.pending, map[proxy.Name]*proxy.Service{}
	}
	p.releasing, p.released = p.released, map[proxy.Name]bool{}
	if p.networks != nil {
		p.writer.SetNetworks(*p.networks)
		p.networks = nil
	}
	p.mu.Unlock()
	affected := p.unsettled
	p.unsettled = nil
	for name, svc := range pending {
		if svc == nil {
			affected = append(affected, p.cluster.Delete(name)...)
		} else {
			affected = append(affected, p.cluster.Set(*svc)...)
		}
	}
	return affected
}

func (p *Programmer) changes(names []proxy.Name) []Change {
	changes := make([]Change, 0, len(names))
	seen := make(map[proxy.Name]bool, len(names))
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		p.observer.Conflicts(name, p.cluster.Conflicts(name))
		svc, ok := p.cluster.Granted(name)
		changes = append(changes, Change{Name: name, Service: svc, Gone: !ok})
	}
	return changes
}

func (p *Programmer) all() []Change {
	changes := make([]Change, 0, p.cluster.Len())
	for svc := range p.cluster.All() {
		p.observer.Conflicts(svc.Name, p.cluster.Conflicts(svc.Name))
		changes = append(changes, Change{Name: svc.Name, Service: svc})
	}
	return changes
}

// note sets failed Services aside and tells the observer of them.
func (p *Programmer) note(changes []Change, failures []Failure) {
	failed := map[proxy.Name]bool{}
	for _, f := range failures {
		failed[f.Name] = true
		p.observer.Refused(f.Name, f.Err)
		p.retryAt = time.Now().Add(backoff(p.setAside[f.Name]))
		p.setAside[f.Name]++
	}
	if len(p.setAside) == 0 {
		return
	}
	for i := range changes {
		if name := changes[i].Name; !failed[name] && p.setAside[name] > 0 {
			delete(p.setAside, name)
			p.observer.Refused(name, nil)
		}
	}
	if len(p.setAside) == 0 {
		p.retryAt = time.Time{}
	}
}

// Loaded reports whether all Services have been programmed once.
func (p *Programmer) Loaded() bool { return p.loaded }

// Due is when there will be something for a Round although nothing has come: a Service
// that the kernel refused, or tables that others have changed. It is zero if there is
// nothing.
func (p *Programmer) Due() time.Time { return earliest(p.retryAt, p.repairAt, p.calmAt()) }

// Settle deletes what no Service wants and waits until that is done.
func (p *Programmer) Settle() error { return p.writer.Sweep() }

// Verify reads the kernel back and says how it differs from what was written.
// What no Service wants counts as a difference only after Settle.
func (p *Programmer) Verify() error {
	applied := slices.Collect(maps.Values(p.writer.applied))
	tx, err := Difference(p.writer.conn, p.writer.layout, p.writer.networks, applied, p.writer.Stale())
	if err != nil {
		return err
	}
	if len(tx) > 0 {
		return fmt.Errorf("the kernel does not hold what was written; to mend it takes %d operations, the first is: %s", len(tx), tx[0].Text())
	}
	return nil
}
