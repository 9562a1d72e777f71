package conntrack

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn is a connection to the flow table of one network namespace. It is not
// safe for concurrent use.
type Conn struct {
	nl  *netlink.Conn
	raw syscall.RawConn
	seq uint32
	// out, in and deletions are kept from one call to the next.
	out, deletions encoder
	in             []byte
	// plain says that the kernel does not filter, or shall not.
	plain bool
}

// datagram is room for what the kernel gives at once, which is at most 32 KiB.
const datagram = 1 << 16

// Open connects to the flow table of the network namespace that the file
// descriptor netns refers to, or of the calling thread's if it is 0.
func Open(netns int) (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, explain(fmt.Errorf("open a netlink socket to conntrack: %w", err))
	}
	c := &Conn{nl: nl, in: make([]byte, datagram)}
	// Errors come without a copy of the request.
	err = errors.Join(nl.SetReadBuffer(1<<20), nl.SetOption(netlink.CapAcknowledge, true))
	if err == nil {
		c.raw, err = nl.SyscallConn()
	}
	if err != nil {
		_ = nl.Close()
		return nil, explain(fmt.Errorf("set up the netlink socket to conntrack: %w", err))
	}
	return c, nil
}

// Unfiltered has Clean read all flows of a family, instead of those that the
// kernel picks. That takes several times as long in a full table, but in small
// pieces. A walk that finds next to nothing is one piece, for which the CPU that
// does it handles no packets: 10 ms with an empty table, 50 ms with 200 000 flows.
// Kernels before 5.8 know no other way, and need not be told.
func (c *Conn) Unfiltered() { c.plain = true }

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.Close() }

func (c *Conn) send(b []byte) error {
	var err error
	werr := c.raw.Write(func(fd uintptr) bool {
		err = retry(func() error {
			return unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		})
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(err, werr)
}

// receive reads one datagram. With wait it waits for one; without, it gives nil
// when there is none.
func (c *Conn) receive(wait bool) ([]byte, error) {
	var n int
	var err error
	rerr := c.raw.Read(func(fd uintptr) bool {
		err = retry(func() (err error) {
			n, _, err = unix.Recvfrom(int(fd), c.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			return err
		})
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

// retry repeats what a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (c *Conn) nextSeq() uint32 {
	c.seq++
	return c.seq
}
