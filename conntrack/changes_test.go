package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func endpoints(all ...string) []proxy.Endpoint {
	var out []proxy.Endpoint
	for _, s := range all {
		out = append(out, proxy.Endpoint{AddrPort: at(s)})
	}
	return out
}

// port is a UDP port at a frontend, with endpoints.
func port(frontend string, to ...string) proxy.Port {
	f := at(frontend)
	return proxy.Port{Protocol: proxy.UDP, Port: f.Port(), Frontends: []proxy.Frontend{{Addr: f.Addr()}}, Endpoints: endpoints(to...)}
}

func service(name string, ports ...proxy.Port) proxy.Service {
	return proxy.Service{Name: proxy.Name{Namespace: "default", Name: name}, Ports: ports}
}

const (
	vip   = "10.96.0.10:53"
	other = "10.96.0.11:53"
	a     = "10.1.0.1:5353"
	b     = "10.1.0.2:5353"
)

func TestStale(t *testing.T) {
	none := proxy.Service{}
	localOnly := port("192.0.2.1:30053", a)
	localOnly.LocalOnly, localOnly.LocalEndpoints = true, endpoints(b)
	tcp := port(vip, a)
	tcp.Protocol = proxy.TCP
	named := func(name string, p proxy.Port) proxy.Port { p.Name = name; return p }
	type flow struct {
		dst, src string
		stale    bool
	}
	for name, test := range map[string]struct {
		old, now proxy.Service
		flows    []flow
		len      int
	}{
		"nothing changed":      {service("s", port(vip, a)), service("s", port(vip, a)), []flow{{vip, b, false}}, 0},
		"an endpoint is added": {service("s", port(vip, a)), service("s", port(vip, a, b)), []flow{{vip, vip, false}}, 0},
		"an endpoint is gone": {service("s", port(vip, a, b)), service("s", port(vip, b)),
			[]flow{{vip, a, true}, {vip, b, false}, {vip, vip, true}, {other, a, false}, {a, a, false}, {"10.96.0.10:54", a, false}}, 1},
		"all endpoints are gone": {service("s", port(vip, a)), service("s", port(vip)),
			[]flow{{vip, a, true}, {vip, vip, false}}, 1},
		"the Service is gone": {service("s", port(vip, a)), none,
			[]flow{{vip, a, true}, {vip, vip, false}}, 1},
		"a Service without endpoints is gone": {service("s", port(vip)), none, []flow{{vip, a, false}}, 0},
		"the first endpoints": {service("s", port(vip)), service("s", port(vip, a)),
			[]flow{{vip, vip, true}, {vip, a, false}, {vip, b, true}}, 1},
		"a new Service": {none, service("s", port(vip, a)),
			[]flow{{vip, vip, true}, {vip, a, false}, {vip, b, true}}, 1},
		"a new Service without endpoints": {none, service("s", port(vip)),
			[]flow{{vip, vip, false}, {vip, a, true}}, 1},
		"another port": {service("s", port(vip, a)), service("s", port("10.96.0.10:54", a)),
			[]flow{{vip, a, true}, {"10.96.0.10:54", a, false}, {"10.96.0.10:54", "10.96.0.10:54", true}}, 2},
		"another target port": {service("s", port(vip, a)), service("s", port(vip, "10.1.0.1:5454")),
			[]flow{{vip, a, true}, {vip, "10.1.0.1:5454", false}}, 1},
		"a port gets a name": {service("s", port(vip, a)), service("s", named("dns", port(vip, a))), []flow{{vip, b, false}}, 0},
		"local endpoints": {service("s", port("192.0.2.1:30053", a, b)), service("s", localOnly),
			[]flow{{"192.0.2.1:30053", b, false}}, 0},
		"ways share endpoints": {
			service("s", port(vip, a, b), port("192.0.2.1:30053", a, b)),
			service("s", port(vip, b), port("192.0.2.1:30053", a, b)), nil, 0},
		"not so ports": {
			service("s", named("x", port(vip, a, b)), named("y", port("192.0.2.1:30053", a, b))),
			service("s", named("x", port(vip, b)), named("y", port("192.0.2.1:30053", a, b))),
			[]flow{{vip, a, true}, {"192.0.2.1:30053", a, false}}, 1},
		"an endpoint that is the frontend": {none, service("s", port("192.0.2.1:30053", "192.0.2.1:30053")),
			[]flow{{"192.0.2.1:30053", "192.0.2.1:30053", false}}, 1},
		"TCP":                {service("s", tcp), none, []flow{{vip, a, false}}, 0},
		"from UDP to TCP":    {service("s", port(vip, a)), service("s", tcp), []flow{{vip, a, true}, {vip, vip, false}}, 1},
		"families are apart": {service("s", port(vip, a, b), port("[fd00::10]:53", "[fd00:1::1]:53")), service("s", port(vip, b), port("[fd00::10]:53", "[fd00:1::1]:53")), []flow{{"[fd00::10]:53", "[fd00:1::2]:53", false}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var c conntrack.Changes
			c.Add(test.old, test.now)
			for _, f := range test.flows {
				if got := c.Stale(at(f.dst), at(f.src)); got != f.stale {
					t.Errorf("flow to %s answered from %s: stale is %v", f.dst, f.src, got)
				}
			}
			if c.Len() != test.len {
				t.Errorf("%d frontends are in question, not %d", c.Len(), test.len)
			}
		})
	}
}

// What was added later counts: in one Service, the later state; of two that had a
// frontend one after the other, the one that has it.
func TestStaleAfterSeveral(t *testing.T) {
	s := func(to ...string) proxy.Service { return service("s", port(vip, to...)) }
	rival := service("rival", port(vip, b))
	type change struct{ old, now proxy.Service }
	none := proxy.Service{}
	for name, test := range map[string]struct {
		changes      []change
		a, b, direct bool // stale
	}{
		"lost and back":          {[]change{{s(a, b), s(b)}, {s(b), s(a, b)}}, false, false, true},
		"replaced, then added":   {[]change{{s(a), s("10.1.0.9:53")}, {s("10.1.0.9:53"), s("10.1.0.9:53", b)}}, true, false, true},
		"new, then gone":         {[]change{{none, s(a)}, {s(a), none}}, true, true, false},
		"gone, then new":         {[]change{{s(a), none}, {none, s(b)}}, true, false, true},
		"moved, loser first":     {[]change{{s(a), none}, {none, rival}}, true, false, true},
		"moved, winner first":    {[]change{{none, rival}, {s(a), none}}, true, false, true},
		"moved there and back":   {[]change{{s(a), none}, {none, rival}, {rival, none}, {none, s(a)}}, false, true, true},
		"moved, then all gone":   {[]change{{s(a), none}, {none, rival}, {rival, none}}, true, true, false},
		"lost all, then is gone": {[]change{{s(a), s()}, {s(), none}}, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var c conntrack.Changes
			for _, change := range test.changes {
				c.Add(change.old, change.now)
			}
			for src, want := range map[string]bool{a: test.a, b: test.b, vip: test.direct} {
				if got := c.Stale(at(vip), at(src)); got != want {
					t.Errorf("answered from %s: stale is %v", src, got)
				}
			}
		})
	}
}

func TestUntouchedCostsNothing(t *testing.T) {
	tcp := port(vip, a)
	tcp.Protocol = proxy.TCP
	changed := tcp
	changed.Endpoints = endpoints(b)
	var c conntrack.Changes
	old, now := service("s", tcp), service("s", changed)
	if n := testing.AllocsPerRun(100, func() { c.Add(old, now) }); n != 0 {
		t.Errorf("a change of a TCP Service makes %v allocations", n)
	}
	same := service("s", port(vip, a))
	if n := testing.AllocsPerRun(100, func() { c.Add(same, same) }); n != 0 {
		t.Errorf("a UDP Service that stays makes %v allocations", n)
	}
}
