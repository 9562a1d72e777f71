package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft/layout"
)

// However wrong the networks of ClusterIPs are, the node reaches itself, and what a
// Service leads to is reached.
func TestServiceCIDRsNeverDropWhatIsLocal(t *testing.T) {
	eachLayout(t, testServiceCIDRsNeverDropWhatIsLocal)
}

func testServiceCIDRsNeverDropWhatIsLocal(t *testing.T, of layoutOf) {
	w := newWorld(t, of)
	w.SetNetworks(layout.Networks{Pods: config.PodCIDRs, Services: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	w.program(service("a", "tcp/80", vip4+","+vip6, backends))
	for _, a := range append([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}, nodeAddrs...) {
		server, err := w.node.Serve("tcp", netip.AddrPortFrom(a, 9000))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if _, err := w.node.Ask("tcp", netip.AddrPortFrom(a, 9000), patience); err != nil {
			t.Errorf("the node does not reach itself at %s: %v", a, err)
		}
	}
	for _, to := range frontends {
		spread(t, w.node.Namespace, "tcp", to, 10)
		spread(t, w.asker.Namespace, "tcp", to, 10)
	}
	if _, err := w.node.Ask("tcp", netip.MustParseAddrPort("10.254.0.1:8080"), patience); err == nil {
		t.Error("the networks count for nothing: a pod that is among them is reached")
	}
}
