package nft

import (
	"net/netip"
	"testing"
	"time"
)

// What chains of single endpoints are made of, as nft 1.0.6 lists it.
func TestStatementsOfEndpoints(t *testing.T) {
	for _, tc := range []struct {
		family    Family
		statement Statement
		want      string
	}{
		{IPv4, Spread{Over: []string{"a", "b"}}, "numgen random mod 2 vmap { 0 : goto a, 1 : goto b }"},
		{IPv4, From{netip.MustParsePrefix("10.0.0.1/32")}, "ip saddr 10.0.0.1"},
		{IPv6, From{netip.MustParsePrefix("fd00::/20")}, "ip6 saddr fd00::/20"},
		{IPv4, Translate{6, netip.MustParseAddrPort("10.0.0.1:80")}, "meta l4proto tcp dnat to 10.0.0.1:80"},
		{IPv6, Translate{132, netip.MustParseAddrPort("[fd00::1]:3868")}, "meta l4proto sctp dnat to [fd00::1]:3868"},
		{IPv6, Remember{Map: "clients", Key: []Field{SourceAddr{}}, Timeout: 90 * time.Minute}, "update @clients { ip6 saddr timeout 1h30m }"},
		{IPv4, Return{}, "return"},
	} {
		if got := tc.statement.Text(tc.family); got != tc.want {
			t.Errorf("%T is %q, want %q", tc.statement, got, tc.want)
		}
	}
}

// Chains are compared by their rules, whatever these are made of.
func TestChainsAreCompared(t *testing.T) {
	chain := func(comment string, statements ...Statement) *Chain {
		return &Chain{Name: "c", Rules: []Rule{{Statements: statements, Comment: comment}}}
	}
	one := chain("x", From{netip.MustParsePrefix("10.0.0.1/32")}, Spread{Over: []string{"a", "b"}}, InSet{Key: []Field{SourceAddr{}}, Set: "s"})
	if !one.Equal(chain("x", From{netip.MustParsePrefix("10.0.0.1/32")}, Spread{Over: []string{"a", "b"}}, InSet{Key: []Field{SourceAddr{}}, Set: "s"})) {
		t.Error("a chain differs from itself")
	}
	for _, other := range []*Chain{
		{Name: "c"},
		chain("y", one.Rules[0].Statements...),
		chain("x", one.Rules[0].Statements[:2]...),
		chain("x", From{netip.MustParsePrefix("10.0.0.2/32")}, one.Rules[0].Statements[1], one.Rules[0].Statements[2]),
		chain("x", one.Rules[0].Statements[0], Spread{Over: []string{"a", "c"}}, one.Rules[0].Statements[2]),
		chain("x", one.Rules[0].Statements[0], one.Rules[0].Statements[1], InSet{Key: []Field{DestAddr{}}, Set: "s"}),
		chain("x", one.Rules[0].Statements[0], Drop{}, one.Rules[0].Statements[2]),
	} {
		if one.Equal(other) || other.Equal(one) {
			t.Errorf("%v is taken for %v", other.Rules, one.Rules)
		}
	}
}
