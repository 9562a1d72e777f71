package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// ruleset is kube-proxy 1.37's for ClusterIPs, written as kube-proxy writes it: one
// transaction of text for the nft program.
type ruleset struct {
	ns        *testbed.Namespace
	endpoints int
}

func newRuleset(ns *testbed.Namespace) (side, error) { return &ruleset{ns: ns}, nil }

func (p *ruleset) close() {}

// base is what kube-proxy has whatever the Services are.
const base = `
add table ip kube-proxy
add set ip kube-proxy cluster-ips { type ipv4_addr ; }
add set ip kube-proxy hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service ; }
add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add chain ip kube-proxy filter-forward { type filter hook forward priority 0 ; }
add chain ip kube-proxy filter-output { type filter hook output priority 0 ; }
add chain ip kube-proxy services
add chain ip kube-proxy masquerading
add chain ip kube-proxy service-endpoints-check
add chain ip kube-proxy cluster-ips-check
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump cluster-ips-check
`

func (p *ruleset) load(n, endpoints int) (time.Duration, error) {
	p.endpoints = endpoints
	var b strings.Builder
	b.WriteString(base)
	for i := range n {
		svc := service(i, endpoints, 0)
		p.chain(&b, svc)
		port := svc.Ports[0]
		vip := port.Frontends[0].Addr
		fmt.Fprintf(&b, "add element ip kube-proxy cluster-ips { %s }\n", vip)
		fmt.Fprintf(&b, "add element ip kube-proxy service-ips { %s . %s . %d : goto %s }\n", vip, port.Protocol, port.Port, chain(svc))
	}
	return p.nft(b.String())
}

func chain(svc proxy.Service) string {
	return "service-ABCDEFGH-" + svc.Name.String() + "/tcp/http"
}

// chain is how kube-proxy writes a Service port whose endpoints have changed.
func (p *ruleset) chain(b *strings.Builder, svc proxy.Service) {
	endpoints := svc.Ports[0].Endpoints
	name := chain(svc)
	fmt.Fprintf(b, "add chain ip kube-proxy %s\nflush chain ip kube-proxy %s\n", name, name)
	if len(endpoints) == 1 {
		fmt.Fprintf(b, "add rule ip kube-proxy %s meta l4proto tcp dnat to %s\n", name, endpoints[0])
		return
	}
	fmt.Fprintf(b, "add rule ip kube-proxy %s meta l4proto tcp dnat ip addr . port to numgen random mod %d map {", name, len(endpoints))
	for i, e := range endpoints {
		fmt.Fprintf(b, " %d : %s . %d ,", i, e.Addr(), e.Port())
	}
	b.WriteString(" }\n")
}

func (p *ruleset) replace(i, round int) (time.Duration, error) {
	var b strings.Builder
	p.chain(&b, service(i, p.endpoints, round+1))
	return p.nft(b.String())
}

func (p *ruleset) resize(i, round int) (time.Duration, error) {
	var b strings.Builder
	p.chain(&b, service(i, p.endpoints+1-2*(round%2), 0))
	return p.nft(b.String())
}

func (p *ruleset) nft(script string) (time.Duration, error) { return nftScript(p.ns, script) }
