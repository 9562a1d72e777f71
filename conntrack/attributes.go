package conntrack

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// Of linux/netfilter/nfnetlink_conntrack.h, what x/sys/unix does not have.
const (
	msgGet      = 1 // IPCTNL_MSG_CT_GET
	msgDelete   = 2 // IPCTNL_MSG_CT_DELETE
	msgGetStats = 5 // IPCTNL_MSG_CT_GET_STATS

	ctaTupleOrig  = 1  // CTA_TUPLE_ORIG
	ctaTupleReply = 2  // CTA_TUPLE_REPLY
	ctaID         = 12 // CTA_ID
	ctaZone       = 18 // CTA_ZONE
	ctaFilter     = 25 // CTA_FILTER

	ctaTupleIP    = 1 // CTA_TUPLE_IP
	ctaTupleProto = 2 // CTA_TUPLE_PROTO

	ctaIPv4Src = 1 // CTA_IP_V4_SRC
	ctaIPv4Dst = 2 // CTA_IP_V4_DST
	ctaIPv6Src = 3 // CTA_IP_V6_SRC
	ctaIPv6Dst = 4 // CTA_IP_V6_DST

	ctaProtoNum     = 1 // CTA_PROTO_NUM
	ctaProtoSrcPort = 2 // CTA_PROTO_SRC_PORT
	ctaProtoDstPort = 3 // CTA_PROTO_DST_PORT

	ctaFilterOrigFlags    = 1 // CTA_FILTER_ORIG_FLAGS
	ctaStatsGlobalEntries = 1 // CTA_STATS_GLOBAL_ENTRIES
)

// Bits of CTA_FILTER_ORIG_FLAGS: which parts of CTA_TUPLE_ORIG count. They are
// in no header that user space gets.
const (
	byDst       = 1 << 1
	byProtocol  = 1 << 3
	byDstPort   = 1 << 5
	nfgen       = nfnetlink.Header
	typeOfAttr  = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	ofConntrack = unix.NFNL_SUBSYS_CTNETLINK << 8
)

// encoder packs messages one after another. What is opened is closed with the
// place that opening gave, which fills in the length.
type encoder struct{ b []byte }

func (e *encoder) message(typ, flags uint16, seq uint32, family uint8) int {
	at := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, ofConntrack|typ)
	e.b = binary.NativeEndian.AppendUint16(e.b, unix.NLM_F_REQUEST|flags)
	e.b = binary.NativeEndian.AppendUint32(e.b, seq)
	e.b = append(e.b, 0, 0, 0, 0, family, unix.NFNETLINK_V0, 0, 0)
	return at
}

func (e *encoder) closeMessage(at int) {
	binary.NativeEndian.PutUint32(e.b[at:], uint32(len(e.b)-at))
}

func (e *encoder) nest(typ uint16) int {
	at := len(e.b)
	e.header(typ|unix.NLA_F_NESTED, 0)
	return at
}

func (e *encoder) closeNest(at int) {
	binary.NativeEndian.PutUint16(e.b[at:], uint16(len(e.b)-at))
}

func (e *encoder) header(typ uint16, n int) {
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(unix.SizeofNlAttr+n))
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
}

func (e *encoder) bytes(typ uint16, v ...byte) {
	e.header(typ, len(v))
	e.b = append(e.b, v...)
	for len(e.b) != nfnetlink.Align(len(e.b)) {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) port(typ uint16, port uint16) { e.bytes(typ, byte(port>>8), byte(port)) }

// attribute takes the first attribute off b; nil is for the end.
func attribute(b []byte) (typ uint16, value, rest []byte) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil
	}
	return binary.NativeEndian.Uint16(b[2:]) & typeOfAttr, b[unix.SizeofNlAttr:n:n], b[min(nfnetlink.Align(n), len(b)):]
}

// native is a number in the machine's byte order, which few attributes have.
func (e *encoder) native(typ uint16, v uint32) {
	e.header(typ, 4)
	e.b = binary.NativeEndian.AppendUint32(e.b, v)
}
