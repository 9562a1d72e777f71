package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// With externalTrafficPolicy Local, a node hands what comes from outside to its own
// pods, which see who asks, and drops it without any; load balancers are told which
// nodes have some. Nodes and pods have all pods.
func TestExternalTrafficPolicyLocal(t *testing.T) {
	s := newScene(t)
	s.served()
	pods := names(s.servers("web", 0, 2))
	svc := s.balanced("web")
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	s.create(svc)
	s.balance(svc, 0, s.worker)
	places := s.everywhere()
	out := places[4]
	s.programmed(svc, s.nodes()...)
	s.check(out, append(externals(svc), nodePorts(svc, "tcp", s.worker)...), "tcp", func(to frontend) error {
		if err := s.spread(out, "tcp", to.at, pods); err != nil {
			return err
		}
		a, err := out.askOnce("tcp", to.at)
		if err == nil && a.client != a.own {
			err = fmt.Errorf("the pod sees %s, and %s asks", a.client, a.own)
		}
		return err
	})
	s.check(out, nodePorts(svc, "tcp", s.control), "tcp", func(to frontend) error { return s.told(out, "tcp", to.at, errSilent) })
	for _, from := range places[:4] {
		s.check(from, append(externals(svc), clusterIPs(svc)...), "tcp", func(to frontend) error { return s.spread(from, "tcp", to.at, pods) })
	}

	for n, want := range map[*node]struct {
		status int
		body   string
	}{s.worker: {http.StatusOK, `"localEndpoints": 2`}, s.control: {http.StatusServiceUnavailable, `"localEndpoints": 0`}} {
		for _, subnet := range n.subnets {
			at := netip.AddrPortFrom(subnet.Addr(), uint16(svc.Spec.HealthCheckNodePort))
			s.eventually(fmt.Sprintf("load balancers to be told %s of %s", want.body, n.name), func() error {
				status, body, err := out.get(at, "/")
				if err == nil && (status != want.status || !strings.Contains(body, want.body)) {
					err = fmt.Errorf("they are told %d %s", status, body)
				}
				return err
			})
		}
	}

	t.Log("what went to the other node's pods comes back when the load balancer turns to it")
	for _, ip := range svc.Status.LoadBalancer.Ingress {
		s.route(netip.MustParseAddr(ip.IP), s.control)
	}
	s.check(out, externals(svc), "tcp", func(to frontend) error { return s.told(out, "tcp", to.at, errSilent) })
}

// With internalTrafficPolicy Local, cluster IPs lead to pods of the client's node, and
// nowhere without any.
func TestInternalTrafficPolicyLocal(t *testing.T) {
	s := newScene(t)
	s.served()
	pods := names(s.servers("web", 0, 2))
	svc := s.service("web")
	local := corev1.ServiceInternalTrafficPolicyLocal
	svc.Spec.InternalTrafficPolicy = &local
	s.create(svc)
	places := s.everywhere()
	for _, from := range []*place{places[1], places[3]} {
		s.check(from, clusterIPs(svc), "tcp", func(to frontend) error { return s.spread(from, "tcp", to.at, pods) })
	}
	s.programmed(svc, s.control)
	for _, from := range []*place{places[0], places[2]} {
		s.check(from, clusterIPs(svc), "tcp", func(to frontend) error { return s.told(from, "tcp", to.at, errSilent) })
	}
}

// loadBalancerSourceRanges let through who is in them, and drop others.
func TestSourceRanges(t *testing.T) {
	s := newScene(t)
	s.served()
	pods := names(s.servers("web", 1, 1))
	svc := s.balanced("web")
	svc.Spec.LoadBalancerSourceRanges = []string{"198.18.0.0/24", "2001:db8::/64"}
	s.create(svc)
	s.balance(svc, 0, s.control)
	out := s.out()
	s.programmed(svc, s.control)
	s.check(out, externals(svc), "tcp", func(to frontend) error { return s.told(out, "tcp", to.at, errSilent) })
	s.check(out, nodePorts(svc, "tcp", s.control), "tcp", func(to frontend) error { return s.spread(out, "tcp", to.at, pods) })
	s.change(svc, func() {
		for _, subnet := range s.control.subnets {
			svc.Spec.LoadBalancerSourceRanges = append(svc.Spec.LoadBalancerSourceRanges, subnet.Masked().String())
		}
	})
	s.check(out, externals(svc), "tcp", func(to frontend) error { return s.spread(out, "tcp", to.at, pods) })
}

// With session affinity a client comes to the same pod again, at all of a Service's
// addresses of a family, and to another when that pod is gone.
func TestSessionAffinity(t *testing.T) {
	s := newScene(t)
	s.served()
	s.servers("web", 2, 2)
	svc := s.balanced("web")
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s.create(svc)
	s.balance(svc, 0, s.control)
	places := s.everywhere()
	for _, from := range places[:2] {
		for i, to := range clusterIPs(svc) {
			var pod string
			s.eventually("an answer", func() error {
				a, err := from.askOnce("tcp", to.at)
				pod = a.pod
				return err
			})
			for range 20 {
				for _, to := range []frontend{to, externals(svc)[i]} {
					if err := s.spread(from, "tcp", to.at, []string{pod}); err != nil {
						t.Errorf("%s, which is at %s, asks %s: %v", from.what, pod, to.what, err)
					}
				}
			}
			left := slices.DeleteFunc(s.podsOf("web"), func(p *corev1.Pod) bool { return p.Name == pod || p.DeletionTimestamp != nil })
			if i == 0 {
				s.must(s.Delete(s.ctx, &corev1.Pod{ObjectMeta: metaOf(s.namespace, pod)}))
				s.eventually("another pod to answer", func() error {
					a, err := from.askOnce("tcp", to.at)
					if err == nil && !slices.Contains(names(left), a.pod) {
						err = fmt.Errorf("%s answers", a.pod)
					}
					return err
				})
			}
		}
	}
}

// programmed waits until nodes have all addresses of a Service in the kernel: before, a
// client gets no answer whatever the Service says.
func (s *scene) programmed(svc *corev1.Service, nodes ...*node) {
	s.t.Helper()
	for _, n := range nodes {
		s.eventually(n.name+" to have "+svc.Name, func() error {
			text, err := n.run("sh", "-c", "nft list map ip kube-verdict services; nft list map ip6 kube-verdict services")
			for _, to := range append(clusterIPs(svc), externals(svc)...) {
				if element := to.at.Addr().String() + " . tcp . 80 comment \"" + s.namespace + "/" + svc.Name + ":"; err == nil && !strings.Contains(text, element) {
					err = fmt.Errorf("%s is not in\n%s", to.at, text)
				}
			}
			return err
		})
	}
}

// check waits until each frontend gives a place what f wants, and wants it again then.
func (s *scene) check(from *place, all []frontend, protocol string, f func(to frontend) error) {
	s.t.Helper()
	errs := make([]error, len(all))
	var done sync.WaitGroup
	for i, to := range all {
		what := fmt.Sprintf("%s, asking %s (%s/%s)", from.what, to.what, to.at, protocol)
		done.Go(func() {
			errs[i] = testbed.Wait(limit, what, func() error { return f(to) })
			if errs[i] == nil {
				errs[i] = testbed.Wait(0, what, func() error { return f(to) })
			}
		})
	}
	done.Wait()
	s.must(errors.Join(errs...))
}

// get asks over HTTP.
func (p *place) get(at netip.AddrPort, path string) (status int, body string, err error) {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = p.Do(func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}}
	answer, err := c.Get("http://" + at.String() + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}
