package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// What the API server keeps a tenant from: writing elsewhere, and the values of its own
// objects that would be the node's own.
func TestWhatATenantMayNot(t *testing.T) {
	w := newWorld(t)
	theirs := w.service("theirs")
	w.create(theirs)
	x := w.tenant()
	own := x.service("own")
	w.must(x.Create(w.ctx, own))

	other := x.service("other")
	other.Namespace = w.namespace
	x.forbidden("create a Service of another namespace", x.Create(w.ctx, other))
	x.forbidden("read one", x.Get(w.ctx, client.ObjectKeyFromObject(theirs), &corev1.Service{}))
	x.forbidden("delete one", x.Delete(w.ctx, theirs))
	x.forbidden("give another namespace's Service endpoints", x.Create(w.ctx, w.slice(theirs, "10.244.0.1")))
	before := own.DeepCopy()
	own.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	x.forbidden("give its Service a load balancer's address", x.Status().Patch(w.ctx, own, client.MergeFrom(before)))
	x.forbidden("read Nodes", x.List(w.ctx, &corev1.NodeList{}))
	x.forbidden("create an Event", x.Create(w.ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: "e"}}))

	for _, bad := range []string{"127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "fe80::1", "224.0.0.1"} {
		svc := x.service("external")
		svc.Spec.ExternalIPs = []string{bad}
		if err := refusedByAPI(x.Create(w.ctx, svc)); err != nil {
			t.Errorf("external IP %s: %v", bad, err)
		}
		slice := w.slice(own, bad)
		if addr(bad).Is6() {
			slice.AddressType = discoveryv1.AddressTypeIPv6
		}
		if err := refusedByAPI(x.Create(w.ctx, slice)); err != nil {
			t.Errorf("endpoint %s: %v", bad, err)
		}
	}
	taken := x.service("taken")
	taken.Spec.ClusterIP = theirs.Spec.ClusterIP
	if err := refusedByAPI(x.Create(w.ctx, taken)); err != nil {
		t.Errorf("another Service's ClusterIP: %v", err)
	}
	taken.Spec.ClusterIP = "192.0.2.1"
	if err := refusedByAPI(x.Create(w.ctx, taken)); err != nil {
		t.Errorf("a ClusterIP of no ServiceCIDR: %v", err)
	}
}

// A multicast address is taken by the API server, and is of no use: its Service is told,
// and nothing of others waits for it, also over a restart of the agent.
func TestATenantsMulticastAddress(t *testing.T) {
	b, x := newTenancy(t)
	svc := x.service("multicast")
	svc.Spec.ExternalIPs = []string{"239.1.2.3", "ff05::1"}
	x.serves(svc, b.pods[0].at4)
	x.leads(svc, b.pods[0].at4)
	x.tells(svc, "InvalidAddress")
	b.unharmed("a tenant has multicast addresses")

	// What goes while no agent runs.
	gone := b.service("gone")
	b.create(gone)
	b.sliced(gone)
	b.serviceLeadsTo(gone, b.pods...)
	b.agent.terminate()
	b.must(b.api.Client.Delete(b.ctx, gone))
	b.agent = b.startReady()
	b.leaves(gone)
	b.unharmed("the agent was restarted")
	x.gone(svc)
	b.done()
}

// Load balancers' controllers write addresses that are of no use here, and a tenant takes
// ports away from such a Service: they are free for others at once, and nothing of others
// waits for it.
func TestATenantsUselessLoadBalancer(t *testing.T) {
	b, x := newTenancy(t)
	svc := x.service("balanced")
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "more", Port: 81, TargetPort: intstr.FromInt32(8080)})
	x.serves(svc, b.pods[0].at4)
	slice := b.slice(svc)
	b.must(x.Get(b.ctx, client.ObjectKeyFromObject(slice), slice))
	name, port := "more", int32(8080)
	slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	b.must(x.Update(b.ctx, slice))
	before := svc.DeepCopy()
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "127.0.0.1"}, {IP: "169.254.7.7"}}
	b.must(b.api.Client.Status().Patch(b.ctx, svc, client.MergeFrom(before)))
	nodePort := svc.Spec.Ports[1].NodePort
	at := netip.AddrPortFrom(b.node.Addrs[0], uint16(nodePort))
	b.leadsTo(at, b.pods[0].at4)
	b.unharmed("a tenant's load balancer is at useless addresses")

	before = svc.DeepCopy()
	svc.Spec.Ports = svc.Spec.Ports[:1]
	b.must(x.Patch(b.ctx, svc, client.MergeFrom(before)))
	b.leadsTo(at, refused)
	next := b.service("next")
	next.Spec.Type = corev1.ServiceTypeNodePort
	next.Spec.Ports[0].NodePort = nodePort
	b.create(next)
	b.sliced(next)
	b.leadsTo(at, b.pods[0].at4, b.pods[1].at4, b.pods[2].at4)
	b.restart()
	b.leadsTo(at, b.pods[0].at4, b.pods[1].at4, b.pods[2].at4)
	b.unharmed("the agent was restarted")
	x.gone(svc)
	b.done()
}

// An external IP is any address that no Service was allocated: a tenant gets what the
// cluster sends there. Addresses and ports that the API server allocates to others are
// theirs, however old the tenant's Service is.
func TestATenantSquats(t *testing.T) {
	b, x := newTenancy(t)
	evil := b.host("evil", "10.244.7.7")
	server, err := evil.Serve("tcp", netip.MustParseAddrPort("10.244.7.7:8080"))
	b.must(err)
	t.Cleanup(server.Close)
	const clusterIP, nodePort = "10.96.77.71", 30777
	squat := x.service("squat")
	squat.Spec.ExternalIPs = []string{clusterIP, "203.0.113.7", b.node.Addrs[0].String()}
	squat.Spec.Ports = append(squat.Spec.Ports, corev1.ServicePort{Name: "node", Port: nodePort, TargetPort: intstr.FromInt32(8080)})
	x.serves(squat, "10.244.7.7")
	slice := b.slice(squat)
	b.must(x.Get(b.ctx, client.ObjectKeyFromObject(slice), slice))
	name, port := "node", int32(8080)
	slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	b.must(x.Update(b.ctx, slice))
	for _, to := range []string{"203.0.113.7:80", clusterIP + ":80", fmt.Sprintf("%s:%d", b.node.Addrs[0], nodePort)} {
		b.leadsTo(netip.MustParseAddrPort(to), "10.244.7.7")
	}
	b.secondPasses(squat)

	next := b.service("next")
	next.Spec.Type, next.Spec.ClusterIP = corev1.ServiceTypeNodePort, clusterIP
	next.Spec.Ports[0].NodePort = nodePort
	b.create(next)
	b.sliced(next)
	b.serviceLeadsTo(next, b.pods...)
	b.leadsTo(netip.AddrPortFrom(b.node.Addrs[0], nodePort), b.pods[0].at4, b.pods[1].at4, b.pods[2].at4)
	x.tells(squat, "FrontendConflict")
	b.restart()
	b.serviceLeadsTo(next, b.pods...)
	b.unharmed("a tenant squats")
	x.gone(squat)
	b.done()
}

// A tenant's endpoints may be anybody's Pods and nodes. When they go, those others lose
// neither a flow nor a client.
func TestATenantsEndpointsAreOthers(t *testing.T) {
	b, x := newTenancy(t)
	svc := x.service("theirs")
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	svc.Spec.Ports = []corev1.ServicePort{
		{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)},
		{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)},
	}
	b.must(x.Create(b.ctx, svc))
	slice := b.slice(svc, b.pods[0].at4, b.pods[1].at4)
	name, protocol, port := "dns", corev1.ProtocolUDP, int32(8080)
	slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port})
	b.must(x.Create(b.ctx, slice))
	b.eventually("a Pod of another namespace to answer", func() error {
		_, err := b.client.Ask("tcp", frontends(svc)[0], patience)
		return err
	})
	for range 5 {
		for _, addrs := range [][]string{{b.pods[2].at4}, {b.node.Addrs[0].String()}, {}, {b.pods[0].at4, b.pods[1].at4}} {
			slice.Endpoints = nil
			for _, a := range addrs {
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
			}
			b.must(x.Update(b.ctx, slice))
		}
	}
	b.unharmed("a tenant's endpoints were others' Pods, and are no longer")
	x.gone(svc)
	b.done()
}

// The longest names that the API server takes are programmed and removed like others,
// and two that begin alike are two.
func TestATenantsNames(t *testing.T) {
	b, x := newTenancy(t)
	long := strings.Repeat("x", 62)
	var all []*corev1.Service
	for i, end := range []string{"a", "b"} {
		svc := x.service(long + end)
		svc.Annotations = map[string]string{"service.kubernetes.io/topology-mode": strings.Repeat("\x1b[31m\"; flush ruleset; \"", 1000)}
		svc.Labels = map[string]string{"kubeverdict.io/serve": "Yes.-_x"}
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		svc.Spec.Ports = nil
		slice := b.slice(svc, b.pods[i].at4)
		slice.Name, slice.Ports = strings.Repeat("s", 240)+end, nil
		for _, port := range []string{"p", "q"} {
			name, number := strings.Repeat("p", 62)+port, int32(8080)
			svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: name, Port: 80 + int32(len(svc.Spec.Ports)), TargetPort: intstr.FromInt32(8080)})
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &number})
		}
		b.must(x.Create(b.ctx, svc))
		b.must(x.Create(b.ctx, slice))
		all = append(all, svc)
	}
	for i, svc := range all {
		x.leads(svc, b.pods[i].at4)
		b.leadsTo(netip.AddrPortFrom(addr(svc.Spec.ClusterIP), 81), b.pods[i].at4)
	}
	b.restart()
	x.gone(all[0])
	x.leads(all[1], b.pods[1].at4)
	b.unharmed("a tenant has the longest names")
	x.gone(all[1])
	b.done()
}

// A Service that would take more of each node than one may is refused as a whole and
// told so; nothing of others is.
func TestATenantsLargeService(t *testing.T) {
	b, x := newTenancy(t)
	svc := x.service("large")
	svc.Spec.Ports = nil
	slice := b.slice(svc)
	slice.Ports = nil
	for i := range 1000 {
		svc.Spec.ExternalIPs = append(svc.Spec.ExternalIPs, fmt.Sprintf("198.19.%d.%d", i/250, 1+i%250))
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.200.%d.%d", i/250, 1+i%250)}})
	}
	for i := range 100 {
		name, port := fmt.Sprintf("p-%d", i), int32(1+i)
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: name, Port: port})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	}
	b.must(x.Create(b.ctx, svc))
	b.must(x.Create(b.ctx, slice))
	x.tells(svc, "TooManyElements")
	b.unharmed("a tenant has a Service of 100 000 000 elements")
	b.restart()
	b.unharmed("the agent was restarted")
	x.gone(svc)
	b.done()
}

// Many Services of a tenant, which change all the time in all ways that it may write,
// hold up nobody's change, and leave nothing that a first start would not have.
func TestATenantsChurn(t *testing.T) {
	b, x := newTenancy(t)
	const writers, services = 4, 25
	// Between two changes the tables can be read, which takes a few milliseconds.
	const pause = 50 * time.Millisecond
	ended, end := context.WithCancel(b.ctx)
	t.Cleanup(end)
	var all errgroup.Group
	var changes atomic.Int64
	for n := range writers {
		all.Go(func() error {
			r := rand.New(rand.NewPCG(uint64(n), 0))
			for turn := 0; ; turn++ {
				select {
				case <-ended.Done():
					return nil
				case <-time.After(pause):
				}
				if err := x.change(r, fmt.Sprintf("churn-%d-%d", n, turn%services)); err != nil {
					return err
				}
				changes.Add(1)
			}
		})
	}
	for i := range 3 {
		b.unharmed(fmt.Sprintf("a tenant changes Services all the time: %d", i))
	}
	end()
	b.must(all.Wait())
	b.settled()
	b.unharmed("a tenant has changed Services")
	b.equalsFresh()
	t.Logf("%d changes", changes.Load())
	b.done()
}

// change creates, changes or deletes a Service and its slice.
func (x *tenant) change(r *rand.Rand, name string) error {
	ctx := x.w.ctx
	svc := x.service(name)
	slice := x.w.slice(svc)
	for range r.IntN(30) {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.201.%d.%d", r.IntN(4), 1+r.IntN(250))}})
	}
	if r.IntN(4) == 0 {
		return errors.Join(client.IgnoreNotFound(x.Delete(ctx, svc)), client.IgnoreNotFound(x.Delete(ctx, slice)))
	}
	if r.IntN(2) == 0 {
		timeout := 1 + r.Int32N(86400)
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
	}
	switch r.IntN(4) {
	case 0:
		svc.Labels = map[string]string{labelProxyName: "another"}
	case 1:
		svc.Spec.Type = corev1.ServiceTypeNodePort
	case 2:
		svc.Spec.ExternalIPs = []string{fmt.Sprintf("239.1.2.%d", 1+r.IntN(9)), fmt.Sprintf("198.19.0.%d", 1+r.IntN(20))}
	}
	had, hadSlice := &corev1.Service{}, &discoveryv1.EndpointSlice{}
	err := x.Get(ctx, client.ObjectKeyFromObject(svc), had)
	switch {
	case apierrors.IsNotFound(err):
		err = x.Create(ctx, svc)
	case err == nil:
		svc.ResourceVersion, svc.Spec.ClusterIP, svc.Spec.ClusterIPs = had.ResourceVersion, had.Spec.ClusterIP, had.Spec.ClusterIPs
		err = x.Update(ctx, svc)
	}
	if err != nil {
		return err
	}
	err = x.Get(ctx, client.ObjectKeyFromObject(slice), hadSlice)
	switch {
	case apierrors.IsNotFound(err):
		return x.Create(ctx, slice)
	case err != nil:
		return err
	}
	slice.ResourceVersion = hadSlice.ResourceVersion
	return x.Update(ctx, slice)
}

// The API server's own address and port are those of default/kubernetes, though no Service
// was allocated them: what the node sends there does not go to a tenant's pods, and an agent
// that starts meanwhile reaches the API server.
func TestATenantWantsTheAPIServersAddress(t *testing.T) {
	b, x := newTenancy(t)
	at, err := url.Parse(b.api.Config.Host)
	b.must(err)
	port, err := strconv.Atoi(at.Port())
	b.must(err)
	svc := x.service("api-server")
	svc.Spec.ExternalIPs = []string{at.Hostname()}
	svc.Spec.Ports[0].Port = int32(port)
	b.must(x.Create(b.ctx, svc))
	b.must(x.Create(b.ctx, b.slice(svc, b.pods[0].at4)))
	served := netip.AddrPortFrom(addr(svc.Spec.ClusterIP), uint16(port))
	b.leadsTo(served, b.pods[0].at4)
	x.tells(svc, "FrontendConflict")
	b.restart()
	b.unharmed("a tenant wants the API server's address")
	b.leadsTo(served, b.pods[0].at4)
	x.gone(svc)
	b.done()
}

// Thousands of clients of a tenant's Service are remembered, and forgotten when its
// endpoints go. Others' clients keep theirs.
func TestATenantsManyClients(t *testing.T) {
	b, x := newTenancy(t)
	crowd := b.host("crowd", "10.244.6.6")
	b.must(crowd.Take(netip.MustParsePrefix("10.245.0.0/16")))
	svc := x.service("crowded")
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	x.serves(svc, b.pods[0].at4)
	x.leads(svc, b.pods[0].at4)
	const clients = 2000
	b.must(crowd.Do(func() error {
		for i := range clients {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 245, byte(i >> 8), byte(i)}), 0)
			if _, err := (&testbed.Client{From: from}).Ask("tcp", frontends(svc)[0], patience); err != nil {
				return err
			}
		}
		return nil
	}))
	b.unharmed("a tenant has many clients")
	slice := b.slice(svc)
	for _, a := range []string{b.pods[1].at4, b.pods[2].at4} {
		b.must(x.Get(b.ctx, client.ObjectKeyFromObject(slice), slice))
		slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{a}}}
		b.must(x.Update(b.ctx, slice))
		x.leads(svc, a)
		b.unharmed("a tenant's endpoint is another")
	}
	x.gone(svc)
	b.done()
}

// Wrong values that change all the time are told in Events of that Service, and others'
// Events come as ever.
func TestATenantsWrongValues(t *testing.T) {
	b, x := newTenancy(t)
	svc := x.service("wrong")
	svc.Spec.ExternalIPs = []string{"239.1.2.3"}
	x.serves(svc, b.pods[0].at4)
	x.tells(svc, "InvalidAddress")
	const updates = 200
	for i := range updates {
		before := svc.DeepCopy()
		svc.Spec.ExternalIPs = []string{fmt.Sprintf("239.1.3.%d", i)}
		b.must(x.Patch(b.ctx, svc, client.MergeFrom(before)))
	}
	b.unharmed("a tenant's values are wrong in another way each time")
	found, err := x.events(b.ctx, svc)
	b.must(err)
	t.Logf("%d updates: Events %v", updates, found)
	if found["InvalidAddress"] > 2 {
		t.Errorf("for %d updates there are Events %v", updates, found)
	}
	x.gone(svc)
	b.done()
}
