package e2e

import (
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The Pods' state decides who is reached, from the Pod's status over the
// controllers' EndpointSlices to a client's connection.
func TestTrafficFollowsPods(t *testing.T) {
	w := newWorld(t)
	svc := w.service("web")
	w.create(svc)
	a, b, c := w.backend("a", 1), w.backend("b", 2), w.backend("c", 3)
	w.start()
	w.serviceLeadsTo(svc, a, b, c)

	w.must(w.api.SetReady(w.ctx, b.Pod, false))
	w.serviceLeadsTo(svc, a, c)
	t.Log("a Service may want Pods that are not ready, too")
	svc.Spec.PublishNotReadyAddresses = true
	w.must(w.api.Client.Update(w.ctx, svc))
	w.serviceLeadsTo(svc, a, b, c)
	svc.Spec.PublishNotReadyAddresses = false
	w.must(w.api.Client.Update(w.ctx, svc))
	w.serviceLeadsTo(svc, a, c)
	w.must(w.api.SetReady(w.ctx, b.Pod, true))
	w.serviceLeadsTo(svc, a, b, c)

	t.Log("a Pod that terminates gets no more connections while others are ready")
	w.must(w.api.Terminate(w.ctx, a.Pod))
	w.serviceLeadsTo(svc, b, c)
	t.Log("and gets them again when no other is")
	w.must(w.api.Remove(w.ctx, b.Pod))
	w.must(w.api.SetReady(w.ctx, c.Pod, false))
	w.serviceLeadsTo(svc, a)

	t.Log("without any Pod, connections are refused")
	w.must(w.api.Remove(w.ctx, a.Pod))
	w.serviceLeadsTo(svc)
	w.represent(a, "a-again")
	w.serviceLeadsTo(svc, a)

	t.Log("without the Service, the address is nobody's: what goes there is dropped, if the API server says which addresses are Services'")
	w.must(w.api.Client.Delete(w.ctx, svc))
	nowhere := silent
	if w.before(33) {
		nowhere = unreachable
	}
	for _, to := range frontends(svc) {
		w.leadsTo(to, nowhere)
	}
}

// Which virtual addresses there can be is said by ServiceCIDRs, which come and go:
// what goes to one that no Service has is dropped.
func TestServiceCIDRsComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.startReady()
	addresses := []netip.AddrPort{netip.MustParseAddrPort("10.97.0.5:80"), netip.MustParseAddrPort("[fd00:10:97::5]:80")}
	more := &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.0.0/24", "fd00:10:97::/112"}},
	}
	for _, to := range addresses {
		w.leadsTo(to, unreachable)
	}
	if err := w.api.Client.Create(w.ctx, more); w.before(33) {
		// Without the kind, nothing is dropped.
		if !meta.IsNoMatchError(err) {
			t.Errorf("there are ServiceCIDRs: %v", err)
		}
		w.settled()
		for _, to := range addresses {
			w.leadsTo(to, unreachable)
		}
		return
	} else {
		w.must(err)
	}
	for _, to := range addresses {
		w.leadsTo(to, silent)
	}
	w.must(w.api.Client.Delete(w.ctx, more))
	for _, to := range addresses {
		w.leadsTo(to, unreachable)
	}
}

// The first Service that a cluster has leads pods to its API server.
func TestPodsReachTheAPIServer(t *testing.T) {
	w := newWorld(t)
	w.startReady()
	config := rest.CopyConfig(w.api.Config)
	config.Host = "https://10.96.0.1"
	config.Dial = dialFrom(w.client.Namespace)
	clients, err := kubernetes.NewForConfig(config)
	w.must(err)
	w.eventually("the API server to answer at its ClusterIP", func() error {
		_, err := clients.Discovery().ServerVersion()
		return err
	})
}
