package conntrack

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// filter says which UDP flows the kernel is asked for. What it does not name can
// be anything.
type filter struct {
	family uint8
	dst    netip.Addr // IPv4 only
	port   uint16
}

// encode appends the attributes that a kernel from 5.8 on filters a dump by. Older
// ones pass over CTA_FILTER and give all flows of the family.
func (f filter) encode(e *encoder) {
	flags := byte(byProtocol)
	tuple := e.nest(ctaTupleOrig)
	if f.dst.Is4() {
		flags |= byDst
		addr := f.dst.As4()
		ip := e.nest(ctaTupleIP)
		e.bytes(ctaIPv4Dst, addr[:]...)
		e.closeNest(ip)
	}
	proto := e.nest(ctaTupleProto)
	e.bytes(ctaProtoNum, unix.IPPROTO_UDP)
	if f.port != 0 {
		flags |= byDstPort
		e.port(ctaProtoDstPort, f.port)
	}
	e.closeNest(proto)
	e.closeNest(tuple)
	which := e.nest(ctaFilter)
	e.native(ctaFilterOrigFlags, uint32(flags))
	e.closeNest(which)
}
