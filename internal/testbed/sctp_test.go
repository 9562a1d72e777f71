package testbed

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A closed catcher takes nothing from sockets that come after it, which have its numbers.
func TestClosedCatcherReadsNothing(t *testing.T) {
	c, err := NewTestNamespace(t).CatchSCTP()
	if err != nil {
		t.Fatal(err)
	}
	numbers := c.fds
	c.Close()
	var later []int
	for range numbers {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		later = append(later, pair[:]...)
	}
	for _, fd := range later {
		if _, err := unix.Write(fd, []byte("?")); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing says that a reader has ended, so it gets three of the turns that it would take.
	time.Sleep(300 * time.Millisecond)
	for _, fd := range later {
		if n, err := unix.Read(fd, make([]byte, 1)); n != 1 {
			t.Errorf("socket %d, and the catcher had %v: read %d bytes: %v", fd, numbers, n, err)
		}
	}
	for _, fd := range later {
		_ = unix.Close(fd)
	}
}
