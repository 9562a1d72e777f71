package dataplane

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Repair is what was done about a change that others made to our tables.
type Repair struct {
	// By is who made it, as far as that is known.
	By kernel.Change
	// Kind is the greatest object that was missing, wrong or too much.
	Kind Kind
	// Operations is how many objects were written or are to be deleted.
	Operations int
	Took       time.Duration
}

// Kind is a kind of object of nf_tables, from great to small.
type Kind int

// The kinds.
const (
	KindTable Kind = iota
	KindChain
	KindSet
	KindRule
	KindElement
)

// Kinds are their names.
var kinds = [...]string{"table", "chain", "set", "rule", "element"}

func (k Kind) String() string { return kinds[k] }

// Suspect says that others have changed our tables, or may have. They are compared
// with what was written, and mended, soon. It may be called from any goroutine.
func (p *Programmer) Suspect(change kernel.Change) {
	p.mu.Lock()
	// Who did it is worth more than that something was lost.
	if p.suspect == nil || p.suspect.Lost {
		p.suspect = &change
	}
	p.mu.Unlock()
	p.signal()
}

// suspicion takes what has been said to Suspect, and says whether it is time to
// look.
func (p *Programmer) suspicion(now time.Time) bool {
	p.mu.Lock()
	if p.suspect != nil {
		if p.repairAt.IsZero() {
			p.repairAt = p.pace.next(now)
		}
		if p.culprit == nil || p.culprit.Lost {
			p.culprit = p.suspect
		}
		p.suspect = nil
	}
	p.mu.Unlock()
	until := p.pace.contestedUntil
	switch {
	case !until.IsZero() && !p.contested:
		p.contested = true
		p.observer.Contested(*p.culprit, true)
	case p.contested && now.After(until):
		p.contested, p.pace.contestedUntil = false, time.Time{}
		p.observer.Contested(kernel.Change{}, false)
	}
	return !p.repairAt.IsZero() && !now.Before(p.repairAt)
}

// calmAt is when others will have let our tables alone for long enough.
func (p *Programmer) calmAt() time.Time {
	if !p.contested {
		return time.Time{}
	}
	return p.pace.contestedUntil.Add(time.Millisecond)
}

// repair brings the kernel back to what was written, and gives the Services that
// it had to be written for.
func (p *Programmer) repair(start time.Time) ([]Applied, error) {
	by := p.culprit
	p.culprit, p.repairAt = nil, time.Time{}
	if by == nil {
		by = &kernel.Change{Lost: true}
	}
	written, failures, err := p.writer.Restore()
	if err != nil {
		return nil, err
	}
	p.adopted, p.readBack = true, true
	took := time.Since(start)
	p.pace.done(start.Add(took), took)
	var all []Change
	for _, svc := range p.writer.applied {
		all = append(all, Change{Name: svc.Name, Service: svc})
	}
	p.note(nil, failures)
	// A transaction that is refused all the same is not so for the tables.
	p.writer.blame = p.broken && written.operations() == 0
	if written.operations() == 0 {
		p.log.V(1).Info("Our tables are as they were written", "suspected", by.String(), "took", took)
		return nil, nil
	}
	p.observer.Repaired(Repair{By: *by, Kind: written.kind(), Operations: written.operations(), Took: took})
	// Where flows went meanwhile is not known.
	applied := make([]Applied, len(all))
	for i := range all {
		applied[i] = Applied{Name: all[i].Name, Now: all[i].Service}
	}
	return applied, nil
}

// amiss says that a transaction was refused, and nothing of it done, because our
// tables are not as they were written.
func amiss(err error) bool {
	var refused *kernel.OpError
	return errors.As(err, &refused) && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY))
}

// tally counts the operations on objects of each kind.
type tally [len(kinds)]int

func (t *tally) add(tx nft.Transaction) {
	for i := range tx {
		op := &tx[i]
		switch {
		case op.IsElement():
			t[KindElement]++
		case op.Rule != nil, op.Chain != nil && op.Verb == nft.Flush:
			t[KindRule]++
		case op.Chain != nil:
			t[KindChain]++
		case op.Set != nil:
			t[KindSet]++
		default:
			t[KindTable]++
		}
	}
}

func (t *tally) operations() int {
	n := 0
	for _, count := range t {
		n += count
	}
	return n
}

// kind is the greatest kind that there is any of.
func (t *tally) kind() Kind {
	return Kind(slices.IndexFunc(t[:], func(n int) bool { return n > 0 }))
}

// Restore reads what the kernel holds and brings it back to what was written,
// whatever others have done to it. What they have added becomes stale. It says
// what was amiss. After an error, call it again.
func (w *Writer) Restore() (tally, []Failure, error) {
	if w.written == nil {
		w.written = &written{services: w.applied, ledger: w.ledger, bypassed: w.Bypassed()}
	}
	was := w.written
	was.tally = tally{}
	if err := w.takeOver(); err != nil {
		return tally{}, nil, err
	}
	services := make([]proxy.Service, 0, len(was.services))
	for _, svc := range was.services {
		services = append(services, svc)
	}
	failures, err := w.Program(changesTo(services))
	if err != nil {
		return tally{}, nil, err
	}
	w.written = nil
	elements, chains, sets := w.ledger.Beyond(was.ledger)
	was.tally[KindElement] += elements
	was.tally[KindChain] += chains
	was.tally[KindSet] += sets
	if w.Bypassed() && !was.bypassed {
		was.tally[KindTable]++
	}
	return was.tally, failures, nil
}

// written is what the kernel held before others changed it, and what was amiss.
type written struct {
	services map[proxy.Name]proxy.Service
	ledger   *ledger.Ledger
	bypassed bool
	tally    tally
}
