package layout_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Tables say how they were made.
func TestStored(t *testing.T) {
	four, six := netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("fd00:254::/48")
	for _, want := range []layout.Config{
		{MasqueradeBit: 12, Scope: proxy.ScopeAll},
		{MasqueradeBit: 0, PodCIDRs: []netip.Prefix{four}, Scope: proxy.ScopeShadow},
		{MasqueradeBit: 31, PodCIDRs: []netip.Prefix{six}, Scope: proxy.ScopeLabelled},
		{MasqueradeBit: 14, PodCIDRs: []netip.Prefix{four, six}, MasqueradeAll: true, Scope: proxy.ScopeAll},
		{MasqueradeBit: 5, PodInterface: "cali*", Scope: proxy.ScopeAll},
		{MasqueradeBit: 5, PodInterface: "fifteen-letters", MasqueradeAll: true, Scope: proxy.ScopeAll},
	} {
		for name, l := range map[string]dataplane.Layout{layout.Maps: maps.NewLayout(want), layout.Chains: chains.NewLayout(want)} {
			var tables []*nft.Held
			for _, table := range l.Tables() {
				held, err := (&nft.Contents{Table: table}).Held()
				if err != nil {
					t.Fatal(err)
				}
				tables = append(tables, held)
			}
			got, of, ok := layout.StoredIn(tables)
			same := got.MasqueradeBit == want.MasqueradeBit && got.MasqueradeAll == want.MasqueradeAll && got.PodInterface == want.PodInterface && got.Scope == want.Scope
			if !ok || of != name || !same || families(got.PodCIDRs) != families(want.PodCIDRs) {
				t.Errorf("of tables made by %+v: layout %q, %+v, %t", want, of, got, ok)
			}
		}
	}
	if got, _, ok := layout.StoredIn([]*nft.Held{nil, {}}); ok {
		t.Errorf("of no tables: %+v", got)
	}
}

func families(prefixes []netip.Prefix) [2]bool {
	is4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	return [2]bool{slices.ContainsFunc(prefixes, is4), slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return !is4(p) })}
}

// A table of a release that stored nothing is taken over in place, and so is one of
// another scope: what rules wrote stays, as nothing is rebuilt.
func TestStoredInPlace(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	adopt := func(scope proxy.Scope) layout.Config {
		t.Helper()
		l := maps.NewLayout(layout.Config{MasqueradeBit: 12, Scope: scope})
		w := dataplane.NewWriter(conn, l)
		if err := w.Adopt(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Program(nil); err != nil {
			t.Fatal(err)
		}
		held, err := conn.Read(l.Tables()[0].ID())
		if err != nil {
			t.Fatal(err)
		}
		stored, _, ok := layout.StoredIn([]*nft.Held{held})
		if !ok {
			t.Fatalf("scope %s: nothing is stored", scope)
		}
		return stored
	}
	adopt(proxy.ScopeAll)
	run := func(args ...string) {
		t.Helper()
		if out, err := ns.Run("nft", args...); err != nil {
			t.Fatal(out, err)
		}
	}
	run("flush", "chain", "ip", "kube-verdict", "configuration")
	run("delete", "chain", "ip", "kube-verdict", "configuration")
	run("add", "element", "ip", "kube-verdict", "remembered", "{", "192.0.2.1", ".", "1:2", "timeout", "1h", ":", "10.0.0.1", ".", "80", "}")
	for _, scope := range []proxy.Scope{proxy.ScopeAll, proxy.ScopeLabelled} {
		if got := adopt(scope); got.Scope != scope || got.MasqueradeBit != 12 {
			t.Errorf("stored is %+v, want the scope %s", got, scope)
		}
		if elements, err := conn.Elements(nft.ID{Family: nft.IPv4, Name: layout.TableName}, "remembered"); err != nil || len(elements) != 1 {
			t.Errorf("scope %s: %d clients are remembered, want 1: %v", scope, len(elements), err)
		}
	}
}
