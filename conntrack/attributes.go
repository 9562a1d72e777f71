package conntrack

import (
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
	ofConntrack = unix.NFNL_SUBSYS_CTNETLINK << 8
)
