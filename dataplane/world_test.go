package dataplane_test

import (
	"fmt"
	"net/netip"
	"strings"
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

// writer is a Writer on the tables of a namespace, and its connection.
type writer struct {
	*dataplane.Writer
	conn *kernel.Conn
	t    *testing.T
}

var config = layout.Config{
	PodCIDRs:      []netip.Prefix{netip.MustParsePrefix("10.254.0.0/16"), netip.MustParsePrefix("fd00:10:254::/48")},
	MasqueradeBit: layout.DefaultMasqueradeBit,
}

// layoutOf makes a layout for a configuration.
type layoutOf func(layout.Config) dataplane.Layout

func flat(c layout.Config) dataplane.Layout    { return maps.NewLayout(c) }
func chained(c layout.Config) dataplane.Layout { return chains.NewLayout(c) }

// scaled is n, or less where each change costs the more the larger the tables are.
func scaled(layout layoutOf, n int) int {
	if _, ok := layout(config).(*chains.Layout); ok {
		return n / 10
	}
	return n
}

// eachLayout runs a test with either layout.
func eachLayout(t *testing.T, test func(*testing.T, layoutOf)) {
	t.Run("maps", func(t *testing.T) { test(t, flat) })
	t.Run("chains", func(t *testing.T) { test(t, chained) })
}

// adopt makes a Writer that has taken over what the namespace's kernel holds.
func adopt(t *testing.T, ns *testbed.Namespace, layout layoutOf) *writer {
	t.Helper()
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return adopted(t, conn, conn, layout)
}

// adopted makes one that goes through another connection.
func adopted(t *testing.T, through dataplane.Kernel, conn *kernel.Conn, layout layoutOf) *writer {
	t.Helper()
	w := &writer{dataplane.NewWriter(through, layout(config)), conn, t}
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	return w
}

// program brings Services into the kernel and fails the test if it can't.
func (w *writer) program(services ...proxy.Service) {
	w.t.Helper()
	var changes []dataplane.Change
	for _, svc := range services {
		changes = append(changes, dataplane.Change{Name: svc.Name, Service: svc, Gone: svc.Ports == nil})
	}
	failures, err := w.Program(changes)
	if err != nil || len(failures) > 0 {
		w.t.Fatalf("program: %v, failures %v", err, failures)
	}
}

func (w *writer) sweep() {
	w.t.Helper()
	if err := w.Sweep(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) generation() uint32 {
	w.t.Helper()
	g, err := w.conn.Generation()
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// count is the number of elements that the kernel has in a set.
func (w *writer) count(set string) int {
	w.t.Helper()
	n := 0
	for _, table := range maps.NewLayout(config).Tables() {
		held, err := w.conn.Read(table.ID())
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(held.Sets[set].Elements)
	}
	return n
}

// service makes a Service from the text "name proto/port vip,vip endpoint,...":
// each VIP gets the endpoints of its family, a "*" before one makes it local.
func service(name, protocolPort string, vips, endpoints string) proxy.Service {
	protocol, number, _ := strings.Cut(protocolPort, "/")
	var port uint16
	if _, err := fmt.Sscan(number, &port); err != nil {
		panic(err)
	}
	protocols := map[string]proxy.Protocol{"tcp": proxy.TCP, "udp": proxy.UDP, "sctp": proxy.SCTP}
	svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: name}}
	for vip := range strings.SplitSeq(vips, ",") {
		addr := netip.MustParseAddr(vip)
		p := proxy.Port{Protocol: protocols[protocol], Port: port, Frontends: []proxy.Frontend{{Addr: addr}}}
		for text := range strings.SplitSeq(endpoints, ",") {
			if text == "" {
				continue
			}
			remote := strings.TrimPrefix(text, "*")
			ep := proxy.Endpoint{AddrPort: netip.MustParseAddrPort(remote), Local: text != remote}
			if ep.Addr().Is4() == addr.Is4() {
				p.Endpoints = append(p.Endpoints, ep)
			}
		}
		svc.Ports = append(svc.Ports, p)
	}
	return svc
}

// gone is a Service that is deleted.
func gone(name string) proxy.Service {
	return proxy.Service{Name: proxy.Name{Namespace: "ns", Name: name}}
}

// table is the ID of our table of that family.
func (w *writer) table(family string) nft.ID {
	for _, t := range maps.NewLayout(config).Tables() {
		if t.Family.String() == family {
			return t.ID()
		}
	}
	panic(family)
}

// must is a value that can be had without an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
