package dataplane_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// sctpInit is the packet that opens an SCTP association (RFC 9260, 3.3.2), for
// kernels without SCTP sockets.
func sctpInit(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // verification tag, checksum
	b = append(b, 1, 0, 0, 20)            // INIT, no flags, length
	b = append(b, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// rawSocket is a socket for SCTP packets in a namespace.
func rawSocket(t *testing.T, ns *testbed.Namespace, family int) int {
	t.Helper()
	var fd int
	if err := ns.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	timeout := unix.NsecToTimeval(int64(patience / time.Nanosecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return fd
}

// An SCTP packet to a VIP arrives at an endpoint, at its port.
func TestSCTPIsTranslated(t *testing.T) {
	w := newWorld(t)
	w.program(service("a", "sctp/3868", vip4+","+vip6, "*10.254.0.1:13868,*[fd00:10:254::1]:13868"))
	for _, tc := range []struct {
		family, header int
		to             unix.Sockaddr
	}{
		{unix.AF_INET, 20, &unix.SockaddrInet4{Addr: addr(vip4).As4()}},
		{unix.AF_INET6, 0, &unix.SockaddrInet6{Addr: netip.MustParseAddr(vip6).As16()}},
	} {
		t.Run(fmt.Sprintf("family %d", tc.family), func(t *testing.T) {
			pod, asker := rawSocket(t, w.pods[0].Namespace, tc.family), rawSocket(t, w.asker.Namespace, tc.family)
			if err := unix.Sendto(asker, sctpInit(40000, 3868), 0, tc.to); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 2048)
			n, _, err := unix.Recvfrom(pod, b, 0)
			if err != nil {
				t.Fatalf("nothing arrived: %v", err)
			}
			packet := b[tc.header:n]
			if from, to := binary.BigEndian.Uint16(packet), binary.BigEndian.Uint16(packet[2:]); from != 40000 || to != 13868 {
				t.Errorf("arrived from port %d at port %d, want 40000 and 13868", from, to)
			}
		})
	}
}
