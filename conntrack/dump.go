package conntrack

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// flows calls each for the flows that the filter lets through, and others of its
// family if the kernel does not filter. It gives the number of them.
func (c *Conn) flows(f filter, each func(entry)) (int, error) {
	n, err := c.dump(f, !c.plain, each)
	if !c.plain && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)) {
		c.plain = true
		n, err = c.dump(f, false, each)
	}
	return n, err
}

func (c *Conn) dump(f filter, filtered bool, each func(entry)) (n int, err error) {
	seq := c.request(msgGet, unix.NLM_F_DUMP, f.family, func(out *nfnetlink.Encoder) {
		if filtered {
			f.encode(out)
		}
	})
	err = c.answer(seq, func(m nfnetlink.Message) {
		n++
		e := parse(m.Body[nfgen:])
		each(e)
		// One that was not asked for shows a kernel that does not filter.
		if protocol, _, _ := ends(e.orig); protocol != unix.IPPROTO_UDP {
			c.plain = true
		}
	})
	return n, err
}

// entries is the number of flows in the table.
func (c *Conn) entries() (n int, err error) {
	seq := c.request(msgGetStats, unix.NLM_F_ACK, unix.AF_UNSPEC, func(*nfnetlink.Encoder) {})
	err = c.answer(seq, func(m nfnetlink.Message) {
		for typ, value, rest := nfnetlink.Attribute(m.Body[nfgen:]); value != nil; typ, value, rest = nfnetlink.Attribute(rest) {
			if typ == ctaStatsGlobalEntries && len(value) == 4 {
				n = int(binary.BigEndian.Uint32(value))
			}
		}
	})
	return n, err
}

func (c *Conn) request(typ, flags uint16, family uint8, fill func(*nfnetlink.Encoder)) (seq uint32) {
	seq = c.nl.NextSeq()
	c.out.B = c.out.B[:0]
	at := c.out.Message(ofConntrack|typ, flags, seq, family, 0)
	fill(&c.out)
	c.out.CloseMessage(at)
	return seq
}

// answer sends the request and calls each for every message of the answer. It
// reads to the end whatever comes: a dump that is left half read blocks the next.
func (c *Conn) answer(seq uint32, each func(nfnetlink.Message)) error {
	if err := c.nl.Send(c.out.B); err != nil {
		return err
	}
	var failed error
	for done := false; !done; {
		datagram, err := c.nl.Receive(true)
		if errors.Is(err, unix.ENOBUFS) {
			failed = errInterrupted
			continue
		}
		if err != nil {
			return err
		}
		err = nfnetlink.Messages(datagram, func(m nfnetlink.Message) error {
			if m.Seq != seq {
				return nil // of an earlier request, which failed
			}
			if m.Flags&unix.NLM_F_DUMP_INTR != 0 {
				failed = errInterrupted
			}
			switch {
			case m.Type == unix.NLMSG_DONE || m.Type == unix.NLMSG_ERROR:
				done = true
				errno, err := m.Errno()
				if errno != 0 {
					err = errno
				}
				if err != nil && failed == nil {
					failed = err
				}
			case len(m.Body) >= nfgen:
				each(m)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return failed
}
