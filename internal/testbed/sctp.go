package testbed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SCTPInit is the packet that opens an SCTP association (RFC 9260, 3.3.2), for
// kernels without SCTP sockets. The tag tells it from others.
func SCTPInit(from, to uint16, tag uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // verification tag, checksum
	b = append(b, 1, 0, 0, 20)            // INIT, no flags, length
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// tagAt is where the tag lies in the packet.
const tagAt = 16

// Arrival is an SCTP packet as it arrived: whom it came from, and at which port.
type Arrival struct {
	From netip.AddrPort
	Port uint16
}

// SCTPCatcher notes the SCTP packets that arrive in a namespace.
type SCTPCatcher struct {
	fds     []int
	closing atomic.Bool
	readers sync.WaitGroup
	mu      sync.Mutex
	seen    map[uint32]Arrival
}

// CatchSCTP starts to catch. It ends with Close.
func (ns *Namespace) CatchSCTP() (*SCTPCatcher, error) {
	c := &SCTPCatcher{seen: map[uint32]Arrival{}}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		fd, err := ns.rawSCTP(family)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.fds = append(c.fds, fd)
		c.readers.Go(func() { c.read(fd, family) })
	}
	return c, nil
}

func (ns *Namespace) rawSCTP(family int) (fd int, err error) {
	err = ns.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("open a raw socket for SCTP: %w", err)
	}
	// Reading ends with a time-out now and then, or Close would wait for ever.
	patience := unix.NsecToTimeval(int64(100 * time.Millisecond))
	return fd, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
}

func (c *SCTPCatcher) read(fd, family int) {
	b := make([]byte, 2048)
	for !c.closing.Load() {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		packet := b[:n]
		if family == unix.AF_INET { // raw sockets for IPv4 give the IP header, too
			packet = packet[min(n, int(b[0]&15)*4):]
		}
		if len(packet) < tagAt+4 {
			continue
		}
		source := addrPort(from)
		c.mu.Lock()
		c.seen[binary.BigEndian.Uint32(packet[tagAt:])] = Arrival{
			From: netip.AddrPortFrom(source.Addr(), binary.BigEndian.Uint16(packet)),
			Port: binary.BigEndian.Uint16(packet[2:]),
		}
		c.mu.Unlock()
	}
}

// Seen is the packet with that tag, if it has arrived.
func (c *SCTPCatcher) Seen(tag uint32) (Arrival, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.seen[tag]
	return a, ok
}

// Close ends catching. A reader must not outlive its socket: the next socket gets the same
// number, and the reader would take what arrives there.
func (c *SCTPCatcher) Close() {
	c.closing.Store(true)
	c.readers.Wait()
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
}

// tags makes the tags of SCTP packets, each once.
var tags atomic.Uint32

// SendSCTP sends a packet that opens an association from inside the namespace, and
// gives its tag. From 2^16 packets on, source ports come again.
func (c *Client) SendSCTP(to netip.AddrPort) (tag uint32, err error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return 0, fmt.Errorf("open a raw socket for SCTP: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	tag = tags.Add(1)
	from := uint16(1024 + tag%(1<<16-1024))
	return tag, unix.Sendto(fd, SCTPInit(from, to.Port(), tag), 0, sockaddr(netip.AddrPortFrom(to.Addr(), 0)))
}
