package conntrack

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
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
func (f filter) encode(e *nfnetlink.Encoder) {
	flags := byte(byProtocol)
	tuple := e.Nest(ctaTupleOrig)
	if f.dst.Is4() {
		flags |= byDst
		addr := f.dst.As4()
		ip := e.Nest(ctaTupleIP)
		e.Bytes(ctaIPv4Dst, addr[:]...)
		e.CloseNest(ip)
	}
	proto := e.Nest(ctaTupleProto)
	e.Bytes(ctaProtoNum, unix.IPPROTO_UDP)
	if f.port != 0 {
		flags |= byDstPort
		e.Uint16(ctaProtoDstPort, f.port)
	}
	e.CloseNest(proto)
	e.CloseNest(tuple)
	which := e.Nest(ctaFilter)
	e.Native(ctaFilterOrigFlags, uint32(flags))
	e.CloseNest(which)
}
