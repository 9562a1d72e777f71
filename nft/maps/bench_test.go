package maps_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// BenchmarkElements is the time from a Service's model to its elements, into a list
// that is kept, as the writer has one.
func BenchmarkElements(b *testing.B) {
	l := maps.NewLayout(layout.Config{})
	for _, endpoints := range []int{1, 10, 100, 1000} {
		port := proxy.Port{Name: "http", Protocol: proxy.TCP, Port: 80, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr("10.96.0.1")}}}
		for e := range endpoints {
			port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128, byte(e >> 8), byte(e)}), 8080)})
		}
		svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "web"}, Ports: []proxy.Port{port}}
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			var list []nft.Placed
			b.ReportAllocs()
			for b.Loop() {
				if list = l.Elements(list[:0], &svc); len(list) <= endpoints {
					b.Fatalf("%d elements", len(list))
				}
			}
		})
	}
}
