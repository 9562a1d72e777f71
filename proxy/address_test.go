package proxy_test

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	netutils "k8s.io/utils/net"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Networks are read as kube-proxy reads them, whose reader is asked beside.
func TestNetworksAreReadAsAddressesAre(t *testing.T) {
	for _, tc := range []struct {
		text, want string
		canonical  bool
	}{
		{"192.0.2.0/24", "192.0.2.0/24", true},
		{" 192.0.2.0/24\n", "192.0.2.0/24", true},
		{"192.0.2.7/24", "192.0.2.0/24", true},
		{"0.0.0.0/0", "0.0.0.0/0", true},
		{"2001:db8::/32", "2001:db8::/32", true},
		{"203.0.113.000/25", "203.0.113.0/25", false},
		{"010.1.0.0/16", "10.1.0.0/16", false},
		{"10.0.0.0/08", "10.0.0.0/8", false},
		{"::ffff:192.0.2.0/120", "192.0.2.0/24", false},
		{"::FFFF:c000:0201/128", "192.0.2.1/32", false},
		{"::ffff:0.0.0.0/96", "0.0.0.0/0", false},
		// More than IPv4 addresses is a network of IPv6.
		{"::ffff:192.0.2.0/95", "::fffe:0:0/95", false},
		{"::ffff:192.0.2.0/0", "::/0", false},
		{"::ffff:192.0.2.0/24", "::/24", false},
		{"192.0.2.0", "", false},
		{"192.0.2.0/33", "", false},
		{"::ffff:192.0.2.0/129", "", false},
		{"192.0.2.0/-1", "", false},
		{"fe80::%eth0/64", "", false},
		{"", "", false},
	} {
		prefix, canonical, ok := proxy.ParsePrefix(tc.text)
		got := ""
		if ok {
			got = prefix.String()
		}
		if got != tc.want || canonical != tc.canonical {
			t.Errorf("%q is read as %q, canonical %t; want %q, %t", tc.text, got, canonical, tc.want, tc.canonical)
		}
		_, network, err := netutils.ParseCIDRSloppy(strings.TrimSpace(tc.text))
		if (err == nil) != ok || ok && (netutils.IsIPv4CIDR(network) != prefix.Addr().Is4() || !network.Contains(prefix.Addr().AsSlice())) {
			t.Errorf("%q is read as %q, kube-proxy reads %v, %v", tc.text, got, network, err)
		}
	}
}

// A range that is written in an unusual way guards what it says, and not less.
func TestSourceRangesAsTheyAreWritten(t *testing.T) {
	for _, tc := range []struct{ text, ranges, warning string }{
		{"'::ffff:192.0.2.0/120'", " from [192.0.2.0/24]", `"::ffff:192.0.2.0/120" is taken as 192.0.2.0/24; write it so`},
		{"203.0.113.000/25", " from [203.0.113.0/25]", `"203.0.113.000/25" is taken as 203.0.113.0/25; write it so`},
		{"203.0.113.7/25", " from [203.0.113.0/25]", ""},
	} {
		svc, problems := build(t, "spec: {type: LoadBalancer, clusterIP: 10.96.0.1, loadBalancerSourceRanges: ["+tc.text+"], ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}", "")
		want := "cluster 10.96.0.1:80/tcp -> none\nbalancer 192.0.2.2:80/tcp -> none" + tc.ranges + "\n"
		if got := lines(svc); got != want || svc.Unread != nil {
			t.Errorf("with the range %s the model is\n%swant\n%s", tc.text, got, want)
		}
		told := ""
		if tc.warning != "" {
			told = "warning: InvalidAddress service ns/web: spec.loadBalancerSourceRanges[0]: " + tc.warning + "\n"
		}
		if got := problemLines(problems); got != told {
			t.Errorf("of the range %s is told\n%swant\n%s", tc.text, got, told)
		}
	}
	cidrs, problems := proxy.ServiceCIDRs([]*networkingv1.ServiceCIDR{{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"010.96.0.0/16", "fd00:96::/112"}}}})
	if len(cidrs) != 2 || cidrs[0].String() != "10.96.0.0/16" || len(problems) != 1 || !problems[0].Warning {
		t.Errorf("ServiceCIDRs are read as %v with the problems %v", cidrs, problems)
	}
}
