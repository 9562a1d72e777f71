package kernel

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn is a lasting connection to nf_tables in one network namespace. Closing
// a connection waits for the kernel to free what was deleted through it (8 to
// 16 ms), so keep one. It is not safe for concurrent use.
type Conn struct {
	nl  *netlink.Conn
	raw syscall.RawConn
	seq uint32
	// out and in are kept from one call to the next.
	out encoder
	in  []byte

	stats Stats
}

// Stats counts what a Conn has sent since it was opened.
type Stats struct {
	Transactions uint64 // committed
	Messages     uint64 // netlink messages in them
	Added        uint64 // elements added in them
	Deleted      uint64 // elements deleted in them
	Bytes        uint64 // bytes sent
}

// Socket buffers in bytes. They bound a transaction: 64 MiB hold a million
// elements. The kernel charges them only as far as they are used.
const (
	sendBuffer    = 64 << 20
	receiveBuffer = 8 << 20
)

// Open connects to nf_tables in the network namespace that the file
// descriptor netns refers to, or in the calling thread's if it is 0.
func Open(netns int) (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket to nf_tables: %w", err))
	}
	c := &Conn{nl: nl, in: make([]byte, 1<<18)}
	err = errors.Join(nl.SetWriteBuffer(sendBuffer), nl.SetReadBuffer(receiveBuffer),
		nl.SetOption(netlink.ExtendedAcknowledge, true))
	if err == nil {
		c.raw, err = nl.SyscallConn()
	}
	if err != nil {
		_ = nl.Close()
		return nil, explain(fmt.Errorf("set up the netlink socket to nf_tables: %w", err))
	}
	return c, nil
}

// Close closes the connection. What was committed stays.
func (c *Conn) Close() error { return c.nl.Close() }

// Stats says what has been sent so far.
func (c *Conn) Stats() Stats { return c.stats }

func (c *Conn) send(b []byte) error {
	var err error
	werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(err, werr)
}

// receive reads one datagram into c.in. With wait it waits for one; without,
// it gives nil when there is none.
func (c *Conn) receive(wait bool) ([]byte, error) {
	var n int
	var err error
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), c.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return !wait || !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case rerr != nil:
		return nil, rerr
	case errors.Is(err, unix.EAGAIN):
		return nil, nil
	case err != nil:
		return nil, err
	case n > len(c.in):
		return nil, fmt.Errorf("netlink datagram of %d bytes, room for %d", n, len(c.in))
	}
	return c.in[:n], nil
}

func (c *Conn) nextSeq() uint32 {
	c.seq++
	return c.seq
}
