package iptables

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// The names are those that kube-proxy gave its chains.
func TestChainNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ServiceChain(PrefixService, "openshift-dns/dns-default:dns", proxy.UDP), "KUBE-SVC-BGNS3J6UB7MMLVDO"},
		{ServiceChain(PrefixService, "openshift-dns/dns-default:dns-tcp", proxy.TCP), "KUBE-SVC-6BRQXW4I6ZZ3LHZH"},
		{ServiceChain(PrefixService, "openshift-dns/dns-default:metrics", proxy.TCP), "KUBE-SVC-P2RWE722QPZ5K3VW"},
		{EndpointChain("openshift-dns/dns-default:dns", proxy.UDP, netip.MustParseAddrPort("10.254.0.92:5353")), "KUBE-SEP-RM5SOZAKVKA2GMP7"},
		{EndpointChain("openshift-dns/dns-default:dns", proxy.UDP, netip.MustParseAddrPort("10.254.1.115:5353")), "KUBE-SEP-E7N2MVG6CMQUL637"},
		{EndpointChain("openshift-dns/dns-default:dns", proxy.UDP, netip.MustParseAddrPort("10.254.4.74:5353")), "KUBE-SEP-2GYGZVZWX5UVIMQH"},
		{ServiceChain(PrefixLocal, "kinds/itp-local:http", proxy.TCP), "KUBE-SVL-OIOPXKH7UXHELX6E"},
		{ServiceChain(PrefixExternal, "kinds/nodeport:http", proxy.TCP), "KUBE-EXT-FQZQTPHKPT5V4G5B"},
		{ServiceChain(PrefixFirewall, "kinds/lb-ranges:http", proxy.TCP), "KUBE-FW-SDBS65VKBRUXYCQ5"},
		{ServiceChain(PrefixService, "kinds/dual:sig", proxy.SCTP), "KUBE-SVC-FL4YYBXEKJ5F6WXK"},
		{EndpointChain("kinds/dual:http", proxy.TCP, netip.MustParseAddrPort("[fd00:10:254::31]:8080")), "KUBE-SEP-IYDQUEZAX5P6P6EK"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

// The document's cascade gives each of six endpoints the same share.
func TestCascade(t *testing.T) {
	var texts []string
	for _, p := range Even(6) {
		texts = append(texts, p.String())
	}
	if got, want := strings.Join(texts, " "), "0.16666666651 0.20000000019 0.25000000000 0.33333333349 0.50000000000 1.00000000000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	shares, rest := Shares(Even(6))
	if rest != 0 {
		t.Errorf("%g is left", rest)
	}
	for i, s := range shares {
		if s < 1./6-1e-8 || s > 1./6+1e-8 {
			t.Errorf("share %d is %.12f", i, s)
		}
	}
	if shares, rest := Shares([]Probability{Always / 4, Always / 2}); shares[0] != 0.25 || shares[1] != 0.375 || rest != 0.375 {
		t.Errorf("shares of a cascade without an end: %v, %v", shares, rest)
	}
	for _, wrong := range []string{"", "x", "-0.1", "1.1", "NaN"} {
		if p, ok := ParseProbability(wrong); ok {
			t.Errorf("%q is taken for %s", wrong, p)
		}
	}
}
