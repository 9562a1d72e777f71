package healthcheck_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/healthcheck"
	"github.com/kube-verdict/kube-verdict/proxy"
)

var (
	loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	web      = proxy.Name{Namespace: "ns", Name: "web"}
	other    = proxy.Name{Namespace: "ns", Name: "other"}
)

type checks = map[proxy.Name]proxy.HealthCheck

// freePort is a port that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// ask gives the status, the weight and the body; no answer is status 0.
func ask(addr netip.Addr, port uint16) (status int, weight, body string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://%s/any/path", netip.AddrPortFrom(addr, port)))
	if err != nil {
		return 0, "", err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), string(text)
}

func newServers(t *testing.T, healthy *bool) *healthcheck.Servers {
	t.Helper()
	s := healthcheck.New(func() bool { return *healthy })
	t.Cleanup(s.Close)
	if failures := s.SetAddresses(loopback); failures != nil {
		t.Fatal(failures)
	}
	return s
}

func TestAnswers(t *testing.T) {
	healthy := true
	s, port := newServers(t, &healthy), freePort(t)
	for _, tc := range []struct {
		name       string
		ipv4, ipv6 int
		healthy    bool
		status     [2]int
	}{
		{"endpoints here", 2, 1, true, [2]int{200, 200}},
		{"endpoints of one family here", 2, 0, true, [2]int{200, 503}},
		{"a proxy that is not healthy", 2, 2, false, [2]int{503, 503}},
		{"none here", 0, 0, true, [2]int{503, 503}},
		{"a Service of one family", 1, proxy.NoFamily, true, [2]int{200, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			healthy = tc.healthy
			if failures := s.Update(checks{web: {Port: port, IPv4: tc.ipv4, IPv6: tc.ipv6}}); failures != nil {
				t.Fatal(failures)
			}
			for i, n := range []int{tc.ipv4, tc.ipv6} {
				status, weight, body := ask(loopback[i], port)
				if status != tc.status[i] {
					t.Errorf("%s answers %d %s, want %d", loopback[i], status, body, tc.status[i])
				}
				if n == proxy.NoFamily {
					continue
				}
				if want := fmt.Sprint(n); weight != want {
					t.Errorf("%s: the weight is %q, want %q", loopback[i], weight, want)
				}
				want := fmt.Sprintf("{\n\t\"service\": {\n\t\t\"namespace\": \"ns\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": %d,\n\t\"serviceProxyHealthy\": %t\n}", n, tc.healthy)
				if body != want {
					t.Errorf("%s: the body is\n%s\nwant\n%s", loopback[i], body, want)
				}
			}
		})
	}
}

func TestPortsComeGoAndMove(t *testing.T) {
	healthy := true
	s, first, second := newServers(t, &healthy), freePort(t), freePort(t)
	served := func(port uint16) string {
		_, _, body := ask(loopback[0], port)
		for _, name := range []string{"web", "other"} {
			if strings.Contains(body, `"`+name+`"`) {
				return name
			}
		}
		return ""
	}
	update := func(c checks) {
		t.Helper()
		if failures := s.Update(c); failures != nil {
			t.Fatal(failures)
		}
	}
	expect := func(what, onFirst, onSecond string) {
		t.Helper()
		if a, b := served(first), served(second); a != onFirst || b != onSecond {
			t.Errorf("%s: the ports serve %q and %q, want %q and %q", what, a, b, onFirst, onSecond)
		}
	}
	at := func(port uint16) proxy.HealthCheck { return proxy.HealthCheck{Port: port, IPv4: 1, IPv6: 1} }
	update(checks{web: at(first)})
	expect("a Service comes", "web", "")
	update(checks{other: at(second)})
	expect("another comes", "web", "other")
	update(checks{web: at(second), other: at(first)})
	expect("they change places", "other", "web")
	for range 500 { // as fast as it can be
		update(checks{web: at(first), other: at(second)})
		update(checks{web: at(second), other: at(first)})
	}
	expect("they have changed places often", "other", "web")
	update(checks{web: {}})
	expect("one goes", "other", "")
	s.Close()
	expect("all is closed", "", "")
}

// A port that somebody else has is a failure of its Service alone, and is opened
// when it is free.
func TestATakenPort(t *testing.T) {
	healthy := true
	s := newServers(t, &healthy)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port, free := netip.MustParseAddrPort(taken.Addr().String()).Port(), freePort(t)
	failures := s.Update(checks{web: {Port: port, IPv4: 1, IPv6: proxy.NoFamily}, other: {Port: free, IPv4: 1, IPv6: proxy.NoFamily}})
	if len(failures) != 1 || failures[0].Name != web || !strings.Contains(failures[0].Err.Error(), fmt.Sprintf("health check node port %d: ", port)) {
		t.Errorf("failures are %v, want one of ns/web that names port %d", failures, port)
	}
	if status, _, _ := ask(loopback[0], free); status != 200 {
		t.Errorf("the other Service answers %d", status)
	}
	_ = taken.Close()
	if failures := s.Update(nil); failures != nil {
		t.Error(failures)
	}
	if status, _, body := ask(loopback[0], port); status != 200 {
		t.Errorf("when the port is free the Service answers %d %s", status, body)
	}
}
