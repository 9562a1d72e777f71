package main

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

//go:embed objects.yaml
var objects []byte

const objectsFile = "/tmp/objects.yaml"

// patience is for answers that must come, silence for those that must not: an emulated
// processor is slow.
const (
	patience = 20 * time.Second
	silence  = 2 * time.Second
)

// packets programs our objects in one layout and sends real packets to all of them.
func packets(j *job, layout string) error {
	if err := os.WriteFile(objectsFile, objects, 0o644); err != nil {
		return err
	}
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.node.Close()
	apply := []string{"apply", "-f", objectsFile, "--layout", layout}
	j.check("apply", expect(w.node.Namespace, "added", apply...))
	for _, f := range w.families {
		for _, a := range w.asks(f) {
			j.check(fmt.Sprintf("%s, %s", a.what, f.name), a.do())
		}
		j.check("SCTP reaches an endpoint and keeps its source, "+f.name, w.sctp(f))
	}
	j.check("apply the unchanged objects", expect(w.node.Namespace, "nothing to change", apply...))
	j.lists(w.node.Namespace, "what packets left, in "+layout, objectsFile)
	j.check("explain", expect(w.node.Namespace, "10.254.0.1", "explain", "demo/plain", "-f", objectsFile))
	j.check("trace", w.trace())
	j.check("NodePort at localhost", w.localhost(apply))
	return nil
}

// world is a node with two pods, a pod elsewhere, and two clients outside of the cluster.
type world struct {
	node                         *testbed.Node
	near, other, far, out, stray *testbed.Host
	families                     []family
}

// family is what differs between IPv4 and IPv6.
type family struct {
	name                               string
	node, near, other, far, out, stray string // addresses
	vip                                string // how ClusterIPs begin
	digit                              string // the format of what follows
	external, balancer, unused         string
}

var (
	ipv4 = family{
		"IPv4", "10.240.0.11", "10.254.0.1", "10.254.0.2", "10.254.1.1", "198.18.0.5", "203.0.113.9",
		"10.96.0.", "%d", "192.0.2.1", "192.0.2.2", "10.96.9.9",
	}
	ipv6 = family{
		"IPv6", "fd00:10:240::11", "fd00:10:254::1", "fd00:10:254::2", "fd00:10:254:1::1", "2001:db8:18::5", "2001:db8:99::9",
		"fd00:10:96::", "%x", "2001:db8:1::1", "2001:db8:1::2", "fd00:10:96::9999",
	}
)

func newWorld() (w *world, err error) {
	w = &world{families: []family{ipv4}}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		w.families = append(w.families, ipv6)
	}
	addrs := func(of func(f family) string) (list []netip.Addr) {
		for _, f := range w.families {
			list = append(list, netip.MustParseAddr(of(f)))
		}
		return list
	}
	if w.node, err = testbed.NewNode(addrs(func(f family) string { return f.node })...); err != nil {
		return nil, err
	}
	for _, h := range []struct {
		host **testbed.Host
		add  func(string, ...netip.Addr) (*testbed.Host, error)
		name string
		of   func(f family) string
	}{
		{&w.near, w.node.AddPod, "near", func(f family) string { return f.near }},
		{&w.other, w.node.AddPod, "other", func(f family) string { return f.other }},
		{&w.far, w.node.AddClient, "far", func(f family) string { return f.far }},
		{&w.out, w.node.AddClient, "out", func(f family) string { return f.out }},
		{&w.stray, w.node.AddClient, "stray", func(f family) string { return f.stray }},
	} {
		if *h.host, err = h.add(h.name, addrs(h.of)...); err != nil {
			return nil, err
		}
	}
	for _, h := range []*testbed.Host{w.near, w.other, w.far} {
		for _, a := range h.Addrs {
			for protocol, port := range map[string]uint16{"tcp": 8080, "udp": 5353} {
				if _, err := h.Serve(protocol, netip.AddrPortFrom(a, port)); err != nil {
					return nil, err
				}
			}
		}
	}
	return w, nil
}

// ask is what a client does some times, and what must come of it.
type ask struct {
	what     string
	from     *testbed.Namespace
	protocol string
	to       netip.AddrPort
	times    int
	servers  []string // who may answer
	all      bool     // each of them must
	same     bool     // always the same one must
	client   string   // whom they must see; any, if empty
	fails    error    // or what comes instead of an answer
}

func (a ask) do() error {
	limit := patience
	if errors.Is(a.fails, testbed.ErrTimeout) {
		limit = silence
	}
	servers, clients := map[string]bool{}, map[string]bool{}
	err := a.from.Clients(1, func(c *testbed.Client) error {
		for range a.times {
			answer, err := c.Ask(a.protocol, a.to, limit)
			if a.fails != nil {
				if !errors.Is(err, a.fails) {
					return fmt.Errorf("%s: wanted %v, got %v, %v", a.to, a.fails, answer, err)
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", a.to, err)
			}
			servers[answer.Server.Addr().String()] = true
			clients[answer.Client.Addr().String()] = true
		}
		return nil
	})
	if err != nil || a.fails != nil {
		return err
	}
	got := slices.Sorted(maps.Keys(servers))
	for _, server := range got {
		if !slices.Contains(a.servers, server) {
			return fmt.Errorf("%s: %s answers, wanted %v", a.to, server, a.servers)
		}
	}
	if a.all && len(got) != len(a.servers) {
		return fmt.Errorf("%s: only %v answer, wanted %v", a.to, got, a.servers)
	}
	if a.same && len(got) != 1 {
		return fmt.Errorf("%s: %v answer, wanted always the same", a.to, got)
	}
	if a.client != "" && (len(clients) != 1 || !clients[a.client]) {
		return fmt.Errorf("%s: the servers see %v, wanted %s", a.to, slices.Sorted(maps.Keys(clients)), a.client)
	}
	return nil
}

// sctp sends an association's first packet to a ClusterIP; the endpoints have no SCTP and
// only look at what arrives.
func (w *world) sctp(f family) error {
	var catchers []*testbed.SCTPCatcher
	for _, h := range []*testbed.Host{w.near, w.other, w.far} {
		c, err := h.CatchSCTP()
		if err != nil {
			return err
		}
		defer c.Close()
		catchers = append(catchers, c)
	}
	return w.other.Clients(1, func(c *testbed.Client) error {
		tag, err := c.SendSCTP(netip.AddrPortFrom(f.service(10), 2905))
		if err != nil {
			return err
		}
		return testbed.Wait(patience, "the packet", func() error {
			for i, catcher := range catchers {
				if a, ok := catcher.Seen(tag); ok {
					// From a pod to itself, the source is hidden.
					if kept := a.From.Addr().String() == f.other; a.Port != 2905 || !kept && i != 1 {
						return fmt.Errorf("it came as %+v", a)
					}
					return nil
				}
			}
			return errors.New("it did not arrive")
		})
	})
}

// trace follows a packet. Before 5.12 the kernel lacks what it needs, and it must say so.
func (w *world) trace() error {
	p, err := w.node.Start(program, append([]string{"trace", "--duration", "15s"}, programFlags...)...)
	if err != nil {
		return err
	}
	time.Sleep(8 * time.Second) // until it looks
	asks := w.asks(ipv4)
	if err := asks[0].do(); err != nil {
		return err
	}
	err = p.Wait(2 * patience)
	out := p.Output()
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	switch {
	case strings.HasPrefix(string(release), "5.10."):
		if err == nil || !strings.Contains(out, "5.12") {
			return fmt.Errorf("on %sit does not say what it needs: %v: %s", release, err, out)
		}
	case err != nil || !strings.Contains(out, "demo/plain"):
		return fmt.Errorf("it tells nothing of demo/plain: %v: %s", err, out)
	}
	return nil
}

// localhost serves NodePorts at 127.0.0.1, and nowhere else.
func (w *world) localhost(apply []string) error {
	return errors.Join(
		w.node.Sysctl("net.ipv4.conf.all.route_localnet", "1"),
		expect(w.node.Namespace, "", append(apply, "--nodeport-addresses", "localhost")...),
		ask{from: w.node.Namespace, protocol: "tcp", to: netip.MustParseAddrPort("127.0.0.1:30080"), times: 6, servers: []string{ipv4.near, ipv4.far}}.do(),
		ask{from: w.out.Namespace, protocol: "tcp", to: netip.MustParseAddrPort("10.240.0.11:30080"), times: 1, fails: testbed.ErrRefused}.do(),
	)
}
