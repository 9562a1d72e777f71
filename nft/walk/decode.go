package walk

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// register is the first 32-bit register of one that an expression names.
func register(n uint32) (int, error) {
	switch {
	case n == unix.NFT_REG_VERDICT:
		return toVerdict, nil
	case n >= unix.NFT_REG_1 && n <= unix.NFT_REG_4:
		return int(n-unix.NFT_REG_1) * 4, nil
	case n >= unix.NFT_REG32_00 && n <= unix.NFT_REG32_15:
		return int(n - unix.NFT_REG32_00), nil
	}
	return 0, fmt.Errorf("register %d", n)
}

// rule reads a rule, whose number in its chain is given.
func (t *table) rule(held *nft.HeldRule, number int) Rule {
	r := Rule{Number: number, Handle: held.Handle, family: t.Family, comment: nft.ElementComment(held.UserData)}
	for e := range held.Expressions() {
		d := decoder{HeldExpression: e, table: t, literal: held.Literal}
		s := d.step()
		if d.err != nil {
			s = step{op: opFail, err: fmt.Errorf("%s %w", e.Name, d.err)}
		}
		if r.steps = append(r.steps, s); d.err != nil {
			break
		}
	}
	return r
}

// decoder reads one expression. err is the first thing that is wrong with it.
type decoder struct {
	nft.HeldExpression
	table   *table
	literal *nft.HeldSet
	err     error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) register(attribute uint16) int {
	n, err := register(d.Uint32(attribute))
	if err != nil {
		d.fail("%w", err)
	}
	return n
}

func (d *decoder) name(path ...uint16) string {
	return string(bytes.TrimRight(d.Value(path...), "\x00"))
}

// set is the set of a name: of the table, or written within the rule.
func (d *decoder) set(attribute uint16) *set {
	name := d.name(attribute)
	if s := d.table.sets[name]; s != nil {
		return s
	}
	if d.literal == nil || d.literal.Name != name {
		d.fail("set %q is not there", name)
		return nil
	}
	return &set{name: name, HeldSet: d.literal}
}

func (d *decoder) step() step {
	var s step
	switch d.Name {
	case "counter", "objref", "last":
		s.text = d.Name
	case "immediate":
		s.op, s.dst, s.data = opImmediate, d.register(unix.NFTA_IMMEDIATE_DREG), d.Value(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VALUE)
		if s.dst == toVerdict {
			s.op = opVerdict
			s.key = d.Uint32(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CODE)
			s.chain = d.name(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN)
		}
	case "payload":
		if d.Value(unix.NFTA_PAYLOAD_SREG) != nil {
			d.fail("writes to the packet")
		}
		s.op, s.dst, s.length = opPayload, d.register(unix.NFTA_PAYLOAD_DREG), int(d.Uint32(unix.NFTA_PAYLOAD_LEN))
		s.key, s.flags = d.Uint32(unix.NFTA_PAYLOAD_BASE), d.Uint32(unix.NFTA_PAYLOAD_OFFSET)
	case "meta":
		s.op, s.key = opMeta, d.Uint32(unix.NFTA_META_KEY)
		if d.Value(unix.NFTA_META_SREG) != nil {
			s.op, s.src = opSetMeta, d.register(unix.NFTA_META_SREG)
		} else {
			s.dst = d.register(unix.NFTA_META_DREG)
		}
	case "ct":
		s.op, s.key, s.dst = opConntrack, d.Uint32(unix.NFTA_CT_KEY), d.register(unix.NFTA_CT_DREG)
		s.data = d.Value(unix.NFTA_CT_DIRECTION)
	case "fib":
		s.op, s.dst, s.key, s.flags = opFib, d.register(unix.NFTA_FIB_DREG), d.Uint32(unix.NFTA_FIB_RESULT), d.Uint32(unix.NFTA_FIB_FLAGS)
	case "numgen":
		s.op, s.dst, s.key, s.flags = opRandom, d.register(unix.NFTA_NG_DREG), d.Uint32(unix.NFTA_NG_MODULUS), d.Uint32(unix.NFTA_NG_OFFSET)
	case "cmp", "range", "bitwise", "byteorder", "lookup":
		d.test(&s)
	default:
		d.action(&s)
	}
	return s
}

// test is for expressions that look at registers.
func (d *decoder) test(s *step) {
	switch d.Name {
	case "cmp":
		s.op, s.src, s.compare, s.data = opCompare, d.register(unix.NFTA_CMP_SREG), d.Uint32(unix.NFTA_CMP_OP), d.Value(unix.NFTA_CMP_DATA, unix.NFTA_DATA_VALUE)
	case "range":
		s.op, s.src, s.compare = opRange, d.register(unix.NFTA_RANGE_SREG), d.Uint32(unix.NFTA_RANGE_OP)
		s.data, s.more = d.Value(unix.NFTA_RANGE_FROM_DATA, unix.NFTA_DATA_VALUE), d.Value(unix.NFTA_RANGE_TO_DATA, unix.NFTA_DATA_VALUE)
	case "bitwise":
		s.op, s.src, s.dst, s.length = opBitwise, d.register(unix.NFTA_BITWISE_SREG), d.register(unix.NFTA_BITWISE_DREG), int(d.Uint32(unix.NFTA_BITWISE_LEN))
		s.data, s.more = d.Value(unix.NFTA_BITWISE_MASK, unix.NFTA_DATA_VALUE), d.Value(unix.NFTA_BITWISE_XOR, unix.NFTA_DATA_VALUE)
		if len(s.data) != s.length || len(s.more) != s.length {
			d.fail("is not a mask")
		}
	case "byteorder":
		s.op, s.src, s.dst = opByteorder, d.register(unix.NFTA_BYTEORDER_SREG), d.register(unix.NFTA_BYTEORDER_DREG)
		s.length, s.flags = int(d.Uint32(unix.NFTA_BYTEORDER_LEN)), d.Uint32(unix.NFTA_BYTEORDER_SIZE)
	case "lookup":
		s.op, s.set, s.src, s.dst = opLookup, d.set(unix.NFTA_LOOKUP_SET), d.register(unix.NFTA_LOOKUP_SREG), noMap
		if d.Value(unix.NFTA_LOOKUP_DREG) != nil {
			s.dst = d.register(unix.NFTA_LOOKUP_DREG)
		}
		s.flags = d.Uint32(unix.NFTA_LOOKUP_FLAGS)
	}
}

// action is for expressions that end a packet or change what becomes of it.
func (d *decoder) action(s *step) {
	switch d.Name {
	case "nat":
		if d.Uint32(unix.NFTA_NAT_TYPE) != unix.NFT_NAT_DNAT {
			d.fail("is not for the destination")
		}
		s.op, s.src, s.dst = opTranslate, d.register(unix.NFTA_NAT_REG_ADDR_MIN), noMap
		if d.Value(unix.NFTA_NAT_REG_PROTO_MIN) != nil {
			s.dst = d.register(unix.NFTA_NAT_REG_PROTO_MIN)
		}
	case "masq":
		s.op, s.flags = opMasquerade, d.Uint32(unix.NFTA_MASQ_FLAGS)
	case "reject":
		s.op = opReject
	case "dynset":
		s.op, s.set, s.src, s.dst = opUpdate, d.set(unix.NFTA_DYNSET_SET_NAME), d.register(unix.NFTA_DYNSET_SREG_KEY), noMap
		if d.Value(unix.NFTA_DYNSET_SREG_DATA) != nil {
			s.dst = d.register(unix.NFTA_DYNSET_SREG_DATA)
		}
		s.timeout = time.Duration(d.Uint64(unix.NFTA_DYNSET_TIMEOUT)) * time.Millisecond
		if s.flags = 1; s.timeout == 0 && s.set != nil {
			s.timeout, s.flags = s.set.Timeout, 0
		}
	default:
		d.fail("is unknown here")
	}
}
