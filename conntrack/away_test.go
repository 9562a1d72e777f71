package conntrack_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/conntrack"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// What was deleted while no process was there to see it ends as well: a client that
// sends on over its flow does not reach the endpoint any more. Flows to what is still
// there go on.
func TestGoneWhileAway(t *testing.T) {
	config := layout.Config{MasqueradeBit: layout.DefaultMasqueradeBit}
	for name, now := range map[string]dataplane.Layout{"swept": maps.NewLayout(config), "replaced": chains.NewLayout(config)} {
		for _, f := range families {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				w := newWorld(t)
				w.neighbours()
				a := on(f.a, 5353)
				ended := []netip.AddrPort{on(f.vip, 53), on(f.vip, 54), on(f.node, 30053)}
				stays := on(f.vip, 55)
				kept := service("port", to(f.vip, proxy.ClusterIP, proxy.UDP, 55, a))
				w.program(dns(f.vip, 53, a), kept, service("node", to(f.node, proxy.NodePort, proxy.UDP, 30053, a)),
					service("port", kept.Ports[0], to(f.vip, proxy.ClusterIP, proxy.UDP, 54, a)))
				var flows []*testbed.Flow
				var want []string
				for _, at := range append(ended, stays) {
					flow := w.open("udp", at)
					w.answered(flow)
					flows = append(flows, flow)
					if at != stays {
						want = append(want, udp(flow.Local, at, a))
					}
				}
				slices.Sort(want)
				before := w.flows()

				// The next process.
				conn, err := kernel.Open(w.node.Fd())
				w.check(err)
				defer func() { _ = conn.Close() }()
				var changes conntrack.Changes
				next := dataplane.NewWriter(conn, now)
				next.TellSwept(changes.Gone)
				w.check(next.Adopt())
				var all []dataplane.Change
				for _, svc := range append(w.others(), kept) {
					all = append(all, dataplane.Change{Name: svc.Name, Service: svc})
				}
				failures, err := next.Program(all)
				if err != nil || len(failures) > 0 {
					t.Fatal(failures, err)
				}
				w.check(next.Sweep())
				_, err = w.conn.Clean(&changes)
				w.check(err)
				if got := missing(before, w.flows()); !slices.Equal(got, want) {
					t.Errorf("ended have\n%q\nwant:\n%q", got, want)
				}
				for i, flow := range flows[:len(ended)] {
					if answer, err := flow.Ask(patience); !errors.Is(err, testbed.ErrRefused) {
						t.Errorf("%s still is answered by %v, error %v", ended[i], answer.Server, err)
					}
				}
				w.answered(flows[len(ended)])
			})
		}
	}
}
