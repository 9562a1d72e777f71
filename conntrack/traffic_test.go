package conntrack_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// to is a Service port at one address, with endpoints.
func to(addr netip.Addr, kind proxy.FrontendKind, protocol proxy.Protocol, number uint16, endpoints ...netip.AddrPort) proxy.Port {
	p := proxy.Port{Protocol: protocol, Port: number, Frontends: []proxy.Frontend{{Addr: addr, Kind: kind}}}
	for _, e := range endpoints {
		p.Endpoints = append(p.Endpoints, proxy.Endpoint{AddrPort: e, Local: true})
	}
	return p
}

func dns(addr netip.Addr, number uint16, endpoints ...netip.AddrPort) proxy.Service {
	return service("dns", to(addr, proxy.ClusterIP, proxy.UDP, number, endpoints...))
}

func nodePort(addr netip.Addr, endpoints ...netip.AddrPort) proxy.Service {
	return service("dns", to(addr, proxy.NodePort, proxy.UDP, 30053, endpoints...))
}

// others are the Services of neighbours.
func (w *world) others() []proxy.Service {
	var ports, others []proxy.Port
	for _, f := range families {
		ports = append(ports, to(f.vip, proxy.ClusterIP, proxy.TCP, 53, on(f.a, 5353)), to(f.node, proxy.NodePort, proxy.TCP, 30053, on(f.a, 5353)))
		others = append(others, to(f.other, proxy.ClusterIP, proxy.UDP, 53, on(f.a, 5353)), to(f.vip, proxy.ClusterIP, proxy.UDP, 5300, on(f.a, 5353)))
	}
	return []proxy.Service{service("tcp", ports...), service("other", others...)}
}

// neighbours opens flows that no change of the Service dns concerns: in both
// families, of TCP at its own address and port, of another Service with the same
// endpoints, straight to its endpoint; and flows that only look like its own,
// seen from the other end.
func (w *world) neighbours() {
	w.Helper()
	w.program(w.others()...)
	for _, f := range families {
		w.answered(w.open("tcp", on(f.vip, 53)))
		w.answered(w.open("tcp", on(f.node, 30053)))
		w.answered(w.open("udp", on(f.other, 53)))
		w.answered(w.open("udp", on(f.vip, 5300)))
		w.answered(w.open("udp", on(f.a, 5353)))
		w.check(w.conn.Insert(slices.Values([]conntrack.Made{
			{Protocol: unix.IPPROTO_UDP, Src: on(f.vip, 53), Dst: on(f.in, 999), Reply: on(f.in, 999)},
			{Protocol: unix.IPPROTO_UDP, Src: on(f.node, 30053), Dst: on(f.a, 5353), Reply: on(f.a, 5353)},
			{Protocol: unix.IPPROTO_UDP, Src: on(f.in, 998), Dst: on(f.b, 7), Reply: on(f.vip, 53)},
		})))
	}
}

func TestChangesUnderTraffic(t *testing.T) {
	// An outcome is the endpoint that answers, or an error.
	type outcome struct {
		server netip.AddrPort
		err    error
	}
	for _, f := range families {
		a, b, a2 := on(f.a, 5353), on(f.b, 5353), on(f.a, 5454)
		vip, node := on(f.vip, 53), on(f.node, 30053)
		none := proxy.Service{Name: dns(f.vip, 53).Name}
		unreachable, refused := outcome{err: testbed.ErrUnreachable}, outcome{err: testbed.ErrRefused}
		answer := func(e netip.AddrPort) outcome { return outcome{server: e} }
		for _, test := range []struct {
			name     string
			old, now proxy.Service
			dst      netip.AddrPort
			before   outcome
			after    outcome
			stays    bool
		}{
			{"endpoint gone", dns(f.vip, 53, a), dns(f.vip, 53, b), vip, answer(a), answer(b), false},
			{"endpoint added", dns(f.vip, 53, a), dns(f.vip, 53, a, b), vip, answer(a), answer(a), true},
			{"all endpoints gone", dns(f.vip, 53, a), dns(f.vip, 53), vip, answer(a), refused, false},
			{"Service gone", dns(f.vip, 53, a), none, vip, answer(a), refused, false},
			{"port changed", dns(f.vip, 53, a), dns(f.vip, 54, a), vip, answer(a), refused, false},
			{"target port changed", dns(f.vip, 53, a), dns(f.vip, 53, a2), vip, answer(a), answer(a2), false},
			{"first endpoints", none, dns(f.new, 53, a), on(f.new, 53), unreachable, answer(a), false},
			{"node port: endpoint gone", nodePort(f.node, a), nodePort(f.node, b), node, answer(a), answer(b), false},
			{"node port: all endpoints gone", nodePort(f.node, a), nodePort(f.node), node, answer(a), refused, false},
			{"node port: Service gone", nodePort(f.node, a), none, node, answer(a), refused, false},
			{"node port: first endpoints", none, nodePort(f.node, a), node, refused, answer(a), false},
		} {
			t.Run(f.name+"/"+test.name, func(t *testing.T) {
				w := newWorld(t)
				w.neighbours()
				outcomeOf := func(flow *testbed.Flow, want outcome) {
					t.Helper()
					answer, err := flow.Ask(patience)
					if answer.Server != want.server || !errors.Is(err, want.err) || (err == nil) != (want.err == nil) {
						t.Fatalf("answered by %v, error %v; want %v", answer.Server, err, want)
					}
				}
				w.program(test.old)
				flow := w.open("udp", test.dst)
				outcomeOf(flow, test.before)
				before := w.flows()
				w.program(test.now)
				// Without cleaning up, the flow goes where it went.
				outcomeOf(flow, test.before)

				var changes conntrack.Changes
				changes.Add(test.old, test.now)
				result, err := w.conn.Clean(&changes)
				w.check(err)
				reply := test.before.server
				if test.before.err != nil {
					reply = test.dst
				}
				want := []string{udp(flow.Local, test.dst, reply)}
				if test.stays {
					want = nil
				}
				if got := missing(before, w.flows()); !slices.Equal(got, want) || result.Deleted != len(want) {
					t.Errorf("%d deleted:\n%q\nwant:\n%q", result.Deleted, got, want)
				}
				outcomeOf(flow, test.after)
			})
		}
	}
}

// Of many flows to a Service, those to the endpoint that is gone are deleted.
func TestSomeOfManyFlows(t *testing.T) {
	w := newWorld(t)
	w.neighbours()
	for _, f := range families {
		a, b := on(f.a, 5353), on(f.b, 5353)
		both, one := dns(f.vip, 53, a, b), dns(f.vip, 53, b)
		w.program(both)
		var want []string
		for range 64 {
			flow := w.open("udp", on(f.vip, 53))
			if w.answered(flow) == a {
				want = append(want, udp(flow.Local, on(f.vip, 53), a))
			}
		}
		before := w.flows()
		w.program(one)
		var changes conntrack.Changes
		changes.Add(both, one)
		_, err := w.conn.Clean(&changes)
		w.check(err)
		slices.Sort(want)
		if got := missing(before, w.flows()); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: deleted:\n%q\nwant:\n%q", f.name, got, want)
		}
	}
}

// A flow to a process on the node stays when a Service's node port was there
// before it and is gone.
func TestLocalProcessKeepsItsFlows(t *testing.T) {
	w := newWorld(t)
	for _, f := range families {
		server, err := w.node.Serve("udp", on(f.node, 30053))
		w.check(err)
		flow := w.open("udp", server.Addr)
		w.answered(flow)
		before := w.flows()
		var changes conntrack.Changes
		changes.Add(nodePort(f.node, on(f.a, 5353)), proxy.Service{})
		_, err = w.conn.Clean(&changes)
		w.check(err)
		if got := missing(before, w.flows()); len(got) > 0 {
			t.Errorf("%s: deleted %q", f.name, got)
		}
		server.Close()
	}
}
