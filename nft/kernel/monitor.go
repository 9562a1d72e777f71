package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// Monitor hears of every transaction in a network namespace and tells of those
// by others that touch certain tables.
//
// While anyone listens, the kernel writes a message about each object of each
// transaction, be it ours or that of a stranger; some 1.3 us each. So the Monitor
// does not listen while the Conn commits many. Messages about its small
// transactions are thrown away before they are queued; those of others are passed
// over by the name of their table, which is the first thing in them.
//
// Whatever was not heard, for this reason or any other, shows in the kernel's
// count of transactions, which is asked for twice a second.
type Monitor struct {
	socket
	conn   *Conn  // whose transactions are not told
	self   uint32 // the Monitor's port
	tables []nft.ID

	touched bool // the transaction that is being told has to do with the tables
	// base is the kernel's generation without the transactions heard and those of
	// conn; known is false while that is to be learned anew.
	base, heard uint32
	known       bool
	asked       uint32 // conn's transactions when the kernel was asked last
	differs     int    // how often in a row its answer was another
}

// Change is what others did to the tables.
type Change struct {
	// Process and PID are who did it, or empty if that is not known.
	Process string
	PID     uint32
	// Lost says that the kernel could not tell all: the tables may have changed.
	Lost bool
}

func (c Change) String() string {
	if c.Lost {
		return "events of nf_tables were lost"
	}
	return fmt.Sprintf("%s (process %d)", c.Process, c.PID)
}

// monitorBuffer is how much the kernel may be ahead, in bytes: some 50 000
// objects.
const monitorBuffer = 4 << 20

// NewMonitor makes a Monitor of these tables, in the namespace that netns refers
// to as in Open. It hears of all that is committed from now on, except through
// conn, which must not be in use at the moment; generation is that of the last
// transaction before.
func NewMonitor(netns int, conn *Conn, tables ...nft.ID) (m *Monitor, generation uint32, err error) {
	s, err := openSocket(netns, 1<<16, monitorBuffer, true)
	if err != nil {
		return nil, 0, err
	}
	m = &Monitor{socket: s, conn: conn, tables: tables}
	if generation, err = m.join(); err != nil {
		_ = m.Close()
		return nil, 0, fmt.Errorf("listen to changes of nf_tables: %w", explain(err))
	}
	conn.monitor = m
	return m, generation, nil
}

func (m *Monitor) join() (uint32, error) {
	own, err := m.conn.nl.Port()
	if err != nil {
		return 0, err
	}
	if m.self, err = m.nl.Port(); err != nil {
		return 0, err
	}
	filter, err := bpf.Assemble(fromOthers(own))
	if err != nil {
		return 0, err
	}
	if err := errors.Join(m.nl.Netlink.SetBPF(filter), m.listen(true)); err != nil {
		return 0, err
	}
	generation, err := m.conn.Generation()
	m.base, m.known = generation-m.conn.commits.Load(), true
	return generation, err
}

// listen has the kernel tell of transactions, or not. It may be called while the
// Monitor runs.
func (m *Monitor) listen(on bool) error {
	if on {
		return m.nl.Netlink.JoinGroup(unix.NFNLGRP_NFTABLES)
	}
	return m.nl.Netlink.LeaveGroup(unix.NFNLGRP_NFTABLES)
}

// away has the kernel tell nothing until f is done.
func (m *Monitor) away(f func() error) error {
	if err := m.listen(false); err != nil {
		return fmt.Errorf("stop listening to nf_tables: %w", err)
	}
	err := f()
	if again := m.listen(true); again != nil {
		return errors.Join(err, fmt.Errorf("listen to nf_tables again: %w", again))
	}
	return err
}

// fromOthers is the socket filter that leaves out what the port did. The messages
// of a datagram are all from one transaction.
func fromOthers(port uint32) []bpf.Instruction {
	const portAt = 12 // in struct nlmsghdr
	// A filter loads numbers as if they were in network order.
	loaded := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port))
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: portAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded, SkipTrue: 1},
		bpf.RetConstant{Val: 1<<32 - 1},
		bpf.RetConstant{Val: 0},
	}
}

// How often the kernel is asked whether anything was missed, and how soon again,
// how many times, when it seems so: a transaction counts a little before it is
// told.
const (
	checkEvery = 500 * time.Millisecond
	checkAgain = 100 * time.Millisecond
	checkTimes = 3
)

// Run calls changed for each change, until the context ends. It must not wait
// long: the kernel keeps a bounded number of messages, and tells when some were
// lost.
func (m *Monitor) Run(ctx context.Context, changed func(Change)) error {
	stop := context.AfterFunc(ctx, func() { _ = m.nl.Until(time.Unix(1, 0)) })
	defer stop()
	for {
		pause := checkEvery
		if m.differs > 0 {
			pause = checkAgain
		}
		if err := m.nl.Until(time.Now().Add(pause)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		err := m.hear(changed)
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
			err = m.ask()
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("listen to changes of nf_tables: %w", err)
		}
	}
}

// hear waits for a datagram and reads all that have come.
func (m *Monitor) hear(changed func(Change)) error {
	for wait := true; ; wait = false {
		datagram, err := m.nl.Receive(wait)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			m.known, m.touched = false, false
			continue
		case err != nil:
			return err
		case datagram == nil && m.known:
			return nil
		case datagram == nil:
			// Until all was read the kernel threw away what came.
			return m.ask()
		}
		if err := nfnetlink.Messages(datagram, func(msg nfnetlink.Message) error { m.message(msg, changed); return nil }); err != nil {
			return err
		}
	}
}

func (m *Monitor) message(msg nfnetlink.Message, changed func(Change)) {
	if msg.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return
	}
	if msg.Type&0xff != unix.NFT_MSG_NEWGEN {
		m.touched = m.touched || m.about(msg.Body)
		return
	}
	g := generationOf(msg)
	if msg.Port == m.self {
		m.answered(g.id, changed)
		return
	}
	if m.touched {
		changed(Change{Process: g.process, PID: g.pid})
	}
	m.touched = false
	m.heard++
}

// answered compares the kernel's generation with what was heard.
func (m *Monitor) answered(generation uint32, changed func(Change)) {
	// Transactions of conn may have been done between question and answer.
	most := m.conn.begun()
	more := generation - m.base - m.heard - m.asked
	m.differs++
	switch {
	case m.known && more <= most-m.asked:
		m.differs = 0
	case !m.known || m.differs == checkTimes:
		m.base, m.known, m.differs = generation-m.heard-most, true, 0
		changed(Change{Lost: true})
	}
}

// about says that a message is about one of the tables.
func (m *Monitor) about(body []byte) bool {
	const at = nfgen + unix.SizeofNlAttr
	if len(body) < at {
		return false
	}
	n := int(binary.NativeEndian.Uint16(body[nfgen:]))
	// NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and so on, which come first.
	if binary.NativeEndian.Uint16(body[nfgen+2:]) != unix.NFTA_TABLE_NAME || n < unix.SizeofNlAttr || nfgen+n > len(body) {
		return false
	}
	name := body[at : nfgen+n]
	for i := range m.tables {
		t := &m.tables[i]
		if body[0] == byte(t.Family) && len(name) > 0 && string(name[:len(name)-1]) == t.Name {
			return true
		}
	}
	return false
}

// ask asks for the generation. The answer comes behind all that was told before.
func (m *Monitor) ask() error {
	m.asked = m.conn.commits.Load()
	m.out.B = m.out.B[:0]
	at := m.out.Message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0, m.nl.NextSeq(), unix.AF_UNSPEC, 0)
	m.out.CloseMessage(at)
	return m.nl.Send(m.out.B)
}

// generation is a number of a transaction, and who made it.
type generation struct {
	id, pid uint32
	process string
}

func generationOf(msg nfnetlink.Message) generation {
	var g generation
	if len(msg.Body) < nfgen {
		return g
	}
	attrs(msg.Body[nfgen:], func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_GEN_ID:
			g.id = beUint32(value)
		case unix.NFTA_GEN_PROC_PID:
			g.pid = beUint32(value)
		case unix.NFTA_GEN_PROC_NAME:
			g.process = cString(value)
		}
	})
	return g
}
