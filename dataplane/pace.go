package dataplane

import (
	"time"

	"golang.org/x/time/rate"
)

// pace spaces repairs. Some follow damage at once, so that a script that does a
// dozen things to our tables is mended as it goes; a neighbour that does not
// cease gets few, which cost a bounded part of the time.
type pace struct {
	limit *rate.Limiter
	// from is when the next repair may begin at the earliest.
	from time.Time
	// contestedUntil is set when others go on; it ends when they have let our
	// tables alone for calm.
	contestedUntil time.Time
}

const (
	repairBurst = 10
	repairEvery = 5 * time.Second
	repairApart = 200 * time.Millisecond
	// A repair at least takes as long as the tables take to be read. Repairs take
	// at most one of so many parts of the time.
	repairShare = 10

	calm = time.Minute
)

func newPace() *pace { return &pace{limit: rate.NewLimiter(rate.Every(repairEvery), repairBurst)} }

// next is when damage that is seen now may be repaired.
func (p *pace) next(now time.Time) time.Time {
	at := now
	if at.Before(p.from) {
		at = p.from
	}
	if delay := p.limit.ReserveN(now, 1).DelayFrom(now); delay > 0 {
		if then := now.Add(delay); at.Before(then) {
			at = then
		}
		p.contestedUntil = at.Add(calm)
	} else if !p.contestedUntil.IsZero() {
		p.contestedUntil = at.Add(calm)
	}
	return at
}

// done says that a repair took so long.
func (p *pace) done(now time.Time, took time.Duration) {
	p.from = now.Add(max(repairApart, took))
	p.limit.SetLimitAt(now, rate.Every(max(repairEvery, repairShare*took)))
}
