package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// entry is a flow as a dump gives it. Its slices are parts of the message.
type entry struct {
	orig, reply []byte // CTA_TUPLE_ORIG and CTA_TUPLE_REPLY
	zone, id    []byte // CTA_ZONE, if it is not zone 0, and CTA_ID
}

func parse(body []byte) (e entry) {
	for typ, value, rest := nfnetlink.Attribute(body); value != nil; typ, value, rest = nfnetlink.Attribute(rest) {
		switch typ {
		case ctaTupleOrig:
			e.orig = value
		case ctaTupleReply:
			e.reply = value
		case ctaZone:
			e.zone = value
		case ctaID:
			e.id = value
		}
	}
	return e
}

// ends are the source and destination of one direction of a flow.
func ends(tuple []byte) (protocol uint8, src, dst netip.AddrPort) {
	var from, to netip.Addr
	var fromPort, toPort uint16
	for typ, value, rest := nfnetlink.Attribute(tuple); value != nil; typ, value, rest = nfnetlink.Attribute(rest) {
		switch typ {
		case ctaTupleIP:
			for typ, value, rest := nfnetlink.Attribute(value); value != nil; typ, value, rest = nfnetlink.Attribute(rest) {
				switch typ {
				case ctaIPv4Src, ctaIPv6Src:
					from, _ = netip.AddrFromSlice(value)
				case ctaIPv4Dst, ctaIPv6Dst:
					to, _ = netip.AddrFromSlice(value)
				}
			}
		case ctaTupleProto:
			for typ, value, rest := nfnetlink.Attribute(value); value != nil; typ, value, rest = nfnetlink.Attribute(rest) {
				switch {
				case typ == ctaProtoNum && len(value) == 1:
					protocol = value[0]
				case typ == ctaProtoSrcPort && len(value) == 2:
					fromPort = binary.BigEndian.Uint16(value)
				case typ == ctaProtoDstPort && len(value) == 2:
					toPort = binary.BigEndian.Uint16(value)
				}
			}
		}
	}
	return protocol, netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
}

// stale says whether the flow is, after the changes.
func (e entry) stale(changes *Changes) bool {
	protocol, _, dst := ends(e.orig)
	if protocol != unix.IPPROTO_UDP {
		return false
	}
	if !changes.has(dst) {
		return false // most are not, and need no further reading
	}
	_, src, _ := ends(e.reply)
	return changes.Stale(dst, src)
}

// deletion appends the message that deletes this entry and no other: the kernel
// finds it by tuple and zone, as they were given, and compares the ID, so that a
// new flow with the same addresses and ports stays.
func (e entry) deletion(to *nfnetlink.Encoder, family uint8, seq uint32) {
	at := to.Message(ofConntrack|msgDelete, 0, seq, family, 0)
	to.Bytes(ctaTupleOrig|unix.NLA_F_NESTED, e.orig...)
	if e.zone != nil {
		to.Bytes(ctaZone, e.zone...)
	}
	to.Bytes(ctaID, e.id...)
	to.CloseMessage(at)
}
