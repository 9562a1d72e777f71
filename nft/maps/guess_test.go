package maps_test

import (
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// Tables in the kernel tell how they were made.
func TestTheConfigurationOfTables(t *testing.T) {
	four, six := prefixes("10.254.0.0/16"), prefixes("fd00:254::/48")
	for _, want := range []layout.Config{
		{MasqueradeBit: 12},
		{MasqueradeBit: 0, PodCIDRs: four},
		{MasqueradeBit: 31, PodCIDRs: six},
		{MasqueradeBit: 14, PodCIDRs: append(four[:1:1], six...)},
		{MasqueradeBit: 5, MasqueradeAll: true},
		{MasqueradeBit: 5, MasqueradeAll: true, PodCIDRs: four},
		{MasqueradeBit: 5, PodInterface: "cni0"},
		{MasqueradeBit: 5, PodInterface: "cali*"},
		{MasqueradeBit: 5, PodInterface: "fifteen-letters", MasqueradeAll: true},
	} {
		conn, err := kernel.Open(testbed.NewTestNamespace(t).Fd())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		l := maps.NewLayout(want)
		w := dataplane.NewWriter(conn, l)
		if err := w.Adopt(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Program(nil); err != nil {
			t.Fatal(err)
		}
		var held []*nft.Held
		for _, table := range l.Tables() {
			h, err := conn.Read(table.ID())
			if err != nil || h == nil {
				t.Fatalf("table %s: %v", table.ID(), err)
			}
			held = append(held, h)
		}
		got, ok := maps.Signs().ConfigOf(held)
		families := func(c layout.Config) (is [2]bool) {
			for _, p := range c.PodCIDRs {
				is[map[bool]int{true: 0, false: 1}[p.Addr().Is4()]] = true
			}
			return is
		}
		if !ok || got.MasqueradeBit != want.MasqueradeBit || got.MasqueradeAll != want.MasqueradeAll || got.PodInterface != want.PodInterface || families(got) != families(want) {
			t.Errorf("of tables made by %+v: %+v, %t", want, got, ok)
		}
		held[0].Chains["services"].Rules = nil
		if got, ok := maps.Signs().ConfigOf(held); ok {
			t.Errorf("of a table without our rules: %+v", got)
		}
	}
	if got, ok := maps.Signs().ConfigOf([]*nft.Held{nil, nil}); ok {
		t.Errorf("of no tables: %+v", got)
	}
}
