package kernel

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is a netlink socket to nf_tables that datagrams go over as they are.
type socket struct {
	nl  *netlink.Conn
	raw syscall.RawConn
	seq uint32
	// out and in are kept from one call to the next.
	out encoder
	in  []byte
}

// openSocket makes a socket in the network namespace that the file descriptor
// netns refers to, or in the calling thread's if it is 0.
func openSocket(netns, sendBuffer, receiveBuffer int) (socket, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return socket{}, explain(fmt.Errorf("open a netlink socket to nf_tables: %w", err))
	}
	s := socket{nl: nl, in: make([]byte, 1<<18)}
	err = errors.Join(nl.SetWriteBuffer(sendBuffer), nl.SetReadBuffer(receiveBuffer),
		nl.SetOption(netlink.ExtendedAcknowledge, true))
	if err == nil {
		s.raw, err = nl.SyscallConn()
	}
	if err != nil {
		_ = nl.Close()
		return socket{}, explain(fmt.Errorf("set up the netlink socket to nf_tables: %w", err))
	}
	return s, nil
}

// Close closes the connection. What was committed stays.
func (s *socket) Close() error { return s.nl.Close() }

// control calls f with the socket's file descriptor.
func (s *socket) control(f func(fd int) error) error {
	var err error
	cerr := s.raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(err, cerr)
}

// port is the number that the kernel knows the socket by.
func (s *socket) port() (uint32, error) {
	var port uint32
	err := s.control(func(fd int) error {
		address, err := unix.Getsockname(fd)
		if nl, ok := address.(*unix.SockaddrNetlink); ok {
			port = nl.Pid
		}
		return err
	})
	return port, err
}

func (s *socket) send(b []byte) error {
	var err error
	werr := s.raw.Write(func(fd uintptr) bool {
		err = uninterrupted(func() error {
			return unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		})
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(err, werr)
}

// receive reads one datagram into s.in. With wait it waits for one, until the
// deadline if there is one; without, it gives nil when there is none.
func (s *socket) receive(wait bool) ([]byte, error) {
	var n int
	var err error
	rerr := s.raw.Read(func(fd uintptr) bool {
		err = uninterrupted(func() error {
			n, _, err = unix.Recvfrom(int(fd), s.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
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
	case n > len(s.in):
		return nil, fmt.Errorf("netlink datagram of %d bytes, room for %d", n, len(s.in))
	}
	return s.in[:n], nil
}

// uninterrupted makes a system call again when a signal came first: nothing has
// happened then.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// until bounds how long receive waits; the zero time is for as long as it takes.
func (s *socket) until(t time.Time) error { return s.nl.SetReadDeadline(t) }

func (s *socket) nextSeq() uint32 {
	s.seq++
	return s.seq
}
