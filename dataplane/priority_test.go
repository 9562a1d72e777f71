package dataplane_test

import (
	"net"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The number of a Service's chain is handed on in the packet's priority. What a process
// on the node has asked for is taken from a connection's first packet, and from no
// other; and not at all from packets that are for no Service.
func TestOnlyTheFirstPacketOfAConnectionLosesItsPriority(t *testing.T) {
	w := newWorld(t, flat)
	w.program(service("web", "udp/80", vip4+","+vip6, backends))
	const rules = `table inet seen {
		counter none { }
		counter six { }
		chain post {
			type filter hook postrouting priority 300
			udp dport 8080 meta priority none counter name none
			udp dport 8080 meta priority 0:6 counter name six
		}
	}`
	packets := regexp.MustCompile(`counter (\w+) \{\s+packets (\d+)`)
	for _, tc := range []struct {
		to   netip.AddrPort
		want string
	}{
		{netip.AddrPortFrom(addr(vip4), 80), "none 1 six 4"},
		{netip.AddrPortFrom(addr(vip6), 80), "none 1 six 4"},
		{addrPort("10.254.0.1:8080"), "none 0 six 5"},
		{addrPort("[fd00:10:254::1]:8080"), "none 0 six 5"},
	} {
		must(w.node.RunInput(strings.NewReader(rules), "nft", "-f", "-"))(t)
		if err := w.node.Do(func() error { return sendWithPriority(tc.to, 6, 5) }); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range packets.FindAllStringSubmatch(must(w.node.Run("nft", "list", "table", "inet", "seen"))(t), -1) {
			got = append(got, m[1], m[2])
		}
		if text := strings.Join(got, " "); text != tc.want {
			t.Errorf("of 5 packets with priority 6 to %s left with: %s, want %s", tc.to, text, tc.want)
		}
		must(w.node.Run("nft", "delete", "table", "inet", "seen"))(t)
	}
}

// sendWithPriority sends n packets of one UDP flow from a socket with SO_PRIORITY.
func sendWithPriority(to netip.AddrPort, priority, n int) error {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, priority)
		}); failed != nil {
			return failed
		}
		return err
	}}
	conn, err := dialer.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for range n {
		if _, err := conn.Write([]byte("ping")); err != nil {
			return err
		}
	}
	return nil
}
