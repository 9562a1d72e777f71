package testbed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestManyAsks(t *testing.T) {
	_, a, b, _ := world(t)
	const clients, each = 4, 2500
	for i := range b.Addrs {
		for _, protocol := range protocols {
			at := netip.AddrPortFrom(b.Addrs[i], 80)
			server := serve(t, b.Namespace, protocol, at)
			err := a.Clients(clients, func(c *Client) error {
				for range each {
					answer, err := c.Ask(protocol, at, limit)
					if err != nil {
						return err
					}
					if answer.Server != at || answer.Client != answer.Local {
						return fmt.Errorf("%s gave %+v", at, answer)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if got := server.Hits(); got != clients*each {
				t.Errorf("%s/%s counted %d requests, want %d", at, protocol, got, clients*each)
			}
		}
	}
}

func TestFlowStaysOpen(t *testing.T) {
	_, a, b, _ := world(t)
	for _, protocol := range protocols {
		at := netip.AddrPortFrom(b.Addrs[0], 80)
		server := serve(t, b.Namespace, protocol, at)
		flow, err := a.Open(protocol, at, limit)
		if err != nil {
			t.Fatal(err)
		}
		defer flow.Close()
		for range 3 {
			answer, err := flow.Ask(limit)
			if err != nil || answer.Server != at || answer.Client != flow.Local {
				t.Errorf("%s: %+v, %v; want an answer from %s to %s", protocol, answer, err, at, flow.Local)
			}
		}
		if got := server.Hits(); got != 3 {
			t.Errorf("%s: %d requests were counted, want 3", protocol, got)
		}
		server.Close()
		if answer, err := flow.Ask(limit); err == nil {
			t.Errorf("%s: a closed server answered %+v", protocol, answer)
		}
		if _, err := a.Ask(protocol, at, limit); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: asking a closed server: %v, want %v", protocol, err, ErrRefused)
		}
	}
}

// A flow has ended when the server has closed it, and not when it was reset.
func TestEndIsAwaited(t *testing.T) {
	_, a, b, _ := world(t)
	at := netip.AddrPortFrom(b.Addrs[0], 80)
	var listener net.Listener
	err := b.Do(func() (err error) {
		listener, err = net.Listen("tcp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for _, reset := range []bool{false, true} {
		flow, err := a.Open("tcp", at, limit)
		if err != nil {
			t.Fatal(err)
		}
		defer flow.Close()
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := flow.AwaitEnd(time.Millisecond); !errors.Is(err, ErrTimeout) {
			t.Errorf("an open flow ended with %v", err)
		}
		if reset {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		_ = conn.Close()
		if err := flow.AwaitEnd(limit); (err != nil) != reset {
			t.Errorf("closed with a reset (%t), it ended with %v", reset, err)
		}
	}
}

func TestClientChoosesItsSource(t *testing.T) {
	node := NewTestNode(t, addr("10.0.0.1"), addr("fd00::1"))
	many := host(t)(node.AddClient("many", addr("192.0.2.1"), addr("192.0.2.2"), addr("2001:db8::1"), addr("2001:db8::2")))
	for _, at := range []string{"10.0.0.1:80", "[fd00::1]:80"} {
		to := netip.MustParseAddrPort(at)
		serve(t, node.Namespace, "udp", to)
		for _, from := range many.Addrs {
			if from.Is4() != to.Addr().Is4() {
				continue
			}
			err := many.Clients(1, func(c *Client) error {
				for _, port := range []uint16{0, 5353} {
					c.From = netip.AddrPortFrom(from, port)
					answer, err := c.Ask("udp", to, limit)
					if err != nil {
						return err
					}
					if answer.Client.Addr() != from || port != 0 && answer.Client.Port() != port {
						return fmt.Errorf("the server saw %s, want %s", answer.Client, c.From)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestStrangersReplyIsNoAnswer(t *testing.T) {
	for _, line := range []string{"", "\n", "hello\n", "10.0.0.1:80\n", "10.0.0.1 10.0.0.2\n", "10.0.0.1:80 x\n"} {
		if answer, err := parseAnswer(line); err == nil {
			t.Errorf("parseAnswer(%q) = %+v", line, answer)
		}
	}
}

func TestServeRefusesNonsense(t *testing.T) {
	ns := NewTestNamespace(t)
	for _, test := range []struct{ protocol, at string }{
		{"tcp", "0.0.0.0:80"}, {"udp", "[::]:80"}, {"sctp", "127.0.0.1:80"}, {"tcp", "192.0.2.1:80"},
	} {
		if s, err := ns.Serve(test.protocol, netip.MustParseAddrPort(test.at)); err == nil {
			s.Close()
			t.Errorf("serving %s on %s worked", test.protocol, test.at)
		}
	}
}

func BenchmarkAsk(b *testing.B) {
	Need(b)
	node, err := NewNode(addr("10.0.0.1"), addr("fd00::1"))
	if err != nil {
		b.Fatal(err)
	}
	defer node.Close()
	pod, err := node.AddPod("pod", addr("10.244.0.10"))
	if err != nil {
		b.Fatal(err)
	}
	for _, protocol := range protocols {
		at := netip.AddrPortFrom(pod.Addrs[0], 80)
		server, err := pod.Serve(protocol, at)
		if err != nil {
			b.Fatal(err)
		}
		defer server.Close()
		b.Run(protocol, func(b *testing.B) {
			err := node.Clients(1, func(c *Client) error {
				for b.Loop() {
					if _, err := c.Ask(protocol, at, limit); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
