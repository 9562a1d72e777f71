package nfnetlink

import (
	"errors"

	"golang.org/x/sys/unix"
)

// call is a system call on a socket that does not block, as syscall.RawConn wants it: a
// function, which is made once, as one for each call would be garbage.
type call struct {
	try func(fd uintptr) (done bool)
	// polled says that Go's network poller waits; without, the call does.
	polled bool

	b    []byte
	wait bool
	n    int
	err  error
}

// newCall makes one that can go on when there are events.
func newCall(do func(fd int, b []byte) (int, error), events int16) *call {
	c := &call{}
	c.try = func(fd uintptr) bool {
		for {
			c.n, c.err = do(int(fd), c.b)
			switch {
			case errors.Is(c.err, unix.EINTR):
				// Nothing has happened.
			case !c.wait || !errors.Is(c.err, unix.EAGAIN):
				return true
			case c.polled:
				return false
			default:
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, -1)
			}
		}
	}
	return c
}

// on says what the next call is on, and whether it waits until there is something to do.
func (c *call) on(b []byte, wait bool) { c.b, c.wait, c.n, c.err = b, wait, 0, nil }
