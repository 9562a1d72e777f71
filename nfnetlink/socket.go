package nfnetlink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Socket is a netlink socket to netfilter. It is not safe for concurrent use, but
// for Close and Until.
type Socket struct {
	// Netlink sets what a polled socket can be set to: groups, filters, buffers. Nothing
	// is sent or received through it.
	Netlink *netlink.Conn

	closer io.Closer
	raw    syscall.RawConn
	seq    uint32
	in     []byte // kept from one call to the next
	write  *call
	read   *call
}

// Config is how a Socket is made.
type Config struct {
	// NetNS is the file descriptor of a network namespace; 0 is for that of the
	// calling thread.
	NetNS int
	// SendBuffer and ReceiveBuffer are what the kernel keeps for the socket, in
	// bytes, whatever the limit of the machine is; 0 leaves its default.
	SendBuffer, ReceiveBuffer int
	// Datagram is the size of the largest datagram to receive.
	Datagram int
	Options  []netlink.ConnOption
	// Polled has Go's network poller watch the socket, so that Receive waits without a
	// thread, and Until bounds how long. One that only gets answers, which are there
	// when the question is sent, does without: each would wake the poller up, twice.
	Polled bool
}

// Dial makes a Socket.
func Dial(config Config) (*Socket, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: config.NetNS})
	if err != nil {
		return nil, err
	}
	// What fills one byte more was too long.
	s := &Socket{Netlink: nl, closer: nl, in: make([]byte, config.Datagram+1)}
	s.write, s.read = newCall(unix.Write, unix.POLLOUT), newCall(unix.Read, unix.POLLIN)
	s.write.polled, s.read.polled = config.Polled, config.Polled
	err = s.set(config)
	if err == nil && !config.Polled {
		err = s.unpoll()
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Socket) set(config Config) (err error) {
	if config.SendBuffer != 0 {
		err = s.Netlink.SetWriteBuffer(config.SendBuffer)
	}
	if config.ReceiveBuffer != 0 {
		err = errors.Join(err, s.Netlink.SetReadBuffer(config.ReceiveBuffer))
	}
	for _, option := range config.Options {
		err = errors.Join(err, s.Netlink.SetOption(option, true))
	}
	if err == nil {
		s.raw, err = s.Netlink.SyscallConn()
	}
	return err
}

// Close closes the socket.
func (s *Socket) Close() error { return s.closer.Close() }

// unpoll takes the socket from Go's network poller.
func (s *Socket) unpoll() error {
	var fd int
	var err error
	cerr := s.raw.Control(func(polled uintptr) { fd, err = unix.FcntlInt(polled, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(cerr, err); err != nil {
		return err
	}
	// The poller lets go of what is closed, and takes no file that blocks.
	err = errors.Join(s.Netlink.Close(), unix.SetNonblock(fd, false))
	file := os.NewFile(uintptr(fd), "netlink")
	s.Netlink, s.closer = nil, file
	err = errors.Join(err, unix.SetNonblock(fd, true))
	if err == nil {
		s.raw, err = file.SyscallConn()
	}
	return err
}

// Until bounds how long Receive of a polled socket waits; the zero time is for as long
// as it takes.
func (s *Socket) Until(t time.Time) error { return s.Netlink.SetReadDeadline(t) }

// Port is the number that the kernel knows the socket by.
func (s *Socket) Port() (uint32, error) {
	var port uint32
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		var address unix.Sockaddr
		address, err = unix.Getsockname(int(fd))
		if nl, ok := address.(*unix.SockaddrNetlink); ok {
			port = nl.Pid
		}
	})
	return port, errors.Join(err, cerr)
}

// NextSeq is a number for a message, by which its answer is known.
func (s *Socket) NextSeq() uint32 {
	s.seq++
	return s.seq
}

// Send sends a datagram to the kernel.
func (s *Socket) Send(b []byte) error {
	s.write.on(b, true)
	if err := s.raw.Write(s.write.try); err != nil {
		return err
	}
	return s.write.err
}

// Receive reads one datagram, which stands until the next call. With wait it waits
// for one, until the deadline if there is one; without, it gives nil when there is
// none.
func (s *Socket) Receive(wait bool) ([]byte, error) {
	s.read.on(s.in, wait)
	if err := s.raw.Read(s.read.try); err != nil {
		return nil, err
	}
	switch n, err := s.read.n, s.read.err; {
	case errors.Is(err, unix.EAGAIN):
		return nil, nil
	case err != nil:
		return nil, err
	case n == len(s.in):
		return nil, fmt.Errorf("netlink datagram of more than %d bytes", n-1)
	default:
		return s.in[:n], nil
	}
}
