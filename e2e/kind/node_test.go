package kind

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A node is restarted. Traffic that does not need it goes on; when it is back it has
// the rules again, and its pods are reached.
func TestNodeReboot(t *testing.T) {
	s := newScene(t)
	s.served()
	s.servers("stays", 2, 0)
	stays := s.balanced("stays")
	s.create(stays)
	s.balance(stays, 0, s.control)
	both := s.servers("both", 1, 1)
	svc := s.balanced("both")
	s.create(svc)
	s.balance(svc, 1, s.control)
	places := s.everywhere()
	var all []*caller
	for _, from := range []*place{places[0], places[2], places[4]} {
		for _, protocol := range []string{"tcp", "udp"} {
			list := append(externals(stays), nodePorts(stays, protocol, s.control)...)
			if from.what != "outside" {
				list = append(list, clusterIPs(stays)...)
			}
			for _, to := range list {
				all = append(all, &caller{from: from, protocol: protocol, to: to})
			}
		}
	}
	s.each([]*place{places[0], places[2], places[4]}, func(from *place) error {
		return s.reachable(from, stays, func(protocol string, to frontend) error {
			_, err := from.askOnce(protocol, to.at)
			return err
		})
	})
	callers := s.call(all...)

	before := s.restarts(s.worker)
	s.must(s.restart(s.worker))
	s.startedAgain(s.worker, before) // so that what the API server has of it is not from before
	s.shell("kubectl wait --for=condition=Ready --timeout=2m node/" + s.worker.name)
	s.agentsReady()
	callers.settle("after the restart")
	callers.stop()

	t.Log("its pods come back with new addresses")
	client := &corev1.Pod{ObjectMeta: metaOf(s.namespace, "client-worker")}
	for _, p := range []*corev1.Pod{both[1], client} {
		s.eventually(p.Name+" to be started again", func() error {
			err := s.Get(s.ctx, objectKey(p.Namespace, p.Name), p)
			if err == nil && (len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].RestartCount == 0) {
				err = errors.New("it has not been")
			}
			return err
		})
	}
	s.ready(append(both, client)...)
	s.each([]*place{places[0], s.in(client), places[2], s.on(s.worker), places[4]}, func(from *place) error {
		return s.reachable(from, svc, func(protocol string, to frontend) error { return s.spread(from, protocol, to.at, names(both)) })
	})
}

// restart restarts a node's container.
func (s *scene) restart(n *node) error {
	before := n.subnets
	if _, err := docker("restart", n.name); err != nil {
		return err
	}
	if err := n.inspect(); err != nil {
		return err
	}
	if fmt.Sprint(n.subnets) != fmt.Sprint(before) {
		return fmt.Errorf("%s was at %v, and is at %v", n.name, before, n.subnets)
	}
	return nil
}
