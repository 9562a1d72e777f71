package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hostile makes the worst Services that one may write, and gives what their Events say.
func (w *world) hostile() map[*corev1.Service]string {
	told := w.useless()
	told[w.large("huge", 1000, 100, 100)] = "(maxServiceElements)"
	return told
}

// useless makes Services with addresses that no proxy can serve, and gives what their
// Events say.
func (w *world) useless() map[*corev1.Service]string {
	odd := w.service("odd-address")
	odd.Spec.Selector, odd.Spec.ExternalIPs = nil, []string{"239.1.2.3", "ff05::1"}
	w.create(odd)

	balancer := w.service("balancer")
	balancer.Spec.Type, balancer.Spec.Selector = corev1.ServiceTypeLoadBalancer, nil
	w.create(balancer)
	before := balancer.DeepCopy()
	balancer.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "127.0.0.1"}, {IP: "169.254.169.254"}}
	w.must(w.api.Client.Status().Patch(w.ctx, balancer, client.MergeFrom(before)))
	return map[*corev1.Service]string{
		odd: "239.1.2.3 is a multicast address", balancer: "127.0.0.1 is a loopback address",
	}
}

// large makes a Service with a thousand endpoints, at addresses that begin with
// 198.18.first.
func (w *world) large(name string, externalIPs, ports, first int) *corev1.Service {
	svc := w.service(name)
	svc.Spec.Selector, svc.Spec.Ports = nil, nil
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: w.namespace, Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range externalIPs {
		svc.Spec.ExternalIPs = append(svc.Spec.ExternalIPs, fmt.Sprintf("198.18.%d.%d", first+i>>8, i&255))
	}
	for i := range 1000 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.%d", 100+i>>8, i&255)}})
	}
	for i := range ports {
		name, port := fmt.Sprintf("p%d", i), int32(1+i)
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: name, Port: port})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	}
	w.create(svc)
	w.create(slice)
	return svc
}

// bounded has the kernel give a process no more memory than a gibibyte. One with the
// race detector has more from the start.
func (a *agent) bounded() {
	a.w.t.Helper()
	if a.memory("VmData") > 1<<20 {
		return
	}
	a.w.must(unix.Prlimit(a.Pid(), unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}, nil))
}

// memory is a line of the process' status, in KiB.
func (a *agent) memory(line string) int {
	a.w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Pid()))
	a.w.must(err)
	found := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		a.w.t.Fatalf("no %s in\n%s", line, text)
	}
	n, err := strconv.Atoi(string(found[1]))
	a.w.must(err)
	return n
}

// Whatever Services a tenant writes, those of others are programmed, follow their
// endpoints, keep their addresses and leave nothing behind; also over a restart.
func TestATenantsTroubleIsItsOwn(t *testing.T) {
	w := newWorld(t)
	told := w.hostile()
	a, b := w.backend("a", 1), w.backend("b", 2)
	web, gone := w.service("web"), w.service("gone")
	web.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	w.create(web)
	w.create(gone)
	agent := w.start()
	agent.bounded()
	agent.waitReady()
	w.leadsTo(frontends(gone)[0], a.at4, b.at4)
	for svc, words := range told {
		w.describes(svc, words)
	}

	// A client leaves an endpoint that has gone, whatever else there is.
	first, err := w.reached(frontends(web)[0])
	w.must(err)
	leaves, stays := a, b
	if first == b.at4 {
		leaves, stays = b, a
	}
	start := time.Now()
	w.must(w.api.SetReady(w.ctx, leaves.Pod, false))
	w.leadsTo(frontends(web)[0], stays.at4)
	t.Logf("an endpoint that has gone is left after %v", time.Since(start).Round(time.Millisecond))
	w.must(w.api.SetReady(w.ctx, leaves.Pod, true))
	w.leadsTo(frontends(gone)[0], a.at4, b.at4)

	// What an older Service writes as an external IP is the ClusterIP of a newer one.
	squat := w.service("squat")
	squat.Spec.Selector = nil
	free := netip.MustParseAddr(frontends(web)[0].Addr().String())
	for range 77 {
		free = free.Next()
	}
	squat.Spec.ExternalIPs = []string{free.String()}
	w.create(squat)
	w.create(w.slice(squat, a.at4))
	w.leadsTo(netip.AddrPortFrom(free, 80), a.at4)
	w.secondPasses(squat)
	fresh := w.service("fresh")
	fresh.Spec.Selector, fresh.Spec.ClusterIP, fresh.Spec.IPFamilyPolicy = nil, free.String(), nil
	w.create(fresh)
	w.create(w.slice(fresh, b.at4))
	w.leadsTo(frontends(fresh)[0], b.at4)
	w.describes(squat, "FrontendConflict", free.String()+":80 tcp was allocated to Service "+w.namespace+"/fresh")

	// A Service that goes leaves nothing, while the agent is there and while it is not.
	w.must(w.api.Client.Delete(w.ctx, gone))
	w.leaves(gone)
	w.must(w.api.Client.Delete(w.ctx, web))
	w.leaves(web)
	again := w.service("again")
	w.create(again)
	w.leadsTo(frontends(again)[0], a.at4, b.at4)
	agent.terminate()
	w.must(w.api.Client.Delete(w.ctx, again))
	agent = w.start()
	agent.bounded()
	agent.waitReady()
	w.leaves(again)
	w.leadsTo(frontends(fresh)[0], b.at4)
	w.must(w.api.Client.Delete(w.ctx, fresh))
	w.leadsTo(netip.AddrPortFrom(free, 80), a.at4)

	if peak := agent.memory("VmHWM"); peak > 1<<20 && agent.memory("VmData") < 1<<30 {
		t.Errorf("the agent took %d KiB", peak)
	} else {
		t.Logf("the agent took %d MiB at most", peak>>10)
	}
	if text := agent.Output(); strings.Contains(text, "panic") {
		t.Errorf("the agent said:\n%s", text)
	}
}
