package dataplane_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// from sends a datagram from each of n addresses of the host.
func (w *world) from(network netip.Prefix, n int, to netip.AddrPort) {
	w.t.Helper()
	err := w.asker.Do(func() error {
		socket, err := net.ListenPacket("udp4", "")
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		conn, at := ipv4.NewPacketConn(socket), network.Addr()
		for range n {
			at = at.Next()
			if _, err := conn.WriteTo([]byte("?"), &ipv4.ControlMessage{Src: at.AsSlice()}, net.UDPAddrFromAddrPort(to)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// One Service with more clients than its share leaves room for the clients of others:
// those of its own that came first keep their endpoint, further ones are balanced and
// not remembered.
func TestOneServicesClientsLeaveRoom(t *testing.T) {
	w := newWorld(t, flat)
	network := netip.MustParsePrefix("10.99.0.0/16")
	if err := w.asker.Take(network); err != nil {
		t.Fatal(err)
	}
	port := func(name, vip string, id uint32) proxy.Service {
		svc := sticky(service(name, "udp/80", vip, backends), id, 24*time.Hour)
		svc.Ports = svc.Ports[:1]
		return svc
	}
	crowded, other := port("crowded", vip4, 8), port("other", "10.96.0.2", 10)
	w.program(crowded, other)
	first := spread(t, w.asker.Namespace, "udp", frontends[0], 1)

	const share = 1 << 15
	w.from(network, share+1000, frontends[0])
	remembered := must(w.conn.Elements(w.table("ip"), "remembered"))(t)
	// A day brings one share more: some come back while the clients come.
	if n := len(remembered); n < share-100 || n > share+100 {
		t.Errorf("%d clients are remembered, want about %d", n, share)
	}
	if hits := spread(t, w.asker.Namespace, "udp", frontends[0], 20); len(hits) != 1 || !sameServer(first, hits) {
		t.Errorf("a client that was remembered had %v and gets %v", first, hits)
	}
	if hits := spread(t, w.asker.Namespace, "udp", addrPort("10.96.0.2:80"), 20); len(hits) != 1 {
		t.Errorf("a new client of another Service gets %v", hits)
	}
	// Those past the share are served all the same, by one endpoint after another. A
	// token may come back at any time, so one of them may be remembered.
	balanced := 0
	for i := range byte(5) {
		hits := map[netip.AddrPort]int{}
		err := w.asker.Do(func() error {
			late := &testbed.Client{From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 255, 1 + i}), 0)}
			for range 20 {
				answer, err := late.Ask("udp", frontends[0], patience)
				if err != nil {
					return err
				}
				hits[answer.Server]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(hits) > 1 {
			balanced++
		}
	}
	if balanced < 2 {
		t.Errorf("of 5 clients past the share, %d are balanced", balanced)
	}
}
