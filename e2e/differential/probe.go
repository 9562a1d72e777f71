package differential

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Probe is a question: what does a client at a vantage point get from an address?
type Probe struct {
	What     string // what the address is, for people
	From     string
	Protocol string
	To       netip.AddrPort
	Sticky   bool
	// Chance says that the source which a sticky client's endpoint sees depends on
	// which endpoint it is: itself, or the node's own.
	Chance bool
}

func (p Probe) String() string {
	return fmt.Sprintf("%s over %s from %s (%s)", p.What, p.Protocol, p.From, p.To)
}

// probes are the questions that a step raises.
func probes(services []Service) []Probe {
	var all []Probe
	ask := func(s Service, what, protocol, ip string, port int) {
		to := netip.AddrPortFrom(addr(ip), uint16(port))
		for _, from := range vantages {
			chance := from == "a" || slices.ContainsFunc(s.Endpoints, func(e Endpoint) bool { return e.Place == "n" })
			all = append(all, Probe{fmt.Sprintf("%s %s", s.name(), what), from, strings.ToLower(protocol), to, s.Affinity > 0, s.Affinity > 0 && chance})
		}
	}
	for _, s := range services {
		for _, f := range s.families() {
			for i, p := range s.Ports {
				ask(s, "ClusterIP", p.Protocol, s.address("cluster", f), p.Port)
				if i == 0 {
					ask(s, "undefined port", p.Protocol, s.address("cluster", f), p.Port+1000)
				}
				if s.External {
					ask(s, "external IP", p.Protocol, s.address("external", f), p.Port)
				}
				if s.Taken != "" && s.Taken != "multicast" {
					ask(s, s.Taken+"'s address", p.Protocol, s.taken(f), p.Port)
					ask(s, s.Taken+"'s own port", p.Protocol, s.taken(f), 8081)
				}
				if s.Balancer != "" {
					ask(s, "load balancer", p.Protocol, s.address("balancer", f), p.Port)
				}
				if n := s.nodePort(i); n > 0 {
					for j, a := range nodeAddrs {
						if a.Is4() == (f == "4") {
							ask(s, fmt.Sprintf("NodePort at address %d", j/2+1), p.Protocol, a.String(), n)
						}
					}
				}
			}
		}
	}
	for _, ip := range []string{"10.96.200.200", "fd00:10:96::dead"} {
		ask(Service{Number: 0}, "unallocated ClusterIP", "TCP", ip, 80)
	}
	return all
}

// Answers are what became of probes.
type Answers map[Probe]Answer

// Answer is what became of a probe.
type Answer struct {
	// Text is "refused", "unreachable", "forbidden", "silent", or who answered and
	// whom they saw, as in "a:8080@own c:8080@node".
	Text string
	// Hits is how often each of them answered.
	Hits map[string]int
}

// effort is how hard to look. A balanced Service here has five endpoints at most; to
// miss one of them in n tries, on either side, has a chance of 10 x 0.8^n. That is 5 %
// at first sight, which is why a difference counts only when a thorough look has it,
// too: there it is 10^-38. The patience there is for a machine that is busy.
type effort struct {
	tries    int
	patience time.Duration
}

var (
	quick    = effort{tries: 24, patience: 300 * time.Millisecond}
	thorough = effort{tries: 400, patience: 3 * time.Second}
)

// ask puts all questions to one side.
func (s *side) ask(questions []Probe, e effort) (Answers, error) {
	byVantage := map[string][]Probe{}
	for _, q := range questions {
		byVantage[q.From] = append(byVantage[q.From], q)
	}
	var mu sync.Mutex
	answers := Answers{}
	var wait sync.WaitGroup
	errs := make(chan error, len(byVantage))
	for from, list := range byVantage {
		wait.Go(func() {
			var next atomic.Int32
			errs <- s.hosts[from].Clients(4, func(c *testbed.Client) error {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(list) {
						return nil
					}
					answer := s.one(c, list[i], e)
					mu.Lock()
					answers[list[i]] = answer
					mu.Unlock()
				}
			})
		})
	}
	wait.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return answers, errors.Join(all...)
}

// one asks a question as often as it takes to meet every endpoint.
func (s *side) one(c *testbed.Client, p Probe, e effort) Answer {
	hits := map[string]int{}
	for range e.tries {
		got := s.once(c, p, e.patience)
		if !strings.Contains(got, "@") {
			return Answer{Text: got}
		}
		hits[got]++
	}
	if p.Sticky && len(hits) == 1 {
		for text := range hits {
			_, source, _ := strings.Cut(text, "@")
			if p.Chance {
				source = "any"
			}
			return Answer{"one endpoint@" + source, hits}
		}
	}
	return Answer{strings.Join(slices.Sorted(maps.Keys(hits)), " "), hits}
}

// once asks a question once.
func (s *side) once(c *testbed.Client, p Probe, patience time.Duration) string {
	if p.Protocol == "sctp" {
		return s.arrived(c, p, patience)
	}
	return answered(c, p, patience)
}

// answered is what becomes of one request.
func answered(c *testbed.Client, p Probe, patience time.Duration) string {
	answer, err := c.Ask(p.Protocol, p.To, patience)
	switch {
	case errors.Is(err, testbed.ErrRefused):
		return "refused"
	case errors.Is(err, testbed.ErrUnreachable):
		return "unreachable"
	case errors.Is(err, testbed.ErrTimeout):
		return "silent"
	case errors.Is(err, unix.EPERM):
		return "forbidden" // to UDP, in the node's own output
	case err != nil:
		return err.Error()
	}
	return who(answer.Server) + "@" + source(p.From, answer.Client.Addr())
}

// arrived is where an SCTP packet arrives. The kernel of the tests has no SCTP that
// would answer, so that no answer can't be told from a refusal.
func (s *side) arrived(c *testbed.Client, p Probe, patience time.Duration) string {
	tag, err := c.SendSCTP(p.To)
	if errors.Is(err, unix.EPERM) {
		return "refused" // at once, in the node's own output
	}
	if err != nil {
		return err.Error()
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Microsecond) {
		for place, catcher := range s.sctp {
			if a, ok := catcher.Seen(tag); ok {
				return fmt.Sprintf("%s:%d@%s", place, a.Port, source(p.From, a.From.Addr()))
			}
		}
		if time.Now().After(deadline) {
			return "nowhere"
		}
	}
}

// who is the place that a server is at, and its port.
func who(server netip.AddrPort) string {
	for place, addrs := range places {
		if slices.Contains(addrs, server.Addr()) {
			return fmt.Sprintf("%s:%d", place, server.Port())
		}
	}
	return server.String()
}

// source is whom the server saw: the client itself, or the node.
func source(from string, seen netip.Addr) string {
	own := places[from]
	if from == "node" {
		own = nil
	}
	switch {
	case slices.Contains(own, seen):
		return "own"
	case slices.Contains(nodeAddrs, seen):
		return "node"
	}
	return seen.String()
}
