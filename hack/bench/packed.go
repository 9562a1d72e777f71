package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
)

// packed is the limit of any writer: elements as one netlink batch that has been packed
// before, by hand and into one buffer, so that all that takes time is the kernel. It
// shares no code with the writer that it is compared with.
type packed struct {
	fd  int
	buf []byte
	seq uint32
}

func openPacked(ns *testbed.Namespace) (p *packed, err error) {
	p = &packed{}
	err = ns.Do(func() error {
		p.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, err
	}
	const room = 256 << 20
	return p, errors.Join(
		unix.Bind(p.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room),
	)
}

func (p *packed) close() { _ = unix.Close(p.fd) }

// u16 and attribute headers are in the machine's byte order, as all of netlink's own.
func (p *packed) u16(v int)    { p.buf = binary.NativeEndian.AppendUint16(p.buf, uint16(v)) }
func (p *packed) u32(v uint32) { p.buf = binary.NativeEndian.AppendUint32(p.buf, v) }

// message begins a message, and end gives it its length.
func (p *packed) message(typ, flags int, family byte, resource uint16) (at int) {
	at = len(p.buf)
	p.seq++
	p.u32(0)
	p.u16(typ)
	p.u16(flags | unix.NLM_F_REQUEST)
	p.u32(p.seq)
	p.u32(0)
	p.buf = append(p.buf, family, unix.NFNETLINK_V0, byte(resource>>8), byte(resource))
	return at
}

func (p *packed) end(at int) {
	binary.NativeEndian.PutUint32(p.buf[at:], uint32(len(p.buf)-at))
}

// value appends an attribute.
func (p *packed) value(typ int, v string) {
	p.u16(unix.SizeofNlAttr + len(v))
	p.u16(typ)
	p.buf = append(p.buf, v...)
	for len(p.buf)%4 != 0 {
		p.buf = append(p.buf, 0)
	}
}

// nest begins an attribute that has others in it, and done gives it its length.
func (p *packed) nest(typ int) (at int) {
	at = len(p.buf)
	p.u16(0)
	p.u16(typ | unix.NLA_F_NESTED)
	return at
}

func (p *packed) done(at int) {
	binary.NativeEndian.PutUint16(p.buf[at:], uint16(len(p.buf)-at))
}

// pack makes the batch that adds and deletes the elements of a transaction.
func (p *packed) pack(tx nft.Transaction) {
	const full = 60_000 // a list's length has 16 bits
	p.buf = p.buf[:0]
	p.end(p.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	last := 0
	for i := 0; i < len(tx); {
		op := &tx[i]
		typ, flags := unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE
		if op.Verb == nft.Delete {
			typ, flags = unix.NFT_MSG_DELSETELEM, 0
		}
		last = p.message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, byte(op.Table.Family), 0)
		p.value(unix.NFTA_SET_ELEM_LIST_TABLE, op.Table.Name+"\x00")
		p.value(unix.NFTA_SET_ELEM_LIST_SET, op.Set.Name+"\x00")
		list := p.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for ; i < len(tx) && tx[i].Set == op.Set && tx[i].Verb == op.Verb && len(p.buf)-last < full; i++ {
			p.element(op.Verb, &tx[i].Element)
		}
		p.done(list)
		p.end(last)
	}
	flags := binary.NativeEndian.Uint16(p.buf[last+6:])
	binary.NativeEndian.PutUint16(p.buf[last+6:], flags|unix.NLM_F_ACK)
	p.end(p.message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
}

func (p *packed) element(verb nft.Verb, e *nft.Element) {
	element := p.nest(unix.NFTA_LIST_ELEM)
	key := p.nest(unix.NFTA_SET_ELEM_KEY)
	p.value(unix.NFTA_DATA_VALUE, e.Key)
	p.done(key)
	if verb == nft.Delete {
		p.done(element)
		return
	}
	switch {
	case e.Goto != "":
		const verdictGoto = "\xff\xff\xff\xfc" // NFT_GOTO, -4
		data := p.nest(unix.NFTA_SET_ELEM_DATA)
		verdict := p.nest(unix.NFTA_DATA_VERDICT)
		p.value(unix.NFTA_VERDICT_CODE, verdictGoto)
		p.value(unix.NFTA_VERDICT_CHAIN, e.Goto+"\x00")
		p.done(verdict)
		p.done(data)
	case e.Data != "":
		data := p.nest(unix.NFTA_SET_ELEM_DATA)
		p.value(unix.NFTA_DATA_VALUE, e.Data)
		p.done(data)
	}
	if e.Comment != "" {
		// As nft keeps a comment: type, length, text.
		p.value(unix.NFTA_SET_ELEM_USERDATA, "\x00"+string(rune(len(e.Comment)+1))+e.Comment+"\x00")
	}
	p.done(element)
}

// send has the kernel do what is packed. It is done when the send returns, with the
// answer to be read.
func (p *packed) send() error {
	if err := unix.Sendto(p.fd, p.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sending a batch of %d bytes: %w", len(p.buf), err)
	}
	var answer [4096]byte
	n, _, err := unix.Recvfrom(p.fd, answer[:], 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("the answer to a batch is no acknowledgement: % x", answer[:min(n, 32)])
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
		return fmt.Errorf("the kernel refused a batch: %w", unix.Errno(errno))
	}
	return nil
}
