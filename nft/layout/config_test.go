package layout_test

import (
	"net/netip"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft/layout"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func TestConfigurationsThatAreNone(t *testing.T) {
	for _, tc := range []struct {
		config layout.Config
		want   string
	}{
		{layout.Config{MasqueradeBit: -1}, "masquerade bit -1: a packet mark has the bits 0 to 31"},
		{layout.Config{MasqueradeBit: 32}, "masquerade bit 32: a packet mark has the bits 0 to 31"},
		{layout.Config{PodCIDRs: prefixes("10.254.3.0/16")}, "pod CIDR 10.254.3.0/16: not the first address of a network: write 10.254.0.0/16"},
		{layout.Config{PodInterface: "*"}, `pod interface "*": a name of 1 to 15 characters, or what names start with, and *`},
		{layout.Config{PodInterface: "sixteen-letters!"}, `pod interface "sixteen-letters!": a name of 1 to 15 characters, or what names start with, and *`},
		{layout.Config{PodInterface: "fifteen-letters"}, ""},
		{layout.Config{PodInterface: "fifteen-letters*"}, ""},
		{layout.Config{MasqueradeBit: 31, PodCIDRs: prefixes("0.0.0.0/0", "::/0", "10.0.0.1/32")}, ""},
	} {
		got := ""
		if err := tc.config.Validate(); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.config, got, tc.want)
		}
	}
	bad := layout.Networks{Services: prefixes("10.96.0.1/16"), Pods: prefixes("10.254.0.1/16")}
	if err := bad.Validate(); err == nil || err.Error() != "pod CIDR 10.254.0.1/16: not the first address of a network: write 10.254.0.0/16" {
		t.Errorf("of two wrong networks: %v", err)
	}
	bad.Pods = nil
	if err := bad.Validate(); err == nil || err.Error() != "service CIDR 10.96.0.1/16: not the first address of a network: write 10.96.0.0/16" {
		t.Errorf("of a wrong service network: %v", err)
	}
}

func TestNetworksAreCompared(t *testing.T) {
	one := layout.Networks{Pods: prefixes("10.0.0.0/8"), Services: prefixes("10.96.0.0/16")}
	if !one.Equal(layout.Networks{Pods: prefixes("10.0.0.0/8"), Services: prefixes("10.96.0.0/16")}) {
		t.Error("networks differ from themselves")
	}
	for _, other := range []layout.Networks{{}, {Pods: one.Pods}, {Services: one.Services}, {Pods: one.Services, Services: one.Pods}} {
		if one.Equal(other) {
			t.Errorf("%v and %v are taken for the same", one, other)
		}
	}
}
