package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Servers are the servers of all Services that have a health check node port.
type Servers struct {
	healthy func() bool

	mu        sync.Mutex
	addresses []netip.Addr
	checks    map[proxy.Name]proxy.HealthCheck
	running   map[proxy.Name]*server
}

// New makes Servers without any Service. They answer that a node is fit for
// traffic only while healthy says so.
func New(healthy func() bool) *Servers {
	return &Servers{healthy: healthy, checks: map[proxy.Name]proxy.HealthCheck{}, running: map[proxy.Name]*server{}}
}

// Failure is a Service whose port could not be opened. It is tried again with
// the next Update, of whichever Services.
type Failure struct {
	Name proxy.Name
	Err  error
}

// Update says what the checks of some Services are now; those without a port have
// none. A port may go from one Service to another in one Update.
func (s *Servers) Update(checks map[proxy.Name]proxy.HealthCheck) []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, check := range checks {
		if check.Port == 0 {
			delete(s.checks, name)
		} else {
			s.checks[name] = check
		}
		if running := s.running[name]; running != nil && !running.serves(check) {
			s.stop(name)
		}
	}
	return s.start()
}

// SetAddresses says which of the node's addresses are listened on: those that
// accept NodePort traffic.
func (s *Servers) SetAddresses(addresses []netip.Addr) []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.addresses, addresses) {
		return nil
	}
	s.addresses = slices.Clone(addresses)
	for name := range s.running {
		s.stop(name)
	}
	return s.start()
}

// Close stops all servers.
func (s *Servers) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.checks) // no Update after this opens one again
	for name := range s.running {
		s.stop(name)
	}
}

func (s *Servers) stop(name proxy.Name) {
	s.running[name].close()
	delete(s.running, name)
}

// start starts what should run and does not, and tells the running ones their
// numbers.
func (s *Servers) start() []Failure {
	var failures []Failure
	for name, check := range s.checks {
		running := s.running[name]
		if running == nil {
			var err error
			if running, err = listen(name, check, s.addresses, s.healthy); err != nil {
				failures = append(failures, Failure{name, fmt.Errorf("health check node port %d: %w", check.Port, err)})
				continue
			}
			s.running[name] = running
		}
		running.ipv4.Store(int64(check.IPv4))
		running.ipv6.Store(int64(check.IPv6))
	}
	slices.SortFunc(failures, func(a, b Failure) int { return proxy.CompareNames(a.Name, b.Name) })
	return failures
}

// server answers for one Service, at one address of each kind or more.
type server struct {
	check      proxy.HealthCheck
	ipv4, ipv6 atomic.Int64
	servers    []*http.Server
	listeners  []net.Listener
}

// serves says that the server needs no other port or family for a check.
func (s *server) serves(check proxy.HealthCheck) bool {
	return s.check.Port == check.Port &&
		(s.check.IPv4 == proxy.NoFamily) == (check.IPv4 == proxy.NoFamily) &&
		(s.check.IPv6 == proxy.NoFamily) == (check.IPv6 == proxy.NoFamily)
}

// A balancer sends one small request and reads the answer.
const patience = 10 * time.Second

func listen(name proxy.Name, check proxy.HealthCheck, addresses []netip.Addr, healthy func() bool) (*server, error) {
	s := &server{check: check}
	for _, addr := range addresses {
		endpoints, network := &s.ipv4, "tcp4"
		if !addr.Is4() {
			endpoints, network = &s.ipv6, "tcp6"
		}
		if addr.Is4() && check.IPv4 == proxy.NoFamily || !addr.Is4() && check.IPv6 == proxy.NoFamily {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), network, netip.AddrPortFrom(addr, check.Port).String())
		if err != nil {
			s.close()
			return nil, err
		}
		server := &http.Server{Handler: answer{name, endpoints, healthy}, ReadHeaderTimeout: patience, IdleTimeout: patience}
		s.servers, s.listeners = append(s.servers, server), append(s.listeners, listener)
		go func() { _ = server.Serve(listener) }()
	}
	if len(s.servers) == 0 {
		return nil, errors.New("none of the node's addresses accepts NodePort traffic in the Service's families; see --nodeport-addresses")
	}
	return s, nil
}

func (s *server) close() {
	// A server that has only just been started does not know its listener yet.
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
	for _, server := range s.servers {
		_ = server.Close()
	}
}
