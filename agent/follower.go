package agent

import (
	"net/netip"
	"sync"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/shadow"
)

// follower does what follows on a change that the kernel has, besides telling of
// it.
type follower struct {
	*reporter
	meter  *meter
	flows  *flows
	checks *healthcheck.Servers
	health *health
	// shadow says that another proxy serves what we program: flows and health check
	// node ports are its.
	shadow bool
	// comparer compares with that proxy's rules; nil if nobody wants it to.
	comparer *shadow.Comparer
	// unchecked are the Services whose health check node port could not be opened;
	// they are tried again with every change, and after a while: another proxy may
	// be about to leave the port.
	mu        sync.Mutex
	unchecked map[proxy.Name]bool
	retrying  bool
}

// checkRetry is the time until ports are tried again.
const checkRetry = time.Second

// Programmed has stale flows deleted, and opens and closes health check node
// ports.
func (f *follower) Programmed(changes []dataplane.Applied, took time.Duration) {
	f.health.updated()
	if f.comparer != nil {
		f.comparer.Programmed(changes)
	}
	f.meter.programmed(changes, took)
	if len(changes) == 0 {
		return
	}
	f.reporter.Programmed(len(changes), took)
	if f.shadow {
		return
	}
	f.flows.add(changes)
	checks := map[proxy.Name]proxy.HealthCheck{}
	for i := range changes {
		c := &changes[i]
		if c.Old.HealthCheck.Port != 0 || c.Now.HealthCheck.Port != 0 {
			checks[c.Name] = c.Now.HealthCheck
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(checks) > 0 || len(f.unchecked) > 0 {
		f.tell(f.checks.Update(checks))
	}
}

// Failed counts a round that failed.
func (f *follower) Failed(error) { f.meter.failed() }

// moved opens health check node ports at the node's addresses as they are now.
func (f *follower) moved(addresses []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.shadow {
		f.tell(f.checks.SetAddresses(addresses))
	}
}

func (f *follower) tell(failures []healthcheck.Failure) {
	before := f.unchecked
	f.unchecked = map[proxy.Name]bool{}
	for _, failure := range failures {
		f.unchecked[failure.Name] = true
		f.Unchecked(failure.Name, failure.Err)
	}
	for name := range before {
		if !f.unchecked[name] {
			f.Unchecked(name, nil)
		}
	}
	if len(f.unchecked) > 0 && !f.retrying {
		f.retrying = true
		time.AfterFunc(checkRetry, f.retry)
	}
}

// retry tries the ports that could not be opened.
func (f *follower) retry() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retrying = false
	if len(f.unchecked) > 0 {
		f.tell(f.checks.Update(nil))
	}
}
