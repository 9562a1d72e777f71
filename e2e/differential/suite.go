package differential

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Suite is both sides and their API server.
type Suite struct {
	api          *testbed.ControlPlane
	outer        *testbed.Node
	theirs, ours *side
	markers      int
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
	if _, err := s.api.Node(ctx, NodeName, map[string]string{corev1.LabelTopologyZone: "zone-a"}, nodeAddrs[:2]...); err != nil {
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
	ip, err := mark(ctx, s.api.Client, s.markers)
	if err != nil {
		return err
	}
	for _, side := range []*side{s.theirs, s.ours} {
		err := testbed.Wait(limit, side.name+" to program a step", func() error {
			_, err := side.hosts["pod"].Ask("tcp", netip.AddrPortFrom(addr(ip), 80), 200*time.Millisecond)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w; it said:\n%s", err, side.proxy.Output())
		}
	}
	return unmark(ctx, s.api.Client, s.markers)
}

// Step makes the cluster what a step says and gives the differences. What differs
// at first sight is looked at again, thoroughly.
func (s *Suite) Step(ctx context.Context, services []Service) ([]Difference, error) {
	if err := apply(ctx, s.api.Client, services); err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	differences, err := s.differences(probes(services), quick)
	if err != nil || len(differences) == 0 {
		return nil, err
	}
	var again []Probe
	for _, d := range differences {
		again = append(again, d.Probe)
	}
	return s.differences(again, thorough)
}

func (s *Suite) differences(questions []Probe, e effort) ([]Difference, error) {
	// A question from a port that has been used shortly before would be part of
	// that flow, and go where it went.
	for _, side := range []*side{s.theirs, s.ours} {
		if _, err := side.node.Run("conntrack", "-F"); err != nil {
			return nil, err
		}
	}
	var theirs, ours Answers
	var errTheirs, errOurs error
	done := make(chan struct{})
	go func() {
		defer close(done)
		theirs, errTheirs = s.theirs.ask(questions, e)
	}()
	ours, errOurs = s.ours.ask(questions, e)
	<-done
	return compare(theirs, ours), errors.Join(errTheirs, errOurs)
}
