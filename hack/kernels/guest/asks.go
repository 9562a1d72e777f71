package main

import (
	"fmt"
	"net/netip"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// service is the ClusterIP of one of objects.yaml's Services.
func (f family) service(n int) netip.Addr {
	return netip.MustParseAddr(f.vip + fmt.Sprintf(f.digit, n))
}

// asks are the questions of one family, and their answers.
func (w *world) asks(f family) []ask {
	const tcp, udp = "tcp", "udp"
	at := netip.AddrPortFrom
	node, external, balancer := netip.MustParseAddr(f.node), netip.MustParseAddr(f.external), netip.MustParseAddr(f.balancer)
	pods, two, one := []string{f.near, f.other, f.far}, []string{f.near, f.far}, []string{f.near}
	// A pod that meets itself is masqueraded: where the source counts, it asks a Service that
	// it does not serve.
	near, out, stray, host := w.near.Namespace, w.out.Namespace, w.stray.Namespace, w.node.Namespace
	return []ask{
		{what: "ClusterIP, TCP: every endpoint answers", from: host, protocol: tcp, to: at(f.service(10), 80), times: 40, servers: pods, all: true},
		{what: "ClusterIP, TCP: a pod keeps its source", from: w.other.Namespace, protocol: tcp, to: at(f.service(12), 80), times: 6, servers: two, client: f.other},
		{what: "ClusterIP, UDP", from: near, protocol: udp, to: at(f.service(10), 53), times: 6, servers: pods},
		{what: "ClusterIP, from outside: masqueraded", from: out, protocol: tcp, to: at(f.service(16), 80), times: 4, servers: []string{f.far}, client: f.node},
		{what: "no endpoints, TCP: refused", from: near, protocol: tcp, to: at(f.service(11), 80), times: 2, fails: testbed.ErrRefused},
		{what: "no endpoints, TCP, from the node: refused", from: host, protocol: tcp, to: at(f.service(11), 80), times: 2, fails: testbed.ErrRefused},
		{what: "no endpoints, UDP: refused", from: near, protocol: udp, to: at(f.service(11), 53), times: 2, fails: testbed.ErrRefused},
		{what: "a port that the Service has not: refused", from: near, protocol: tcp, to: at(f.service(10), 81), times: 1, fails: testbed.ErrRefused},
		{what: "an address that no Service has: dropped", from: near, protocol: tcp, to: at(netip.MustParseAddr(f.unused), 80), times: 1, fails: testbed.ErrTimeout},
		{what: "NodePort", from: out, protocol: tcp, to: at(node, 30080), times: 6, servers: two},
		{what: "external IP", from: out, protocol: tcp, to: at(external, 80), times: 6, servers: two},
		{what: "load balancer, source in its ranges", from: out, protocol: tcp, to: at(balancer, 80), times: 6, servers: two},
		{what: "load balancer, source in none: dropped", from: stray, protocol: tcp, to: at(balancer, 80), times: 1, fails: testbed.ErrTimeout},
		{what: "policy Local, TCP: this node's endpoint, source kept", from: out, protocol: tcp, to: at(node, 30081), times: 6, servers: one, client: f.out},
		{what: "policy Local, UDP: this node's endpoint, source kept", from: out, protocol: udp, to: at(node, 30053), times: 6, servers: one, client: f.out},
		{what: "policy Local, from the node: any endpoint", from: host, protocol: tcp, to: at(node, 30081), times: 12, servers: two},
		{what: "policy Local without an endpoint here: dropped", from: out, protocol: tcp, to: at(node, 30082), times: 1, fails: testbed.ErrTimeout},
		{what: "affinity", from: near, protocol: tcp, to: at(f.service(14), 80), times: 15, servers: pods, same: true},
		{what: "a pod reaches itself", from: near, protocol: tcp, to: at(f.service(15), 80), times: 3, servers: one},
	}
}
