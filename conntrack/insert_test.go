package conntrack

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// Made is a flow for Insert: from Src to Dst, answered from Reply.
type Made struct {
	Protocol        uint8
	Src, Dst, Reply netip.AddrPort
	Zone            uint16
}

// Entries is the number of flows in the table.
func (c *Conn) Entries() (int, error) { return c.entries() }

// Insert puts flows into the table without any packet.
func (c *Conn) Insert(flows iter.Seq[Made]) error {
	const most = 200
	c.out.B = c.out.B[:0]
	n := 0
	for flow := range flows {
		flow.encode(&c.out, c.nl.NextSeq())
		if n++; n == most {
			if err := c.inserted(n); err != nil {
				return err
			}
			n, c.out.B = 0, c.out.B[:0]
		}
	}
	return c.inserted(n)
}

// inserted sends what was encoded and reads that many answers.
func (c *Conn) inserted(n int) error {
	if n == 0 {
		return nil
	}
	if err := c.nl.Send(c.out.B); err != nil {
		return err
	}
	for n > 0 {
		datagram, err := c.nl.Receive(true)
		if err != nil {
			return err
		}
		err = nfnetlink.Messages(datagram, func(m nfnetlink.Message) error {
			n--
			errno, err := m.Errno()
			if errno != 0 {
				err = fmt.Errorf("insert a flow: %w (is net.netfilter.nf_conntrack_max large enough?)", errno)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Made) encode(e *nfnetlink.Encoder, seq uint32) {
	const (
		msgNew              = 0
		ctaStatus           = 3
		ctaTimeout          = 7
		confirmed, seenBoth = 1 << 3, 1 << 1
	)
	family := uint8(unix.AF_INET6)
	if m.Src.Addr().Is4() {
		family = unix.AF_INET
	}
	at := e.Message(ofConntrack|msgNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, seq, family, 0)
	tuple(e, ctaTupleOrig, m.Protocol, m.Src, m.Dst)
	tuple(e, ctaTupleReply, m.Protocol, m.Reply, m.Src)
	e.Bytes(ctaTimeout, binary.BigEndian.AppendUint32(nil, 3600)...)
	e.Bytes(ctaStatus, 0, 0, 0, confirmed|seenBoth)
	if m.Zone != 0 {
		e.Uint16(ctaZone, m.Zone)
	}
	e.CloseMessage(at)
}

func tuple(e *nfnetlink.Encoder, typ uint16, protocol uint8, src, dst netip.AddrPort) {
	tuple := e.Nest(typ)
	ip := e.Nest(ctaTupleIP)
	if src.Addr().Is4() {
		e.Bytes(ctaIPv4Src, src.Addr().AsSlice()...)
		e.Bytes(ctaIPv4Dst, dst.Addr().AsSlice()...)
	} else {
		e.Bytes(ctaIPv6Src, src.Addr().AsSlice()...)
		e.Bytes(ctaIPv6Dst, dst.Addr().AsSlice()...)
	}
	e.CloseNest(ip)
	proto := e.Nest(ctaTupleProto)
	e.Bytes(ctaProtoNum, protocol)
	e.Uint16(ctaProtoSrcPort, src.Port())
	e.Uint16(ctaProtoDstPort, dst.Port())
	e.CloseNest(proto)
	e.CloseNest(tuple)
}
