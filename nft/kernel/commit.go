package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// Commit does the transaction: all of it, or nothing and an error. The error
// is an OpError when the kernel named the operation that it refused, and
// ErrUnknown when the outcome is not known. An empty transaction sends nothing.
func (c *Conn) Commit(tx nft.Transaction) error {
	if len(tx) == 0 {
		return nil
	}
	b := &batch{Encoder: &c.out, tx: tx, nl: c.nl, sent: make([]sent, 0, usualMessages)}
	defer trim(&c.out)
	if err := b.encode(); err != nil {
		return err
	}
	if c.monitor != nil && len(tx) >= loud {
		return c.monitor.away(func() error { return c.exchange(b) })
	}
	return c.exchange(b)
}

// loud is the number of operations from which it is worth while that nobody
// listens.
const loud = 64

// exchange sends a batch and reads the answer.
func (c *Conn) exchange(b *batch) error {
	c.busy.Store(1)
	defer c.busy.Store(0)
	if err := c.nl.Send(c.out.B); err != nil {
		return explain(fmt.Errorf("send a transaction of %d bytes to nf_tables: %w", len(c.out.B), err))
	}
	if err := c.outcome(b); err != nil {
		return c.owned(err)
	}
	c.commits.Add(1)
	c.stats.Transactions++
	c.stats.Messages += uint64(len(b.sent))
	c.stats.Added += b.elements[nft.Add]
	c.stats.Deleted += b.elements[nft.Delete]
	c.stats.Bytes += uint64(len(c.out.B))
	return nil
}

// outcome reads the kernel's answers, all of which are there: nf_tables is
// done with a batch before the send returns. They are in the order of the messages, so
// that none is left behind the one to the last.
func (c *Conn) outcome(b *batch) error {
	complete := false
	var refused error
	for !complete {
		datagram, err := c.nl.Receive(false)
		if errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		if err != nil {
			return err
		}
		if datagram == nil {
			break
		}
		err = nfnetlink.Messages(datagram, func(m nfnetlink.Message) error {
			if m.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELSETELEM && c.deleted != nil {
				c.tellDeleted(m.Body)
			}
			errno, err := m.Errno()
			if m.Type != unix.NLMSG_ERROR || err != nil {
				return nil
			}
			complete = complete || m.Seq == b.last
			if errno != 0 && refused == nil {
				refused = b.refused(m, errno)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if refused != nil {
		return refused
	}
	if !complete {
		return ErrUnknown
	}
	return nil
}

// batch is a transaction as netlink messages.
type batch struct {
	*nfnetlink.Encoder
	tx       nft.Transaction
	nl       *nfnetlink.Socket // numbers the messages
	sent     []sent
	last     uint32    // sequence number of the message that asks for the answer
	elements [2]uint64 // by verb
	setID    uint32
}

// sent is what one message stands for, to read the kernel's complaints.
type sent struct {
	seq     uint32
	at      int // of the message in the buffer
	op, ops int // the operations in it
}

// elementsEnd is where a message of elements is full: the list's length is a
// 16-bit number, and an element with its comment is less than 1 KiB.
const elementsEnd = 1<<16 - 1<<10

// usualBytes is about what an operation takes: most are elements of IPv4.
// usualMessages are enough for most changes.
const (
	usualBytes    = 64
	usualMessages = 8
)

func (b *batch) encode() error {
	b.B = slices.Grow(b.B[:0], len(b.tx)*usualBytes)
	b.frame(unix.NFNL_MSG_BATCH_BEGIN)
	lastAt := 0
	for i := 0; i < len(b.tx); {
		if r := b.tx[i].Rule; r != nil {
			b.literal(i, r.Literal())
		}
		at, seq := len(b.B), b.nl.NextSeq()
		n, err := b.op(i, seq)
		if err != nil {
			return fmt.Errorf("%s: %w", b.tx[i].Text(), err)
		}
		b.sent = append(b.sent, sent{seq, at, i, n})
		lastAt, b.last = at, seq
		i += n
	}
	// One answer to the whole: kernels before 6.10 give none for the batch's
	// own end, so the last operation asks for it.
	flags := binary.NativeEndian.Uint16(b.B[lastAt+6:])
	binary.NativeEndian.PutUint16(b.B[lastAt+6:], flags|unix.NLM_F_ACK)
	b.frame(unix.NFNL_MSG_BATCH_END)
	return nil
}

func (b *batch) frame(typ uint16) {
	at := b.Message(typ, 0, b.nl.NextSeq(), unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.CloseMessage(at)
}

func (b *batch) open(op *nft.Op, typ, flags uint16, seq uint32) int {
	return b.Message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, seq, byte(op.Table.Family), 0)
}

// op appends the message for operation i and says how many operations it
// covers: elements of one set go together.
func (b *batch) op(i int, seq uint32) (int, error) {
	op := &b.tx[i]
	open := func(typ, flags uint16) int { return b.open(op, typ, flags, seq) }
	n := 1
	var at int
	switch {
	case op.IsElement():
		typ, flags := uint16(unix.NFT_MSG_NEWSETELEM), uint16(unix.NLM_F_CREATE)
		if op.Verb == nft.Delete {
			typ, flags = unix.NFT_MSG_DELSETELEM, 0
			if op.Set.Counted {
				flags = unix.NLM_F_ECHO // with what it has counted
			}
		}
		at = open(typ, flags)
		n = b.elementList(i, at)
		b.elements[op.Verb] += uint64(n)
	case op.Rule != nil:
		at = open(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
		if err := b.rule(op); err != nil {
			return 0, err
		}
	case op.Chain != nil:
		switch op.Verb {
		case nft.Add:
			at = open(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
			b.chain(op)
		case nft.Delete:
			at = open(unix.NFT_MSG_DELCHAIN, 0)
			b.Name(unix.NFTA_CHAIN_TABLE, op.Table.Name)
			b.Name(unix.NFTA_CHAIN_NAME, op.Chain.Name)
		case nft.Flush:
			at = open(unix.NFT_MSG_DELRULE, 0)
			b.Name(unix.NFTA_RULE_TABLE, op.Table.Name)
			b.Name(unix.NFTA_RULE_CHAIN, op.Chain.Name)
		}
	case op.Set != nil:
		if op.Verb == nft.Delete {
			at = open(unix.NFT_MSG_DELSET, 0)
			b.Name(unix.NFTA_SET_TABLE, op.Table.Name)
			b.Name(unix.NFTA_SET_NAME, op.Set.Name)
			break
		}
		at = open(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
		b.set(op.Table, op.Set)
	case op.Verb == nft.Delete:
		at = open(unix.NFT_MSG_DELTABLE, 0)
		b.Name(unix.NFTA_TABLE_NAME, op.Table.Name)
	default:
		at = open(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
		b.table(op.Table)
	}
	b.CloseMessage(at)
	return n, nil
}

// refused is what an error message means: the refusal of an operation, or of the batch
// as a whole. The offset that the kernel sends along tells the element in a message of
// many.
func (b *batch) refused(m nfnetlink.Message, errno unix.Errno) error {
	for _, s := range b.sent {
		if s.seq != m.Seq {
			continue
		}
		if s.ops == 1 {
			return &OpError{Op: b.tx[s.op], Err: errno}
		}
		i, ok := b.elementAt(s, errorOffset(m))
		if !ok {
			return &OpError{Op: b.tx[s.op], Among: s.ops, Err: errno}
		}
		return &OpError{Op: b.tx[s.op+i], Err: errno}
	}
	return explain(fmt.Errorf("commit to nf_tables: %w", errno))
}

// errorOffset is where in the refused message the kernel saw the fault, or 0.
func errorOffset(m nfnetlink.Message) int {
	// With NLM_F_CAPPED the answer has only the header of the refused message.
	const echoed = 4 + unix.NLMSG_HDRLEN
	if m.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Body) < echoed {
		return 0
	}
	tlvs := m.Body[echoed:]
	if m.Flags&unix.NLM_F_CAPPED == 0 {
		n := nfnetlink.Align(4 + int(binary.NativeEndian.Uint32(m.Body[4:])))
		if n > len(m.Body) {
			return 0
		}
		tlvs = m.Body[n:]
	}
	offset := 0
	attrs(tlvs, func(typ uint16, value []byte) {
		if typ == unix.NLMSGERR_ATTR_OFFS && len(value) >= 4 {
			offset = int(binary.NativeEndian.Uint32(value))
		}
	})
	return offset
}
