package walk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// value is what a register holds, in nft's words.
type value struct {
	text string
	size int // in bytes
	// kind says how what it is compared with is written.
	kind func(data []byte) string
	// mask and xor are what was done to it; raw is it, if the rule says so itself.
	mask, xor, raw []byte
}

// writer writes the expressions of a rule as the statements that they were made from.
type writer struct {
	family    nft.Family
	registers [16]value
	out       []string
}

// Text is the rule in nft's syntax.
func (r *Rule) Text() string {
	if r == nil {
		return "policy drop"
	}
	w := &writer{family: r.family}
	for i := range r.steps {
		w.step(&r.steps[i])
	}
	if r.comment != "" {
		w.say("comment %q", r.comment)
	}
	return strings.Join(w.out, " ")
}

func (w *writer) say(format string, args ...any) {
	w.out = append(w.out, fmt.Sprintf(format, args...))
}

func (w *writer) step(s *step) {
	switch s.op {
	case opNothing:
		w.say("%s", s.text)
	case opFail:
		w.say("(%v)", s.err)
	case opImmediate:
		w.registers[s.dst] = value{size: len(s.data), kind: hex, text: hex(s.data), raw: s.data}
	case opVerdict:
		w.say("%s", nft.VerdictText(int32(s.key), s.chain))
	case opPayload, opMeta, opConntrack, opFib, opRandom:
		w.registers[s.dst] = w.load(s)
	case opBitwise:
		v := w.registers[s.src]
		v.mask, v.xor = s.data, s.more
		w.registers[s.dst] = v
	case opCompare, opRange:
		w.compare(s)
	case opLookup:
		w.lookup(s)
	case opSetMeta:
		w.setMeta(s)
	case opTranslate:
		w.translate(s)
	case opMasquerade:
		w.say("masquerade%s", map[bool]string{true: " fully-random"}[s.flags&unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY != 0])
	case opReject:
		w.say("reject")
	case opUpdate:
		w.update(s)
	}
}

func (w *writer) translate(s *step) {
	to := w.registers[s.src]
	addr, ok := netip.AddrFromSlice(to.raw)
	switch {
	case !ok:
		w.say("dnat %s to %s", w.family, to.text)
	case s.dst == noMap:
		w.say("dnat to %s", addr)
	case len(w.registers[s.dst].raw) == 2:
		w.say("dnat to %s", netip.AddrPortFrom(addr, binary.BigEndian.Uint16(w.registers[s.dst].raw)))
	default:
		w.say("dnat to %s:%s", addr, w.registers[s.dst].text)
	}
}

func hex(data []byte) string { return fmt.Sprintf("0x%x", data) }

func word32(data []byte) string {
	if len(data) != 4 {
		return hex(data)
	}
	return fmt.Sprintf("0x%08x", native(data))
}

func classID(data []byte) string {
	v := native(data)
	if v == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", v>>16, v&0xffff)
}

func protocolName(data []byte) string {
	switch data[0] {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return fmt.Sprint(data[0])
}

func port(data []byte) string { return fmt.Sprint(binary.BigEndian.Uint16(data)) }

func (w *writer) address(data []byte) string {
	full := make([]byte, w.family.AddrLen())
	addr, _ := netip.AddrFromSlice(append(full[:0], append(data, full[len(data):]...)...))
	if len(data) < len(full) {
		return netip.PrefixFrom(addr, 8*len(data)).String()
	}
	return addr.String()
}

func named(names map[uint32]string) func([]byte) string {
	return func(data []byte) string {
		if name, ok := names[native(data)]; ok && len(data) == 4 {
			return name
		}
		return hex(data)
	}
}

// load is what an expression loads from the packet, or about it.
func (w *writer) load(s *step) value {
	switch s.op {
	case opPayload:
		source := sourceOffset(w.family)
		dest := source + uint32(w.family.AddrLen())
		v := value{fmt.Sprintf("@%d,%d,%d", s.key, 8*s.flags, 8*s.length), s.length, hex, nil, nil, nil}
		switch {
		case s.key == unix.NFT_PAYLOAD_NETWORK_HEADER && s.flags == source && s.length <= w.family.AddrLen():
			v.text, v.kind = w.family.String()+" saddr", w.address
		case s.key == unix.NFT_PAYLOAD_NETWORK_HEADER && s.flags == dest && s.length <= w.family.AddrLen():
			v.text, v.kind = w.family.String()+" daddr", w.address
		case s.key == unix.NFT_PAYLOAD_TRANSPORT_HEADER && s.flags == 2 && s.length == 2:
			v.text, v.kind = "th dport", port
		case s.key == unix.NFT_PAYLOAD_TRANSPORT_HEADER && s.flags == 0 && s.length == 2:
			v.text, v.kind = "th sport", port
		}
		return v
	case opMeta:
		switch s.key {
		case unix.NFT_META_L4PROTO:
			return value{text: "meta l4proto", size: 1, kind: protocolName}
		case unix.NFT_META_MARK:
			return value{text: "meta mark", size: 4, kind: word32}
		case unix.NFT_META_PRIORITY:
			return value{text: "meta priority", size: 4, kind: classID}
		case unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME:
			text := map[bool]string{true: "iifname", false: "oifname"}[s.key == unix.NFT_META_IIFNAME]
			return value{text: text, size: unix.IFNAMSIZ, kind: func(data []byte) string { return fmt.Sprintf("%q", interfaceName(data)) }}
		}
		return value{text: fmt.Sprintf("meta %d", s.key), size: 4, kind: hex}
	case opConntrack:
		switch s.key {
		case unix.NFT_CT_STATE:
			return value{text: "ct state", size: 4, kind: named(map[uint32]string{2: "established", 4: "related", 6: "established,related", stateNew: "new", 1: "invalid"})}
		case unix.NFT_CT_STATUS:
			return value{text: "ct status", size: 4, kind: named(map[uint32]string{statusDNAT: "dnat"})}
		}
		text := map[uint32]string{unix.NFT_CT_SRC_IP: "original ip saddr", unix.NFT_CT_SRC_IP6: "original ip6 saddr", unix.NFT_CT_DST_IP: "original ip daddr",
			unix.NFT_CT_DST_IP6: "original ip6 daddr", unix.NFT_CT_PROTO_DST: "original proto-dst"}[s.key]
		if s.key == unix.NFT_CT_PROTO_DST {
			return value{text: "ct " + text, size: 2, kind: port}
		}
		if text == "" {
			text = fmt.Sprint(s.key)
		}
		return value{text: "ct " + text, size: w.family.AddrLen(), kind: w.address}
	case opFib:
		text := map[bool]string{true: "fib saddr type", false: "fib daddr type"}[s.flags == unix.NFTA_FIB_F_SADDR]
		return value{text: text, size: 4, kind: named(map[uint32]string{unix.RTN_LOCAL: "local", unix.RTN_UNICAST: "unicast", unix.RTN_BROADCAST: "broadcast"})}
	}
	return value{text: fmt.Sprintf("numgen random mod %d", s.key), size: 4, kind: word32}
}

// compare writes a test. A word of which a mask leaves something is tested for any of
// the mask's bits.
func (w *writer) compare(s *step) {
	v := w.registers[s.src]
	if v.kind == nil {
		v.kind, v.text = hex, "register"
	}
	op := map[uint32]string{unix.NFT_CMP_EQ: "", unix.NFT_CMP_NEQ: "!= ", unix.NFT_CMP_LT: "< ", unix.NFT_CMP_LTE: "<= ", unix.NFT_CMP_GT: "> ", unix.NFT_CMP_GTE: ">= "}[s.compare]
	if s.op == opRange {
		w.say("%s %s%s-%s", v.text, op, v.kind(s.data), v.kind(s.more))
		return
	}
	prefix := strings.HasPrefix(v.text, "ip") && strings.HasSuffix(v.text, "addr")
	switch {
	case v.mask == nil:
		w.say("%s %s%s", v.text, op, v.kind(s.data))
	case prefix:
		addr, _ := netip.AddrFromSlice(s.data)
		w.say("%s %s%s", v.text, op, netip.PrefixFrom(addr, leadingOnes(v.mask)))
	case strings.HasPrefix(v.text, "ct "):
		w.say("%s %s", v.text, v.kind(v.mask))
	default:
		if op == "" {
			op = "== "
		}
		w.say("%s & %s %s%s", v.text, v.kind(v.mask), op, v.kind(s.data))
	}
}

// ipv4 is nft's number for the type of an IPv4 address.
const ipv4 = 7

// keys is the concatenation that lies in registers.
func (w *writer) keys(at, length int) string {
	var texts []string
	for length > 0 && at < len(w.registers) {
		v := w.registers[at]
		if v.size == 0 {
			v = value{text: "register", size: length}
		}
		texts = append(texts, v.text)
		n := (v.size + 3) / 4
		at, length = at+n, length-4*n
	}
	return strings.Join(texts, " . ")
}

func (w *writer) lookup(s *step) {
	set := "@" + s.set.name
	if s.set.Anonymous() {
		elements := slices.Clone(s.set.Elements)
		slices.SortFunc(elements, func(a, b nft.Element) int {
			if len(a.Key) == 4 && len(b.Key) == 4 && s.set.KeyType != ipv4 { // numbers
				return cmp.Compare(native([]byte(a.Key)), native([]byte(b.Key)))
			}
			return strings.Compare(a.Key, b.Key)
		})
		var texts []string
		for _, e := range elements {
			texts = append(texts, s.set.Text(w.family, e))
		}
		set = "{ " + strings.Join(texts, ", ") + " }"
	}
	keys := w.keys(s.src, int(s.set.KeyLen))
	switch {
	case s.dst == toVerdict:
		w.say("%s vmap %s", keys, set)
	case s.dst != noMap:
		w.registers[s.dst] = value{text: keys + " map " + set, size: int(s.set.DataLen), kind: hex}
	case s.flags&unix.NFT_LOOKUP_F_INV != 0:
		w.say("%s != %s", keys, set)
	default:
		w.say("%s %s", keys, set)
	}
}

func (w *writer) setMeta(s *step) {
	v := w.registers[s.src]
	name, kind := "meta mark", word32
	if s.key == unix.NFT_META_PRIORITY {
		name, kind = "meta priority", classID
	}
	text := v.text
	switch {
	case v.mask != nil && native(v.mask) == 1<<32-1:
		text += " ^ " + kind(v.xor)
	case v.mask != nil && native(v.mask) == ^native(v.xor):
		text += " | " + kind(v.xor)
	case v.mask != nil:
		text += fmt.Sprintf(" & %s ^ %s", kind(v.mask), kind(v.xor))
	case len(v.raw) == 4:
		text = kind(v.raw)
	}
	w.say("%s set %s", name, text)
}

func (w *writer) update(s *step) {
	text := w.keys(s.src, int(s.set.KeyLen))
	if s.flags != 0 {
		text += " timeout " + nft.DurationText(s.timeout.Truncate(time.Second))
	}
	if s.dst != noMap {
		text += " : " + w.keys(s.dst, int(s.set.DataLen))
	}
	w.say("update @%s { %s }", s.set.name, text)
}
