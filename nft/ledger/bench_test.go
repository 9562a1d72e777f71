package ledger_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft"
	common "github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	layouts "github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// BenchmarkPlan is the time to find what differs, and to note that it is done: for all
// Services of an empty kernel, and for one of them in a full one.
func BenchmarkPlan(b *testing.B) {
	layout := layouts.NewLayout(common.Config{})
	for _, services := range []int{100, 10_000} {
		var all nft.Objects
		for i := range services {
			svc := ten(i, 0)
			all.Elements = layout.Elements(all.Elements, &svc)
		}
		b.Run(fmt.Sprintf("load/%dx10", services), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l := ledger.New(layout.Chain)
				l.Done(l.Plan(nft.Objects{}, all))
			}
		})
		l := ledger.New(layout.Chain)
		l.Done(l.Plan(nft.Objects{}, all))
		before, after := ten(7, 0), ten(7, 1)
		states := [2]nft.Objects{{Elements: layout.Elements(nil, &before)}, {Elements: layout.Elements(nil, &after)}}
		b.Run(fmt.Sprintf("replace/%dx10", services), func(b *testing.B) {
			b.ReportAllocs()
			now := 0
			for b.Loop() {
				plan := l.Plan(states[now], states[1-now])
				if len(plan.Transaction) == 0 {
					b.Fatal("nothing differs")
				}
				l.Done(plan)
				now = 1 - now
			}
			l.Done(l.Plan(states[now], states[0]))
		})
	}
}

// ten is a Service with ten endpoints, the fifth of which is another one in each round.
func ten(i, round int) proxy.Service {
	port := proxy.Port{Name: "http", Protocol: proxy.TCP, Port: 80, Frontends: []proxy.Frontend{{Addr: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}}}
	for e := range 10 {
		third := byte(e)
		if e == 5 {
			third += byte(100 * round)
		}
		port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, third, byte(i >> 8), byte(i)}), 8080)})
	}
	return proxy.Service{Name: proxy.Name{Namespace: "ns", Name: fmt.Sprintf("svc-%d", i)}, Ports: []proxy.Port{port}}
}
