package dataplane_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// An SCTP packet to a VIP arrives at an endpoint, at its port.
func TestSCTPIsTranslated(t *testing.T) { eachLayout(t, testSCTPIsTranslated) }

func testSCTPIsTranslated(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	w.program(service("a", "sctp/3868", vip4+","+vip6, "*10.254.0.1:13868,*[fd00:10:254::1]:13868"))
	catcher := must(w.pods[0].CatchSCTP())(t)
	t.Cleanup(catcher.Close)
	for i, vip := range []string{vip4, vip6} {
		err := w.asker.Clients(1, func(c *testbed.Client) error {
			tag, err := c.SendSCTP(netip.AddrPortFrom(addr(vip), 3868))
			if err != nil {
				return err
			}
			return testbed.Wait(patience, "the packet", func() error {
				a, ok := catcher.Seen(tag)
				if !ok || a.Port != 13868 || a.From.Addr() != askerAddrs[i] {
					return fmt.Errorf("%+v, %t arrived, want one from %s at port 13868", a, ok, askerAddrs[i])
				}
				return nil
			})
		})
		if err != nil {
			t.Errorf("%s: %v", vip, err)
		}
	}
}
