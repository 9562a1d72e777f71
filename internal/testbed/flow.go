package testbed

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Errors that an Ask can be told apart by, with errors.Is. Others keep their errno.
var (
	// ErrRefused: a port was closed, or something on the way refused for it.
	ErrRefused = errors.New("refused")
	// ErrUnreachable: no route, or something on the way said so.
	ErrUnreachable = errors.New("unreachable")
	// ErrTimeout: nothing came back at all.
	ErrTimeout = errors.New("no answer in time")
)

// Flow is one client socket: a TCP connection, or a UDP socket with a peer. All of
// its packets have the same source and destination, so a Service must keep sending
// them to the same server. It is not safe for concurrent use.
type Flow struct {
	Local, Remote netip.AddrPort

	fd      int
	network string
	greeted bool // TCP: the server's first line came without being asked for
}

// open makes a flow. The calling thread must be in the right namespace: a socket
// belongs to the one it was created in, for good.
//
// Sockets are made by hand because the net package would hand each step from one
// thread to another, which costs more than the step when there are 100 000 flows.
func open(network string, from, to netip.AddrPort, timeout time.Duration) (*Flow, error) {
	f := &Flow{Remote: to, network: network, fd: -1}
	if err := f.connect(from, time.Now().Add(timeout)); err != nil {
		f.Close()
		return nil, f.explain(err)
	}
	return f, nil
}

func (f *Flow) connect(from netip.AddrPort, deadline time.Time) error {
	kind := unix.SOCK_STREAM
	switch f.network {
	case "tcp":
	case "udp":
		kind = unix.SOCK_DGRAM
	default:
		return errors.New(`the protocol must be "tcp" or "udp"`)
	}
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_RECVERR
	if f.Remote.Addr().Is6() {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	var err error
	if f.fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	// Otherwise UDP sockets are not told of an unreachable network, and TCP sockets,
	// when the error comes so quickly that connect still holds them, only by the
	// answer to a second attempt, a second later.
	err = unix.SetsockoptInt(f.fd, level, option, 1)
	if err == nil && kind == unix.SOCK_STREAM {
		// Closing resets, so that no port is kept back in TIME_WAIT.
		err = unix.SetsockoptLinger(f.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err != nil {
		return err
	}
	if from.Addr().IsValid() {
		if err := f.bind(from); err != nil {
			return fmt.Errorf("binding to %s: %w", from, err)
		}
	}
	err = unix.Connect(f.fd, sockaddr(f.Remote))
	if err == unix.EINPROGRESS || err == unix.EINTR {
		err = f.connected(deadline)
	}
	if err != nil {
		return err
	}
	local, err := unix.Getsockname(f.fd)
	if err != nil {
		return err
	}
	f.Local = addrPort(local)
	return nil
}

func (f *Flow) bind(from netip.AddrPort) error {
	if from.Port() == 0 {
		// Lets connect choose the port, which may then serve several destinations.
		if err := unix.SetsockoptInt(f.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
	}
	return unix.Bind(f.fd, sockaddr(from))
}

func (f *Flow) connected(deadline time.Time) error {
	if err := f.wait(unix.POLLOUT, deadline); err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// Ask sends one request over the flow and returns the server's line.
func (f *Flow) Ask(timeout time.Duration) (Answer, error) {
	answer, err := f.ask(time.Now().Add(timeout))
	if err != nil {
		return Answer{}, f.explain(err)
	}
	answer.Local = f.Local
	return answer, nil
}

func (f *Flow) ask(deadline time.Time) (Answer, error) {
	if f.network == "udp" || f.greeted {
		if _, err := unix.Write(f.fd, []byte("?\n")); err != nil {
			return Answer{}, err
		}
	}
	f.greeted = true
	var buf [128]byte
	have := 0
	for {
		n, err := f.read(buf[have:], deadline)
		if err != nil {
			return Answer{}, err
		}
		have += n
		whole := have > 0 && buf[have-1] == '\n'
		if whole || n == 0 || f.network == "udp" {
			return parseAnswer(string(buf[:have]))
		}
	}
}

// AwaitEnd waits until the server has closed the flow.
func (f *Flow) AwaitEnd(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	var buf [128]byte
	for {
		if n, err := f.read(buf[:], deadline); err != nil {
			return f.explain(err)
		} else if n == 0 {
			return nil
		}
	}
}

// read reads what comes, 0 at the end.
func (f *Flow) read(to []byte, deadline time.Time) (int, error) {
	for {
		n, err := unix.Read(f.fd, to)
		if err != unix.EAGAIN && err != unix.EINTR {
			return n, err
		}
		if err := f.wait(unix.POLLIN, deadline); err != nil {
			return 0, err
		}
	}
}

// wait blocks until the socket is ready for events or has an error.
func (f *Flow) wait(events int16, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return ErrTimeout
		}
		fds := []unix.PollFd{{Fd: int32(f.fd), Events: events}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// explain names the flow and sorts the error.
func (f *Flow) explain(err error) error {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		err = fmt.Errorf("%w (%w)", ErrRefused, err)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOPROTOOPT):
		err = fmt.Errorf("%w (%w)", ErrUnreachable, err)
	case errors.Is(err, unix.ETIMEDOUT):
		err = fmt.Errorf("%w (%w)", ErrTimeout, err)
	}
	return fmt.Errorf("asking %s/%s: %w", f.Remote, f.network, err)
}

// Close ends the flow; TCP connections are reset.
func (f *Flow) Close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
