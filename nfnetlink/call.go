package nfnetlink

import (
	"errors"

	"golang.org/x/sys/unix"
)

// call is a system call on a socket that does not block, as syscall.RawConn wants it: a
// function, which is made once, as one for each call would be garbage.
type call struct {
	try func(fd uintptr) bool

	b    []byte
	wait bool
	n    int
	err  error
}

func newCall(do func(fd int, b []byte) (int, error)) *call {
	c := &call{}
	c.try = func(fd uintptr) (done bool) {
		// When a signal came first nothing has happened.
		for c.err = unix.EINTR; errors.Is(c.err, unix.EINTR); {
			c.n, c.err = do(int(fd), c.b)
		}
		return !c.wait || !errors.Is(c.err, unix.EAGAIN)
	}
	return c
}

// on says what the next call is on, and whether it waits until there is something to do.
func (c *call) on(b []byte, wait bool) { c.b, c.wait, c.n, c.err = b, wait, 0, nil }
