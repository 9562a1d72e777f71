package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Tracer hears what the kernel tells of packets that a Trace statement marks. It
// is the owner of the tables that mark them: they go with it, whatever ends the
// process.
type Tracer struct {
	conn     *Conn
	listener *netlink.Conn
}

// OpenTracer makes owned tables with elements, and listens to what is traced, in
// the namespace that netns refers to as in Open.
func OpenTracer(netns int, tx nft.Transaction) (*Tracer, error) {
	conn, err := Open(netns)
	if err != nil {
		return nil, err
	}
	t := &Tracer{conn: conn}
	if t.listener, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns}); err == nil {
		err = errors.Join(t.listener.SetReadBuffer(receiveBuffer), t.listener.JoinGroup(unix.NFNLGRP_NFTRACE))
	}
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("listen to traces of nf_tables: %w", explain(err))
	}
	if err := conn.Commit(tx); err != nil {
		_ = t.Close()
		return nil, owned(err)
	}
	return t, nil
}

// owned says why a table can't be had.
func owned(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) && os.Geteuid() == 0, errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: another trace is running in this network namespace, and has a table of that name: wait until it ends", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: a trace needs tables that go with their owner, which Linux has from 5.12 on", err)
	}
	return err
}

// Close removes the tables and ends the trace.
func (t *Tracer) Close() error {
	err := t.conn.Close()
	if t.listener != nil {
		err = errors.Join(err, t.listener.Close())
	}
	return err
}

// Run calls each with what is told, and lost when some was lost, until the context
// ends.
func (t *Tracer) Run(ctx context.Context, each func(nft.Traced), lost func()) error {
	stop := context.AfterFunc(ctx, func() { _ = t.listener.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		messages, err := t.listener.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			lost()
			continue
		case err != nil:
			return fmt.Errorf("listen to traces of nf_tables: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE && len(m.Data) >= nfgen {
				each(traced(m.Data))
			}
		}
	}
}

// Attributes of NFT_MSG_TRACE, from linux/netfilter/nf_tables.h.
const (
	traceTable     = 1
	traceChain     = 2
	traceRule      = 3
	traceType      = 4
	traceVerdict   = 5
	traceID        = 6
	traceNetwork   = 8
	traceTransport = 9
	traceIn        = 10
	traceOut       = 12
	tracePolicy    = 16

	traceTypePolicy = 1
)

// traced reads a message: its family, then its attributes.
func traced(body []byte) nft.Traced {
	t := nft.Traced{Table: nft.ID{Family: nft.Family(body[0])}}
	var network, transport []byte
	var in, out uint32
	attrs(body[nfgen:], func(typ uint16, value []byte) {
		switch typ {
		case traceTable:
			t.Table.Name = cString(value)
		case traceChain:
			t.Chain = cString(value)
		case traceRule:
			t.Rule = beUint64(value)
		case traceType:
			t.Ends = beUint32(value) == traceTypePolicy
		case traceVerdict:
			attrs(value, func(typ uint16, value []byte) {
				switch typ {
				case unix.NFTA_VERDICT_CODE:
					t.Verdict = int32(beUint32(value))
				case unix.NFTA_VERDICT_CHAIN:
					t.Target = cString(value)
				}
			})
		case tracePolicy:
			t.Verdict = int32(beUint32(value))
		case traceID:
			t.ID = beUint32(value)
		case traceNetwork:
			network = value
		case traceTransport:
			transport = value
		case traceIn:
			in = beUint32(value)
		case traceOut:
			out = beUint32(value)
		}
	})
	if p := packet(network, transport); p != nil {
		p.In, p.Out = in, out
		t.Packet = p
	}
	return t
}

// packet reads the headers of a packet, as far as they are there.
func packet(network, transport []byte) *nft.TracedPacket {
	p := &nft.TracedPacket{}
	var source, dest netip.Addr
	switch {
	case len(network) >= 20 && network[0]>>4 == 4:
		source, _ = netip.AddrFromSlice(network[12:16])
		dest, _ = netip.AddrFromSlice(network[16:20])
		p.Protocol = network[9]
	case len(network) >= 40 && network[0]>>4 == 6:
		source, _ = netip.AddrFromSlice(network[8:24])
		dest, _ = netip.AddrFromSlice(network[24:40])
		p.Protocol = network[6] // of Service traffic, which has no other headers between
	default:
		return nil
	}
	var ports [2]uint16
	if len(transport) >= 4 {
		ports = [2]uint16{binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])}
	}
	p.Source, p.Dest = netip.AddrPortFrom(source, ports[0]), netip.AddrPortFrom(dest, ports[1])
	return p
}
