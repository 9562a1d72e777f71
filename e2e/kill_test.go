package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// killVariable is the number of rounds in TestKilledAtRandom. 200 take about
	// ten minutes:
	//
	//	KUBE_VERDICT_KILL_ROUNDS=200 go test -run TestKilledAtRandom -v ./e2e
	killVariable = "KUBE_VERDICT_KILL_ROUNDS"
	killDefault  = 6
)

// rounds is the number that a variable gives.
func rounds(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// Killed at any moment of any changes, again and again, the agent leaves nothing
// that the next one does not make right: the kernel equals a fresh build. A
// Service that does not change loses no connection meanwhile.
func TestKilledAtRandom(t *testing.T) {
	w := newWorld(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w.hostile()
	bystander := w.everyWay("bystander", 1)
	w.backend("a", 1)
	w.backend("b", 2)
	agent := w.startReady()
	w.sliced(bystander)
	w.settled()
	callers := w.call(w.everyCaller(bystander)...)
	c := &changing{w: w, r: r, services: map[int]*corev1.Service{}}

	n := rounds(t, killVariable, killDefault)
	for range n {
		// Changes before it is killed, while it is away, and while the next one
		// starts, which is killed in the middle of it, too.
		stop := c.begin()
		c.pause(400)
		agent.Kill()
		c.pause(100)
		agent = w.start()
		c.pause(1500)
		agent.Kill()
		agent = w.start()
		stop()
		agent.waitReady()
		w.equalsFresh()
		if t.Failed() {
			break
		}
	}
	t.Logf("%d rounds, %d changes, each time equal to a fresh build; the Service that does not change: %v", n, c.changes, callers.stop())
}

// Killed in the middle of a load that takes several transactions, the agent leaves a
// part of it. The next one goes on from there, and a Service that was programmed
// before loses no connection.
func TestKilledWhileLoading(t *testing.T) {
	w := newWorld(t)
	bystander := w.everyWay("bystander", 1)
	w.backend("a", 1)
	agent := w.startReady()
	w.sliced(bystander)
	w.settled()
	w.tidy()
	callers := w.call(w.everyCaller(bystander)...)

	const perLoad, endpoints = 32, 1000
	others, halves := w.slots(), 0
	for load := 1; halves < 2; load++ {
		if load > 10 {
			t.Fatalf("%d loads have been killed in the middle, want 2", halves)
		}
		agent.Kill()
		for i := range perLoad {
			svc := w.service(fmt.Sprintf("large-%d-%d", load, i))
			svc.Spec.Selector = nil
			w.create(svc)
			slice := w.slice(svc)
			for e := range endpoints {
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 100+load, 4*i+e/250, e%250)}})
			}
			w.create(slice)
		}
		target, slots := w.generation(), w.slots()
		if load == 1 {
			target++ // chains come before all else
		}
		agent = w.start()
		w.eventually("a transaction", func() error {
			for range 1000 {
				if w.generation() > target {
					return nil
				}
			}
			return errors.New("there was none")
		})
		agent.Kill()
		got, whole := w.slots()-others, load*perLoad*endpoints
		t.Logf("killed with %d of %d endpoints in the kernel, %d before", got, whole, slots-others)
		if got > slots-others && got < whole {
			halves++
		}
		agent = w.startReady()
		w.equalsFresh()
	}
	t.Log(callers.stop())
}

// slots is the number of endpoints in the kernel.
func (w *world) slots() int {
	w.t.Helper()
	sets, err := w.elements()
	w.must(err)
	return len(sets["endpoints"])
}

// changing makes random changes of Services.
type changing struct {
	w        *world
	r        *rand.Rand
	services map[int]*corev1.Service
	changes  int
}

// pause lets some time pass, up to that many milliseconds.
func (c *changing) pause(most int) {
	time.Sleep(time.Duration(rand.IntN(most)) * time.Millisecond)
}

// begin makes changes until stop is called.
func (c *changing) begin() (stop func()) {
	ended, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			if err := c.change(); err != nil {
				done <- err
				return
			}
			c.changes++
			select {
			case <-ended:
				done <- nil
				return
			default:
			}
		}
	}()
	return func() {
		c.w.t.Helper()
		close(ended)
		c.w.must(<-done)
	}
}

// change makes one change: a Service comes, goes, or is another, or its endpoints
// are.
func (c *changing) change() error {
	number := c.r.IntN(15)
	svc := c.services[number]
	switch what := c.r.IntN(10); {
	case svc == nil:
		svc = c.random(number)
		if err := c.w.api.Client.Create(c.w.ctx, svc); err != nil {
			return err
		}
		c.services[number] = svc
		return c.endpoints(svc, number)
	case what == 0:
		delete(c.services, number)
		return errors.Join(c.w.api.Client.Delete(c.w.ctx, svc),
			c.w.api.Client.Delete(c.w.ctx, c.slice(svc, number)))
	case what < 4:
		other := c.random(number)
		before := svc.DeepCopy()
		svc.Labels = other.Labels
		svc.Spec.SessionAffinity, svc.Spec.Ports = other.Spec.SessionAffinity, other.Spec.Ports
		svc.Spec.SessionAffinityConfig = nil
		svc.Spec.ExternalIPs, svc.Spec.InternalTrafficPolicy = other.Spec.ExternalIPs, other.Spec.InternalTrafficPolicy
		return c.w.api.Client.Patch(c.w.ctx, svc, client.MergeFrom(before))
	default:
		return c.endpoints(svc, number)
	}
}

func (c *changing) random(number int) *corev1.Service {
	svc := c.w.service(fmt.Sprintf("svc-%d", number))
	svc.Spec.Selector = nil
	svc.Spec.Type = corev1.ServiceTypeNodePort
	if c.r.IntN(3) == 0 {
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	} else {
		svc.Spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	if c.r.IntN(3) == 0 {
		svc.Spec.ExternalIPs = []string{fmt.Sprintf("198.18.8.%d", number)}
	}
	policy := []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}[c.r.IntN(2)]
	svc.Spec.InternalTrafficPolicy = &policy
	if c.r.IntN(2) == 0 {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(8080)})
	}
	if c.r.IntN(6) == 0 {
		svc.Labels = map[string]string{labelProxyName: "another"}
	}
	return svc
}

// slice has up to 20 endpoints, often none.
func (c *changing) slice(svc *corev1.Service, number int) *discoveryv1.EndpointSlice {
	slice := c.w.slice(svc)
	for range max(0, c.r.IntN(24)-3) {
		endpoint := discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.%d", 16+number, 1+c.r.IntN(40))}}
		if c.r.IntN(2) == 0 {
			endpoint.NodeName = &c.w.name
		}
		slice.Endpoints = append(slice.Endpoints, endpoint)
	}
	if c.r.IntN(2) == 0 {
		name, protocol, port := "dns", corev1.ProtocolUDP, int32(8080)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port})
	}
	return slice
}

func (c *changing) endpoints(svc *corev1.Service, number int) error {
	slice := c.slice(svc, number)
	var there discoveryv1.EndpointSlice
	err := c.w.api.Client.Get(c.w.ctx, client.ObjectKeyFromObject(slice), &there)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err != nil {
		slice.ObjectMeta = metav1.ObjectMeta{Namespace: slice.Namespace, Name: slice.Name, Labels: slice.Labels}
		return c.w.api.Client.Create(c.w.ctx, slice)
	}
	slice.ResourceVersion = there.ResourceVersion
	return c.w.api.Client.Update(c.w.ctx, slice)
}
