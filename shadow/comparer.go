package shadow

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// DefaultPeriod is the time between two looks.
const DefaultPeriod = 30 * time.Second

// patience is how much longer than a look the time until the next one is, at least:
// comparing takes no more than a fiftieth of one core, however many Services there
// are.
const patience = 50

// Options are what a Comparer is told.
type Options struct {
	// Period is the time between two looks. One that shows something new is
	// followed by another one after a third of it.
	Period time.Duration
	// View is how we tell pods, and what we masquerade.
	View view.Config
	// Addresses are the node's own.
	Addresses func() []netip.Addr
	// Others says of a Service that it is not kube-proxy's.
	Others func(service proxy.Name) bool
	// Told is called after each look, by the goroutine of Run. It must not wait.
	Told func(Report)
}

// Report is what a look shows.
type Report struct {
	// Err is why there was nothing to look at; all else is as before then.
	Err error
	// Mode is kube-proxy's.
	Mode kubeproxy.Mode
	// Notes are what is to be known of its rules besides.
	Notes []string
	// Differences are all that count, by Service.
	Differences map[string]view.Difference
	// Changed are those of them that are new, or others than before; Gone are the
	// Services that have none any more.
	Changed []view.Difference
	Gone    []string
	// Frontends is how many were compared, Took how long it took.
	Frontends int
	Took      time.Duration
}

// Comparer compares. Programmed may be called at any time.
type Comparer struct {
	Options
	proxy source

	mu       sync.Mutex
	services map[proxy.Name]proxy.Service
	begun    chan struct{} // closed when the first Services are programmed
	once     sync.Once

	history history
}

// source is a kubeproxy.Reader.
type source interface {
	Find(nodeAddrs []netip.Addr, of ...kubeproxy.Mode) (*kubeproxy.Found, error)
}

// New makes a Comparer of kube-proxy's rules as a Reader reads them.
func New(from *kubeproxy.Reader, o Options) *Comparer {
	return &Comparer{Options: o, proxy: from, services: map[proxy.Name]proxy.Service{}, begun: make(chan struct{})}
}

// Programmed says what has changed in what we program.
func (c *Comparer) Programmed(changes []dataplane.Applied) {
	c.mu.Lock()
	for i := range changes {
		if now := changes[i].Now; len(now.Ports) > 0 {
			c.services[now.Name] = now
		} else {
			delete(c.services, changes[i].Name)
		}
	}
	c.mu.Unlock()
	c.once.Do(func() { close(c.begun) })
}

// Run looks until the context ends.
func (c *Comparer) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.begun:
	}
	// kube-proxy has begun before us, or will in a moment.
	wait := c.Period / 3
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		report, unsettled := c.Look()
		c.Told(report)
		wait = c.Period
		if unsettled {
			wait /= 3
		}
		wait = max(wait, patience*report.Took)
	}
}

// Look looks once. Unsettled says that it showed something that another look has to
// show again.
func (c *Comparer) Look() (r Report, unsettled bool) {
	start := time.Now()
	found, err := c.proxy.Find(c.Addresses())
	if err != nil {
		return Report{Err: err, Differences: c.history.told, Took: time.Since(start)}, false
	}
	want := c.desired()
	differences := slices.DeleteFunc(view.Compare(want, found.View), func(d view.Difference) bool {
		name, ok := proxy.ParseName(d.Service)
		return ok && c.Others(name)
	})
	r = Report{Mode: found.Mode, Notes: found.Notes, Frontends: len(want)}
	r.Changed, r.Gone, unsettled = c.history.look(differences)
	r.Differences, r.Took = c.history.told, time.Since(start)
	return r, unsettled
}

// desired is what our tables would do.
func (c *Comparer) desired() view.View {
	v := view.View{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, svc := range c.services {
		c.View.Add(v, &svc)
	}
	return v
}
