package differential

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Suite is both sides and their API server.
type Suite struct {
	api          *testbed.ControlPlane
	outer        *testbed.Node
	theirs, ours *side
	markers      int
	steps        int // so far
}

// NewSuite starts the API server and both sides, told alike. Program is ours; dir
// is for files.
func NewSuite(ctx context.Context, o options, program, dir string) (*Suite, error) {
	s := &Suite{}
	fail := func(err error) (*Suite, error) {
		s.Close()
		return nil, err
	}
	var err error
	if s.outer, err = testbed.NewNode(addr("10.240.0.1")); err != nil {
		return fail(err)
	}
	host, err := s.outer.AddClient("control-plane", addr("198.18.0.2"))
	if err != nil {
		return fail(err)
	}
	if s.api, err = testbed.StartControlPlane(testbed.ControlPlaneOptions{Host: host}); err != nil {
		return fail(err)
	}
	if err := s.api.Namespace(ctx, namespace); err != nil {
		return fail(err)
	}
	node, err := s.api.Node(ctx, NodeName, nil, nodeAddrs[:2]...)
	if err != nil {
		return fail(err)
	}
	if s.theirs, err = newSide("kube-proxy", s.api); err != nil {
		return fail(err)
	}
	if s.ours, err = newSide("kube-verdict", s.api); err != nil {
		return fail(err)
	}
	if err := errors.Join(s.theirs.startPeer(s.api, o, dir), s.ours.startOurs(s.api, o, program)); err != nil {
		return fail(err)
	}
	// kube-proxy misses the zone that its node has at the start when it hears of it
	// before its handler is registered (pkg/proxy/config.NodeTopologyConfig), and
	// then passes hints over. It does not miss a change.
	if err := s.settle(ctx); err != nil {
		return fail(err)
	}
	before := node.DeepCopy()
	node.Labels = map[string]string{corev1.LabelTopologyZone: "zone-a"}
	if err := s.api.Client.Patch(ctx, node, client.MergeFrom(before)); err != nil {
		return fail(err)
	}
	return s, nil
}

// Close ends all of it.
func (s *Suite) Close() {
	for _, side := range []*side{s.theirs, s.ours} {
		if side != nil {
			side.close()
		}
	}
	if s.api != nil {
		s.api.Stop()
	}
	if s.outer != nil {
		s.outer.Close()
	}
}

// limit is how long a node may take to program a step.
const limit = time.Minute

// settle waits until both sides have programmed all that has been written.
func (s *Suite) settle(ctx context.Context) error {
	s.markers++
	ips, err := mark(ctx, s.api.Client, s.markers)
	if err != nil {
		return err
	}
	for _, side := range []*side{s.theirs, s.ours} {
		for _, ip := range ips {
			err := testbed.Wait(limit, side.name+" to program a step", func() error {
				_, err := side.hosts["pod"].Ask("tcp", netip.AddrPortFrom(addr(ip), 80), 200*time.Millisecond)
				return err
			})
			if err != nil {
				return fmt.Errorf("%w; it said:\n%s", err, side.proxy.Output())
			}
		}
	}
	return unmark(ctx, s.api.Client, s.markers)
}

// handedOver waits until our side has given up the Services that are another proxy's:
// it serves them for some seconds more (see wanted).
func (s *Suite) handedOver(services []Service) error {
	for _, service := range services {
		if service.Proxy == "" {
			continue
		}
		err := testbed.Wait(limit, "our side to give "+service.name()+" up", func() error {
			ruleset, err := s.ours.node.Run("nft", "list", "ruleset")
			if err == nil && strings.Contains(ruleset, namespace+"/"+service.name()+":") {
				err = errors.New("it still serves it")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// bystander is a Service that never changes, with two endpoints of its own.
var bystander = Service{Number: 99, Ports: []Port{{"TCP", 80, 8080}}, Endpoints: []Endpoint{{Place: "b"}, {Place: "d"}}}

// bystanding asks the bystander on our side without a break until stop is called,
// which gives the first error.
func (s *Suite) bystanding() (stop func() error) {
	var failed error
	ended, done := make(chan struct{}), make(chan struct{})
	to := netip.AddrPortFrom(addr(bystander.address("cluster", "4")), 80)
	go func() {
		defer close(done)
		failed = s.ours.hosts["pod"].Clients(1, func(c *testbed.Client) error {
			for {
				select {
				case <-ended:
					return nil
				case <-time.After(time.Millisecond):
				}
				if _, err := c.Ask("tcp", to, 3*time.Second); err != nil {
					return err
				}
			}
		})
	}()
	return func() error {
		close(ended)
		<-done
		return failed
	}
}

// Step makes the cluster what a step says and gives the differences. Meanwhile no
// request to a Service that does not change may fail.
func (s *Suite) Step(ctx context.Context, services []Service) ([]Difference, error) {
	stop := s.bystanding()
	err := apply(ctx, s.api.Client, append([]Service{bystander}, services...))
	if err == nil {
		err = s.settle(ctx)
	}
	if err == nil {
		err = s.handedOver(services)
	}
	if failed := stop(); err == nil && failed != nil && s.steps > 0 {
		err = fmt.Errorf("a Service that did not change: %w", failed)
	}
	if err != nil {
		return nil, err
	}
	s.steps++
	return s.differences(probes(services), quick)
}

// Reset takes all Services away.
func (s *Suite) Reset(ctx context.Context) error {
	return apply(ctx, s.api.Client, []Service{bystander})
}

// differences are those between the two sides. What differs at first sight is looked
// at again, thoroughly: only what is left then is more than chance. A quick first
// sight is enough for who answers; where one of three endpoints gets half of the
// connections, it sees that more often than not.
func (s *Suite) differences(questions []Probe, e effort) ([]Difference, error) {
	first, err := s.look(questions, e)
	if err != nil {
		return nil, err
	}
	var again []Probe
	for _, d := range first.differences() {
		again = append(again, d.Probe)
	}
	for _, at := range first.shares() {
		if at.chance() < doubtful {
			again = append(again, at.probes...)
		}
	}
	if len(again) == 0 {
		return nil, nil
	}
	second, err := s.look(again, thorough)
	all := second.differences()
	for _, at := range second.shares() {
		if at.chance() < improbable {
			all = append(all, at.difference())
		}
	}
	return all, err
}

// look asks both sides.
func (s *Suite) look(questions []Probe, e effort) (sight, error) {
	// A question from a port that has been used shortly before would be part of
	// that flow, and go where it went.
	for _, side := range []*side{s.theirs, s.ours} {
		if _, err := side.node.Run("conntrack", "-F"); err != nil {
			return sight{}, err
		}
	}
	var now sight
	var errTheirs, errOurs error
	done := make(chan struct{})
	go func() {
		defer close(done)
		now.theirs, errTheirs = s.theirs.ask(questions, e)
	}()
	now.ours, errOurs = s.ours.ask(questions, e)
	<-done
	return now, errors.Join(errTheirs, errOurs)
}
