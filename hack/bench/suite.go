package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// options are what a run does.
type options struct {
	sizes     []size
	peers     []*peer
	scenarios map[string]bool
	rounds    int
	full      int // rounds in which all is measured
	// budget is about how long a run may take: rounds after the first are left out at
	// the sizes for which there is no time.
	budget time.Duration
	// patience is how long a proxy may take for anything.
	patience time.Duration

	idle, churn, connections time.Duration
	singles                  int
	singleTime               time.Duration // after which no further single change is begun
	batches                  int           // of first packets, per destination
	rolling                  []int         // endpoints of Services that are replaced
	rollingSize              size          // of the cluster meanwhile
	writerSizes              []size
	writerLoads              int
	writerChanges            int
}

// needsCluster says that there is more to do than the writer alone.
func (o *options) needsCluster() bool {
	for name, wanted := range o.scenarios {
		if wanted && name != writerScenario {
			return true
		}
	}
	return false
}

// suite is a run.
type suite struct {
	// failures are of rounds, which others go on after.
	failures []error
	command  string
	options  options
	recorder *recorder
	progress *progress
	begun    time.Duration // from the start until the first size's turn
}

// run measures all that the options want.
func (s *suite) run(ctx context.Context) error {
	if err := s.aboutMachine(); err != nil {
		return err
	}
	if s.options.needsCluster() {
		s.progress.of = len(s.options.sizes) * s.options.rounds * len(s.options.peers)
	}
	if s.options.scenarios[writerScenario] {
		for _, size := range s.options.writerSizes {
			if err := s.writer(ctx, size); err != nil {
				return err
			}
		}
	}
	if !s.options.needsCluster() {
		return nil
	}
	s.progress.tell("starting an API server")
	c, err := newCluster(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	s.begun = time.Since(s.progress.start)
	for n, size := range s.options.sizes {
		if err := s.atSize(ctx, c, n, size); err != nil {
			return err
		}
	}
	return errors.Join(s.failures...)
}

func (s *suite) atSize(ctx context.Context, c *cluster, n int, size size) error {
	last := time.Now()
	err := c.becomes(ctx, size, func(done, of int) {
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			s.progress.tell("%s: %d of %d Services written", size, done, of)
		}
	})
	if err != nil {
		return err
	}
	share := s.share(n)
	peers := s.options.peers
	for number := 1; number <= s.options.rounds; number++ {
		inTime, next, err := s.atRound(ctx, c, number, peers)
		if err != nil {
			return err
		}
		rest := s.options.rounds - number
		s.progress.of -= rest * (len(peers) - len(inTime))
		peers = inTime
		if len(peers) == 0 {
			break
		}
		if rest > 0 && time.Since(s.progress.start)+next > share {
			s.progress.of -= rest * len(peers)
			s.progress.tell("%s: no time for more than %d of %d rounds", size, number, s.options.rounds)
			break
		}
	}
	return nil
}

// atRound measures each of the peers once, and says which started in time, and how long
// another round with them takes. Who did not start in time would not the next time either.
func (s *suite) atRound(ctx context.Context, c *cluster, number int, peers []*peer) (inTime []*peer, next time.Duration, err error) {
	// The order changes, so that nobody is always first.
	var order []*peer
	for i := range peers {
		order = append(order, peers[(i+number-1)%len(peers)])
	}
	for _, peer := range append([]*peer{nil}, order...) {
		r := &round{suite: s, c: c, peer: peer, number: number}
		if err := r.run(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, 0, ctx.Err()
			}
			// What others do is worth knowing all the same.
			r.tell("failed: %v", err)
			s.failures = append(s.failures, err)
		}
		if peer != nil {
			s.progress.done++
		}
		if r.late {
			continue
		}
		next += r.again
		if peer != nil {
			inTime = append(inTime, peer)
		}
	}
	return inTime, next, nil
}

// share is when the rounds of the n-th size should be over: larger ones take longer. The
// writer has had its time before.
func (s *suite) share(n int) time.Duration {
	weight := func(sizes []size) (sum float64) {
		for _, size := range sizes {
			sum += 1 + float64(size.total())/50_000
		}
		return sum
	}
	return s.begun + time.Duration(float64(s.options.budget-s.begun)*weight(s.options.sizes[:n+1])/weight(s.options.sizes))
}

// aboutMachine records where this is measured, and how to do it again.
func (s *suite) aboutMachine() error {
	cpu := "unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	for _, fact := range [][2]string{
		{"date", time.Now().UTC().Format(time.DateTime + " UTC")},
		{"command", s.command},
		{"commit", said("git", "describe", "--always", "--dirty")},
		{"processor", fmt.Sprintf("%d x %s", runtime.NumCPU(), cpu)},
		{"memory", fmt.Sprintf("%.0f GiB", float64(kilobytes(string(memory), "MemTotal"))/(1<<30))},
		{"kernel", kernelRelease()},
		{"Go", runtime.Version()},
		{"nft", said("nft", "--version")},
		{"iptables", said("iptables", "--version")},
		{"kube-proxy", kubeProxyVersion()},
		{"load before", load()},
	} {
		if err := s.recorder.add(record{scenario: about, what: fact[0], text: fact[1]}); err != nil {
			return err
		}
	}
	return nil
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// said is the first line of what a program says.
func said(name string, args ...string) string {
	text, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// progress tells what is under way, how much is done, and how long it may still take.
type progress struct {
	to       io.Writer
	start    time.Time
	budget   time.Duration
	done, of int // starts of a proxy with all that comes after
}

func (p *progress) tell(format string, args ...any) {
	elapsed := time.Since(p.start).Round(time.Second)
	_, _ = fmt.Fprintf(p.to, "%d/%d, %s, about %d min left: %s\n", p.done, p.of, elapsed,
		max(1, int((p.budget-elapsed).Minutes()+1)), fmt.Sprintf(format, args...))
}
