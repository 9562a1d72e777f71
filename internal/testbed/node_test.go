package testbed

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const limit = 5 * time.Second

var protocols = []string{"tcp", "udp"}

// world is a node with two pods and a client, all in both families.
func world(t *testing.T) (node *Node, a, b, client *Host) {
	t.Helper()
	node = NewTestNode(t, addr("10.0.0.1"), addr("fd00::1"))
	a = host(t)(node.AddPod("a", addr("10.244.0.10"), addr("fd00:10:244::10")))
	b = host(t)(node.AddPod("b", addr("10.244.0.11"), addr("fd00:10:244::11")))
	client = host(t)(node.AddClient("client", addr("192.0.2.7"), addr("2001:db8::7")))
	return node, a, b, client
}

func host(t *testing.T) func(*Host, error) *Host {
	return func(h *Host, err error) *Host {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
}

func serve(t *testing.T, ns *Namespace, protocol string, at netip.AddrPort) *Server {
	t.Helper()
	s, err := ns.Serve(protocol, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestEveryoneReachesEveryone(t *testing.T) {
	node, a, b, client := world(t)
	hosts := []struct {
		name  string
		ns    *Namespace
		addrs []netip.Addr
	}{
		{"node", node.Namespace, node.Addrs},
		{"pod a", a.Namespace, a.Addrs},
		{"pod b", b.Namespace, b.Addrs},
		{"client", client.Namespace, client.Addrs},
	}
	for _, to := range hosts {
		for i := range to.addrs {
			for _, protocol := range protocols {
				at := netip.AddrPortFrom(to.addrs[i], 8080)
				server := serve(t, to.ns, protocol, at)
				for _, from := range hosts {
					answer, err := from.ns.Ask(protocol, at, limit)
					if err != nil {
						t.Errorf("%s to %s: %v", from.name, to.name, err)
						continue
					}
					if answer.Server != at {
						t.Errorf("%s to %s: %s answered, want %s", from.name, to.name, answer.Server, at)
					}
					if answer.Client != answer.Local || answer.Client.Addr() != from.addrs[i] {
						t.Errorf("%s to %s: the server saw %s, the client has %s and was given %s",
							from.name, to.name, answer.Client, answer.Local, from.addrs[i])
					}
				}
				if got := server.Hits(); got != int64(len(hosts)) {
					t.Errorf("%s %s/%s counted %d requests, want %d", to.name, at, protocol, got, len(hosts))
				}
			}
		}
	}
}

// Each way to fail has to be told from the others, as each says something else
// about a proxy.
func TestErrorsDiffer(t *testing.T) {
	node, a, b, client := world(t)
	if _, err := b.RunInput(strings.NewReader(`table inet t { chain c { type filter hook input priority 0; udp dport 9 drop; tcp dport 9 drop; }; }`), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	from := map[string]*Namespace{"node": node.Namespace, "pod": a.Namespace, "client": client.Namespace}
	for name, ns := range from {
		for _, protocol := range protocols {
			for _, test := range []struct {
				to   string
				want error
			}{
				{"10.244.0.11:1", ErrRefused},
				{"[fd00:10:244::11]:1", ErrRefused},
				{"10.96.0.10:80", ErrUnreachable}, // an address nobody serves
				{"[fd00:10:96::10]:80", ErrUnreachable},
				{"10.244.0.11:9", ErrTimeout},
				{"[fd00:10:244::11]:9", ErrTimeout},
			} {
				timeout := limit
				if test.want == ErrTimeout {
					timeout = 50 * time.Millisecond
				}
				start := time.Now()
				_, err := ns.Ask(protocol, netip.MustParseAddrPort(test.to), timeout)
				if !errors.Is(err, test.want) {
					t.Errorf("%s to %s/%s: %v, want %v", name, test.to, protocol, err, test.want)
				}
				// An error that takes longer was found in another way than was meant.
				if took := time.Since(start); took > 900*time.Millisecond {
					t.Errorf("%s to %s/%s: %v took %v", name, test.to, protocol, err, took)
				}
			}
		}
	}
}

// However many are refused, each is told: the kernel's limits on ICMP errors
// would turn some of them into timeouts.
func TestNoErrorIsHeldBack(t *testing.T) {
	_, a, b, _ := world(t)
	nobodys := []netip.Addr{addr("10.96.0.10"), addr("fd00:10:96::10")}
	for i, at := range b.Addrs {
		for _, ask := range []struct {
			of   netip.Addr
			want error
		}{{at, ErrRefused}, {nobodys[i], ErrUnreachable}} {
			err := a.Clients(1, func(c *Client) error {
				for range 500 {
					if _, err := c.Ask("udp", netip.AddrPortFrom(ask.of, 1), limit); !errors.Is(err, ask.want) {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("asking in vain: %v, want %v", err, ask.want)
			}
		}
	}
}

// A router that masquerades must find its own address, not a link's next hop, or
// tests of masquerading would see what no real node does.
func TestMasqueradeHasTheNodesAddress(t *testing.T) {
	node, a, _, _ := world(t)
	if _, err := node.RunInput(strings.NewReader(`table inet t { chain c { type nat hook postrouting priority 100; masquerade; }; }`), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	b := host(t)(node.AddPod("later", addr("10.244.0.12"), addr("fd00:10:244::12")))
	for i, at := range b.Addrs {
		serve(t, b.Namespace, "tcp", netip.AddrPortFrom(at, 80))
		answer, err := a.Ask("tcp", netip.AddrPortFrom(at, 80), limit)
		if err != nil || answer.Client.Addr() != node.Addrs[i] {
			t.Errorf("%s saw %v, %v; want %s", at, answer.Client, err, node.Addrs[i])
		}
	}
}

func TestClosedPodIsGone(t *testing.T) {
	node, a, b, _ := world(t)
	at := netip.AddrPortFrom(b.Addrs[0], 80)
	serve(t, b.Namespace, "udp", at)
	if _, err := a.Ask("udp", at, limit); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := a.Ask("udp", at, limit); !errors.Is(err, ErrUnreachable) {
		t.Errorf("asking a removed pod: %v, want %v", err, ErrUnreachable)
	}
	links, err := node.Run("ip", "-o", "link")
	if err != nil || strings.Contains(links, b.Link+"@") {
		t.Errorf("the node still has %s (%v):\n%s", b.Link, err, links)
	}
}

func TestNodeOfOneFamily(t *testing.T) {
	for _, text := range []string{"10.0.0.1", "fd00::1"} {
		node := NewTestNode(t, addr(text))
		at := netip.AddrPortFrom(node.Addrs[0], 80)
		serve(t, node.Namespace, "tcp", at)
		if _, err := node.Ask("tcp", at, limit); err != nil {
			t.Error(err)
		}
	}
	Need(t)
	if _, err := NewNode(); err == nil {
		t.Error("a node without addresses was made")
	}
}

// A host that takes a network is reached at any address of it, and as that address.
func TestHostTakesNetwork(t *testing.T) {
	_, a, b, client := world(t)
	check(t, a.Take(netip.MustParsePrefix("10.245.0.0/16")))
	for _, at := range []string{"10.245.0.1", "10.245.255.254"} {
		server := serve(t, a.Namespace, "tcp", netip.AddrPortFrom(addr(at), 8080))
		for _, from := range []*Host{b, client} {
			answer, err := from.Ask("tcp", server.Addr, limit)
			if err != nil || answer.Server != server.Addr {
				t.Errorf("%s asked at %s: %+v, %v", from.Name, at, answer, err)
			}
		}
	}
}
