package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// ServiceCIDRs that cover what is no ClusterIP cut the node off neither from itself nor
// from the API server, which has the correction.
func TestServiceCIDRsThatCoverOtherAddresses(t *testing.T) {
	// Others would get ClusterIPs of them.
	testbed.Need(t)
	api, stop, err := startControlPlane()
	t.Cleanup(stop)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldAt(t, api)
	svc := w.service("web")
	w.create(svc)
	pod := w.backend("a", 1)
	agent := w.startReady()
	w.serviceLeadsTo(svc, pod)

	at, err := url.Parse(w.api.Config.Host)
	w.must(err)
	server := addr(at.Hostname())
	around, err := server.Prefix(server.BitLen() - 2)
	w.must(err)
	cidrs := map[string][]string{"everything": {"0.0.0.0/0", "::/0"}, "server": {around.String()}, "node": {"10.240.0.0/24"}, "good": {"10.112.0.0/16"}}
	for name, list := range cidrs {
		w.create(&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: list}})
	}
	w.eventually("the good network, and no other, to be programmed", func() error {
		text, err := w.node.Run("nft", "list", "set", "ip", "kube-verdict", "service-cidrs")
		if err == nil && (!strings.Contains(text, "10.112.0.0/16") || strings.Contains(text, "0.0.0.0/0") || strings.Contains(text, "10.240.0.") || strings.Contains(text, around.Addr().String())) {
			err = fmt.Errorf("it is\n%s", text)
		}
		return err
	})
	w.eventually("an Event on each of the others", func() error {
		var list eventsv1.EventList
		if err := w.api.Client.List(w.ctx, &list); err != nil {
			return err
		}
		told := map[string]string{}
		for _, e := range list.Items {
			if e.Regarding.Kind == "ServiceCIDR" && e.Reason == "NotForClusterIPs" {
				told[e.Regarding.Name] += e.Note
			}
		}
		if len(told) != 3 || !strings.Contains(told["node"], "has addresses of this node (10.240.0.11/32)") {
			return fmt.Errorf("the Events are %v", told)
		}
		return nil
	})

	// Connections that are new now, of this agent and of the next.
	w.way.Cut()
	w.must(w.way.Open())
	next := w.service("next")
	w.create(next)
	w.serviceLeadsTo(next, pod)
	agent.terminate()
	agent = w.startReady()
	last := w.service("last")
	w.create(last)
	w.serviceLeadsTo(last, pod)
	agent.terminate()
}
