package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Everybody reaches a Service by all of its addresses, over both families and
// protocols, and all of its pods answer.
func TestServiceTypes(t *testing.T) {
	s := newScene(t)
	s.served()
	pods := names(s.servers("web", 2, 2))
	svc := s.balanced("web")
	for _, a := range s.spare(1) {
		svc.Spec.ExternalIPs = append(svc.Spec.ExternalIPs, a.String())
		s.route(a, s.worker)
	}
	s.create(svc)
	s.balance(svc, 0, s.control)

	places := s.everywhere()
	s.each(places, func(from *place) error {
		return s.reachable(from, svc, func(protocol string, to frontend) error { return s.spread(from, protocol, to.at, pods) })
	})

	t.Log("names are found by the cluster's DNS, asked at its cluster IP")
	headless := s.service("headless")
	headless.Spec.Selector, headless.Spec.ClusterIP = svc.Spec.Selector, corev1.ClusterIPNone
	s.create(headless)
	alias := s.service("alias")
	alias.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: s.name("headless")}
	s.create(alias)
	var podIPs []string
	for _, p := range s.podsOf("web") {
		for _, ip := range p.Status.PodIPs {
			podIPs = append(podIPs, ip.IP)
		}
	}
	for _, from := range places[:4] {
		s.resolves(from, "web", svc.Spec.ClusterIPs)
		s.resolves(from, "headless", podIPs)
		s.resolves(from, "alias", podIPs)
	}
	for _, ip := range podIPs {
		if _, err := places[0].askOnce("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), 8080)); err != nil {
			t.Errorf("a headless Service's pod: %v", err)
		}
	}
}

// A Pod that is its Service's only one reaches itself.
func TestHairpin(t *testing.T) {
	s := newScene(t)
	s.served()
	pod := s.servers("web", 0, 1)[0]
	svc := s.balanced("web")
	s.create(svc)
	s.balance(svc, 0, s.worker)
	self := s.in(pod)
	s.must(s.reachable(self, svc, func(protocol string, to frontend) error {
		return s.spread(self, protocol, to.at, []string{pod.Name})
	}))
}

// each calls f for all places at once.
func (s *scene) each(places []*place, f func(from *place) error) {
	s.t.Helper()
	errs := make([]error, len(places))
	var all sync.WaitGroup
	for i, from := range places {
		all.Go(func() { errs[i] = f(from) })
	}
	all.Wait()
	s.must(errors.Join(errs...))
}

// reachable waits until a check succeeds for each address that a Service has for a
// place, in both protocols, and wants that it then succeeds again. The outside knows no
// way to cluster IPs.
func (s *scene) reachable(from *place, svc *corev1.Service, check func(protocol string, to frontend) error) error {
	for _, patiently := range []time.Duration{limit, 0} {
		for _, protocol := range []string{"tcp", "udp"} {
			all := append(externals(svc), nodePorts(svc, protocol, s.nodes()...)...)
			if from.what != "outside" {
				all = append(all, clusterIPs(svc)...)
			}
			for _, to := range all {
				what := fmt.Sprintf("%s, asking %s (%s/%s)", from.what, to.what, to.at, protocol)
				if err := testbed.Wait(patiently, what, func() error { return check(protocol, to) }); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// name is a Service's in the DNS.
func (s *scene) name(service string) string {
	return service + "." + s.namespace + ".svc.cluster.local"
}

// resolves wants that a Service's name has these addresses.
func (s *scene) resolves(from *place, service string, want []string) {
	s.t.Helper()
	dns := &corev1.Service{}
	s.must(s.Get(s.ctx, objectKey("kube-system", "kube-dns"), dns))
	slices.Sort(want)
	for _, at := range dns.Spec.ClusterIPs {
		for _, protocol := range []string{"tcp", "udp"} {
			resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
				err = from.Do(func() error {
					conn, err = (&net.Dialer{Timeout: patience}).DialContext(ctx, protocol, net.JoinHostPort(at, "53"))
					return err
				})
				return conn, err
			}}
			s.eventually(fmt.Sprintf("%s to learn of %s from %s (%s)", from.what, service, at, protocol), func() error {
				ctx, stop := context.WithTimeout(s.ctx, patience)
				defer stop()
				got, err := resolver.LookupHost(ctx, s.name(service)+".")
				if slices.Sort(got); err == nil && !slices.Equal(got, want) {
					err = fmt.Errorf("it is at %v, want %v", got, want)
				}
				if err != nil {
					time.Sleep(time.Second) // the server remembers for some seconds that there was nothing
				}
				return err
			})
		}
	}
}

// A Service without Pods is refused at once, by whichever address; a port that it
// does not have, too.
func TestNothingToServe(t *testing.T) {
	s := newScene(t)
	s.served()
	svc := s.balanced("empty")
	s.create(svc)
	s.balance(svc, 0, s.control)
	s.each(s.everywhere(), func(from *place) error {
		if from.what != "outside" {
			for _, to := range clusterIPs(svc) {
				// Until the node knows the Service, what goes to its address is dropped.
				if err := testbed.Wait(limit, "a port that is not there", func() error {
					return s.told(from, "tcp", netip.AddrPortFrom(to.at.Addr(), 81), errRefused)
				}); err != nil {
					return err
				}
			}
		}
		return s.reachable(from, svc, func(protocol string, to frontend) error { return s.told(from, protocol, to.at, errRefused) })
	})
}

// told wants that a place gets this error when it asks.
func (s *scene) told(from *place, protocol string, to netip.AddrPort, want error) error {
	wait := patience
	if want == errSilent {
		wait = silence
	}
	a, err := from.askWithin(wait, protocol, to)
	if err == nil {
		return fmt.Errorf("%s answers", a.pod)
	}
	if !errors.Is(err, want) {
		return fmt.Errorf("it is told %q, want \"%v\"", err, want)
	}
	return nil
}
