package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Whatever becomes of the agent, no connection is lost, old or new, no client
// loses its endpoint, and what the next one makes of the kernel is what a first
// start would have.
func TestNothingIsLostWithTheAgent(t *testing.T) {
	w := newWorld(t)
	w.hostile()
	svc := w.everyWay("web", 1)
	sticky := w.service("sticky")
	sticky.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	w.create(sticky)
	pods := []*backend{w.backend("a", 1), w.backend("b", 2), w.backend("c", 3)}
	a := w.startReady()
	w.serviceLeadsTo(svc, pods...)
	w.settled()
	many := w.stickyClients(sticky)
	callers := w.call(w.everyCaller(svc)...)

	var flags []string
	for _, step := range []struct {
		what   string
		end    func()
		change []string // flags of the next one
	}{
		{what: "it ends and starts", end: func() { a.terminate() }},
		{what: "it is killed", end: func() { a.Kill() }},
		{what: "another configuration", end: func() { a.terminate() }, change: []string{"--masquerade-bit=9", "--masquerade-all"}},
		{what: "and back", end: func() { a.Kill() }, change: []string{}},
		{what: "another version had the tables", end: func() { a.terminate(); w.anotherVersion() }},
	} {
		step.end()
		if step.change != nil {
			flags = step.change
		}
		a = w.startReady(flags...)
		w.equalsFresh(flags...)
		if err := many.same(); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	t.Log(callers.stop())
}

// everyWay is a Service with every way in, over TCP and UDP in both families; the
// number makes its load balancer's addresses.
func (w *world) everyWay(name string, number int) *corev1.Service {
	w.t.Helper()
	svc := w.service(name)
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
		Name: "dns", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)})
	w.create(svc)
	w.balance(svc, number)
	return svc
}

// balance gives a Service load balancer addresses with that number.
func (w *world) balance(svc *corev1.Service, number int) {
	w.t.Helper()
	before := svc.DeepCopy()
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
		{IP: fmt.Sprintf("198.18.9.%d", number)}, {IP: fmt.Sprintf("fd00:198::9:%x", number)}}
	w.must(w.api.Client.Status().Patch(w.ctx, svc, client.MergeFrom(before)))
}

// everyCaller asks by every way into such a Service: by ClusterIP from a pod, by
// NodePort and load balancer address from outside.
func (w *world) everyCaller(svc *corev1.Service) (all []*caller) {
	w.t.Helper()
	if w.outside == nil {
		var err error
		w.outside, err = w.node.AddClient("outside", addr("198.18.7.2"), addr("fd00:198::7:2"))
		w.must(err)
	}
	for _, port := range svc.Spec.Ports {
		protocol := strings.ToLower(string(port.Protocol))
		add := func(what string, from *testbed.Host, to netip.Addr, port int32) {
			all = append(all, &caller{what: what + " of " + svc.Name, from: from.Namespace, protocol: protocol, to: netip.AddrPortFrom(to, uint16(port))})
		}
		for _, ip := range svc.Spec.ClusterIPs {
			add("ClusterIP", w.client, addr(ip), port.Port)
		}
		for _, ip := range svc.Status.LoadBalancer.Ingress {
			add("load balancer", w.outside, addr(ip.IP), port.Port)
		}
		for _, ip := range w.node.Addrs {
			add("NodePort", w.outside, ip, port.NodePort)
		}
	}
	return all
}

// stickyClients are clients of a Service with session affinity, and the endpoints
// that they have.
type stickyClients struct {
	host *testbed.Host
	svc  *corev1.Service
	have []string
}

func (w *world) stickyClients(svc *corev1.Service) *stickyClients {
	w.t.Helper()
	var addrs []string
	for i := range 8 {
		addrs = append(addrs, fmt.Sprintf("10.244.8.%d", i+1), fmt.Sprintf("fd00:10:244::8:%x", i+1))
	}
	c := &stickyClients{host: w.host("sticky-clients", addrs...), svc: svc}
	var err error
	c.have, err = c.ask()
	w.must(err)
	if first := slices.Compact(slices.Sorted(slices.Values(c.have))); len(first) < 3 {
		w.t.Fatalf("16 clients have only the endpoints %v", first)
	}
	return c
}

func (c *stickyClients) ask() (have []string, err error) {
	err = c.host.Do(func() error {
		for _, to := range frontends(c.svc) {
			for _, from := range c.host.Addrs {
				if from.Is4() != to.Addr().Is4() {
					continue
				}
				answer, err := (&testbed.Client{From: netip.AddrPortFrom(from, 0)}).Ask("tcp", to, patience)
				if err != nil {
					return err
				}
				have = append(have, answer.Server.Addr().String())
			}
		}
		return nil
	})
	return have, err
}

// same says who has another endpoint than at first.
func (c *stickyClients) same() error {
	now, err := c.ask()
	if err == nil && !slices.Equal(now, c.have) {
		err = fmt.Errorf("clients with session affinity had %v and have %v", c.have, now)
	}
	return err
}

// anotherVersion makes the tables what a version with another layout could have
// left: a set of another type, a base chain at another priority, a rule and a set
// that this one does not know.
func (w *world) anotherVersion() {
	w.t.Helper()
	w.must(w.nft(`
		add set ip kube-verdict forgotten { type ipv4_addr; elements = { 192.0.2.1 }; }
		add chain ip kube-verdict from-another { ip daddr @forgotten drop; }
		add chain ip6 kube-verdict nat-early { type nat hook prerouting priority -104; }
	`))
}

// nft loads a script in the node's namespace.
func (w *world) nft(script string) error {
	_, err := w.node.RunInput(strings.NewReader(script), "nft", "-f", "-")
	return err
}
