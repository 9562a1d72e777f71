package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// Result says what a Clean did.
type Result struct {
	Deleted int // flows
	Read    int // flows that the kernel gave to choose from
	Dumps   int // walks through the kernel's table
}

// tries is how often an answer may be incomplete in a row.
const tries = 5

// Clean deletes the flows that are stale after the changes, which the rules in
// the kernel must show already, and forgets the changes. With none it asks the
// kernel nothing. After an error, or when others were added meanwhile, all of them
// stay, and another Clean finds what is left.
func (c *Conn) Clean(changes *Changes) (Result, error) {
	var total Result
	var err error
	state := changes.state()
	for range tries {
		if err = c.clean(changes, &total); !errors.Is(err, errInterrupted) {
			break
		}
	}
	if err != nil {
		return total, fmt.Errorf("delete stale UDP flows: %w", explain(err))
	}
	changes.drop(state)
	return total, nil
}

func (c *Conn) clean(changes *Changes, total *Result) error {
	var failed error
	for family, frontends := range changes.families() {
		most := 1
		if len(frontends) > 1 && !c.plain {
			entries, err := c.entries()
			if err != nil {
				return err
			}
			most = dumps(entries)
		}
		c.deletions.B = c.deletions.B[:0]
		for _, f := range filters(family, frontends, most) {
			n, err := c.flows(f, func(e entry) {
				if e.stale(changes) {
					e.deletion(&c.deletions, family, c.nl.NextSeq())
				}
			})
			total.Read += n
			total.Dumps++
			if err != nil {
				// What was found is deleted all the same.
				failed = errors.Join(failed, err)
			}
			if c.plain {
				break // that was all there is
			}
		}
		deleted, err := c.delete(c.deletions.B)
		total.Deleted += deleted
		failed = errors.Join(failed, err)
	}
	return failed
}

// room is for deletions that are sent at once. Each may be answered with an
// error, which must fit the socket's receive buffer.
const room = 16 << 10

// delete sends deletions, many at once, and gives the number of entries that are
// gone by them. Those that were gone before are no error.
func (c *Conn) delete(all []byte) (deleted int, err error) {
	var failed error
	for len(all) > 0 {
		var n, size, last int
		for size < len(all) && size < room {
			last = size
			size += nfnetlink.Align(int(binary.NativeEndian.Uint32(all[size:])))
			n++
		}
		// One answer, after the last, says that there are no more errors.
		flags := all[last+6:]
		binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
		refused, err := c.deleteSome(all[:size], binary.NativeEndian.Uint32(all[last+8:]))
		if errors.Is(err, errInterrupted) {
			return deleted, err
		}
		deleted += n - refused
		failed = errors.Join(failed, err)
		all = all[size:]
	}
	return deleted, failed
}

// deleteSome gives the number of entries that were not deleted.
func (c *Conn) deleteSome(some []byte, last uint32) (refused int, err error) {
	if err := c.nl.Send(some); err != nil {
		return 0, err
	}
	// The kernel does it all before the send returns: what is not there now will
	// not come.
	var failed error
	for done := false; ; {
		datagram, err := c.nl.Receive(false)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			failed = errInterrupted
			continue
		case err != nil:
			return refused, err
		case datagram == nil && !done:
			return refused, errInterrupted
		case datagram == nil:
			return refused, failed
		}
		err = nfnetlink.Messages(datagram, func(m nfnetlink.Message) error {
			errno, err := m.Errno()
			if m.Type != unix.NLMSG_ERROR || err != nil {
				return err
			}
			done = done || m.Seq == last
			if errno != 0 {
				refused++
			}
			if errno != 0 && errno != unix.ENOENT && failed == nil {
				failed = errno
			}
			return nil
		})
		if err != nil {
			return refused, err
		}
	}
}
