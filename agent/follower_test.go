package agent

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// checked is a Service with that health check node port.
func checked(port uint16) []dataplane.Applied {
	check := proxy.HealthCheck{Port: port, IPv4: 1, IPv6: proxy.NoFamily}
	return []dataplane.Applied{{Name: a, Now: proxy.Service{Name: a, HealthCheck: check}}}
}

// dns has UDP flows.
func dns() proxy.Service {
	return proxy.Service{Name: a, Ports: []proxy.Port{{
		Protocol: proxy.UDP, Port: 53, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr("10.96.0.10")}},
		Endpoints: []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort("10.254.0.1:53")}},
	}}}
}

// newFollower opens health check node ports at 127.0.0.1.
func newFollower(t *testing.T, shadow bool) *follower {
	always := func() bool { return true }
	r := newTold(t)
	f := &follower{
		reporter: r.reporter, flows: newFlows(r.log, r.metrics), checks: healthcheck.New(always),
		health: newHealth(always, always, r.metrics, &reach{}), meter: newMeter(r.metrics), shadow: shadow,
	}
	t.Cleanup(f.checks.Close)
	f.moved([]netip.Addr{netip.MustParseAddr("127.0.0.1")})
	return f
}

// Another proxy may leave a port only after we were told that it is ours: nothing
// else needs to change until it is open.
func TestHealthCheckNodePortsAreTriedAgain(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := other.Addr().(*net.TCPAddr).Port
	newFollower(t, false).Programmed(checked(uint16(port)), 0)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	err = testbed.Wait(time.Minute, "the port to be open", func() error {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d", port))
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// In the shadow of another proxy, flows and ports are its.
func TestShadowLeavesFlowsAndPortsAlone(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	for _, shadow := range []bool{true, false} {
		f := newFollower(t, shadow)
		changes := checked(uint16(port))
		changes[0].Old = dns()
		f.Programmed(changes, 0)
		if flows := f.flows.changes.Len(); (flows > 0) == shadow {
			t.Errorf("shadow %t: flows to %d frontends are looked at", shadow, flows)
		}
		taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if (err != nil) == shadow {
			t.Errorf("shadow %t: opening the port gives %v", shadow, err)
		}
		if err == nil {
			_ = taken.Close()
		}
		f.checks.Close()
	}
}

// A Service that goes to another proxy takes its flows along.
func TestFlowsOfAReleasedServiceStay(t *testing.T) {
	for _, released := range []bool{true, false} {
		f := newFollower(t, false)
		f.Programmed([]dataplane.Applied{{Name: a, Old: dns(), Released: released}}, 0)
		if flows := f.flows.changes.Len(); (flows > 0) == released {
			t.Errorf("released %t: flows to %d frontends are looked at", released, flows)
		}
	}
}
