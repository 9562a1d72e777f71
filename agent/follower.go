package agent

import (
	"net/netip"
	"sync"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// follower does what follows on a change that the kernel has, besides telling of
// it.
type follower struct {
	*reporter
	flows  *flows
	checks *healthcheck.Servers
	health *health
	// unchecked are the Services whose health check node port could not be
	// opened; they are tried again with every change.
	mu        sync.Mutex
	unchecked map[proxy.Name]bool
}

// Programmed has stale flows deleted, and opens and closes health check node
// ports.
func (f *follower) Programmed(changes []dataplane.Applied, took time.Duration) {
	f.health.updated()
	if len(changes) == 0 {
		return
	}
	f.reporter.Programmed(len(changes), took)
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

// moved opens health check node ports at the node's addresses as they are now.
func (f *follower) moved(addresses []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(f.checks.SetAddresses(addresses))
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
}
