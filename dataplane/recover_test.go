package dataplane_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// everyWay is a Service with all that one can have: affinity, source ranges, the policy
// Local, and a port without endpoints.
func everyWay(name, vips string) proxy.Service {
	svc := sticky(service(name, "tcp/80", vips, backends), 0, time.Hour)
	for i := range svc.Ports {
		svc.Ports[i].ID = 0 // Cluster gives it
	}
	svc.Ports = svc.Ports[:2:2]
	balanced := svc.Ports[0]
	balanced.Frontends = []proxy.Frontend{{Addr: addr("192.0.2.1"), Kind: proxy.LoadBalancerIP}}
	balanced.LocalOnly, balanced.LocalEndpoints = true, balanced.Endpoints[:2]
	balanced.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("10.240.0.0/24")}
	svc.Ports = append(svc.Ports, balanced, service(name, "udp/53", strings.Split(vips, ",")[0], "").Ports[0])
	return svc
}

func (w *writer) programmer(services ...proxy.Service) *dataplane.Programmer {
	w.t.Helper()
	p := dataplane.NewProgrammer(w.Writer, logr.Discard(), nobody{})
	for _, svc := range services {
		p.Update(svc)
	}
	return p
}

func (w *writer) settle(p *dataplane.Programmer) {
	w.t.Helper()
	for _, do := range []func() error{p.Round, p.Settle, p.Verify} {
		if err := do(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A Service that can't be understood at a start keeps what an earlier process
// programmed of it, to the element; what is left of others goes.
func TestOnesTroubleIsItsOwnAtAStart(t *testing.T) { eachLayout(t, testOnesTroubleIsItsOwnAtAStart) }

func testOnesTroubleIsItsOwnAtAStart(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	troubled, other := everyWay("troubled", vip4+","+vip6), service("other", "tcp/80", "10.96.0.3", backends)
	w.settle(w.programmer(troubled, other))
	want := listing(t, w.node.Namespace, "before")
	again := adopt(t, w.node.Namespace, layout)
	again.settle(again.programmer(troubled, other, service("gone", "tcp/80", "10.96.0.2", "10.254.0.1:8080")))

	for _, how := range []string{"unread", "not said"} {
		generation := w.generation()
		p := adopt(t, w.node.Namespace, layout)
		programmer := p.programmer(other)
		if how == "unread" {
			programmer.Update(proxy.NothingRead(troubled.Name))
		} else {
			programmer.KeepOthers()
		}
		p.settle(programmer)
		if how == "unread" {
			if diff := differs(listing(t, w.node.Namespace, "after"), want); diff != "" {
				t.Errorf("the tables are other than before:\n%s", diff)
			}
		} else if w.generation() != generation {
			t.Errorf("%s: %d transactions were written for nothing", how, w.generation()-generation)
		}
		for _, to := range frontends {
			if hits := spread(t, w.asker.Namespace, "tcp", to, 10); len(hits) != 1 {
				t.Errorf("%s: %s leads one client to %v", how, to, hits)
			}
		}
		// It is an ordinary change when it is understood again, or deleted.
		programmer.Update(service("troubled", "tcp/80", vip4, "10.254.0.1:8080"))
		p.settle(programmer)
		programmer.Delete(troubled.Name)
		p.settle(programmer)
		if got := listing(t, w.node.Namespace, "deleted"); strings.Contains(got, "ns/troubled") || !strings.Contains(got, "ns/other") {
			t.Errorf("%s: the tables are\n%s", how, got)
		}
		programmer.Update(troubled)
		p.settle(programmer)
	}
}

// The same with a part of it: what was dropped besides goes.
func TestAPartIsUnreadAtAStart(t *testing.T) { eachLayout(t, testAPartIsUnreadAtAStart) }

func testAPartIsUnreadAtAStart(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	w.settle(w.programmer(everyWay("troubled", vip4+","+vip6)))
	now := service("troubled", "tcp/80", vip4+","+vip6, backends)
	now.Unread = &proxy.Unread{Ports: []string{"more"}}
	p := adopt(t, w.node.Namespace, layout)
	p.settle(p.programmer(now))
	got := listing(t, w.node.Namespace, "after")
	for text, there := range map[string]bool{vip4: true, "30080": false, "192.0.2.1": false, ". udp . 53": false} {
		if strings.Contains(got, text) != there {
			t.Errorf("%s is there: %t, want %t, in\n%s", text, !there, there, got)
		}
	}
}

// What the kernel refuses at a start stays as an earlier process programmed it.
func TestRefusedAtAStart(t *testing.T) { eachLayout(t, testRefusedAtAStart) }

func testRefusedAtAStart(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	w.settle(w.programmer(service("refused", "tcp/80", vip4+","+vip6, backends), service("gone", "tcp/80", "10.96.0.2", "10.254.0.1:8080")))
	k := newFaulty(t, w.node.Namespace)
	k.refuse = func(op *nft.Op) error {
		if op.Verb == nft.Add && op.IsElement() && op.Set.Name == "services" && strings.HasPrefix(op.Element.Key, string([]byte{10, 96, 0, 9})) {
			return unix.EINVAL
		}
		return nil
	}
	refused := &writer{dataplane.NewWriter(k, layout(config)), k.Conn, t}
	p := refused.programmer(service("refused", "tcp/80", vip4+","+vip6+",10.96.0.9", "10.254.0.1:8080"))
	refused.settle(p)
	for _, to := range frontends {
		if hits := spread(t, w.asker.Namespace, "tcp", to, 30); len(hits) != 3 {
			t.Errorf("%s leads to %v, want the endpoints of before", to, hits)
		}
	}
	if got := listing(t, w.node.Namespace, "after"); strings.Contains(got, "ns/gone") {
		t.Errorf("a Service that is gone is there still:\n%s", got)
	}
}
