package walk

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/view"
)

// Table is a table that can be walked.
type Table struct {
	family nft.Family
	sets   map[string]*set
	chains map[string]*chain
	hooks  map[nft.Hook][]*chain // in order of priority
	// pods is the test by which pods are told from other clients.
	pods test
}

type chain struct {
	name  string
	base  *nft.Base
	rules []rule
	// targets are the addresses that its rules translate to.
	targets []netip.Addr
}

// natDest is the priority at which the kernel calls all chains that translate the
// destination: NF_IP_PRI_NAT_DST.
const natDest = -100

// guard says that the chain decides, before translation, who may go on.
func (c *chain) guard() bool {
	return c.base != nil && c.base.Type == "filter" && (c.base.Hook == nft.Prerouting || c.base.Hook == nft.Output) && c.base.Priority < natDest
}

type rule struct{ steps []step }

// step is one expression.
type step struct {
	op       op
	src, dst int // first 32-bit registers; toVerdict for the verdict
	length   int // in bytes
	key      uint32
	flags    uint32
	compare  uint32
	data     []byte
	more     []byte
	set      *set
	chain    string
	timeout  time.Duration
	err      error
}

type op uint8

const (
	opNothing op = iota
	// opFail is for an expression that can't be made out.
	opFail
	opImmediate
	opVerdict
	opPayload
	opMeta
	opSetMeta
	opConntrack
	opFib
	opCompare
	opRange
	opBitwise
	opByteorder
	opLookup
	opRandom
	opTranslate
	opMasquerade
	opReject
	opUpdate
)

// toVerdict is the verdict register.
const toVerdict = -1

// Compile makes a table that the kernel has ready to be walked. A rule that it
// can't make out is an error only where a walk comes to it.
func Compile(held *nft.Held) *Table {
	t := &Table{family: held.Family, sets: map[string]*set{}, chains: map[string]*chain{}, hooks: map[nft.Hook][]*chain{}}
	for name, s := range held.Sets {
		t.sets[name] = &set{name: name, HeldSet: s}
	}
	for name, c := range held.Chains {
		made := &chain{name: name, base: c.Base, rules: make([]rule, len(c.Rules))}
		for i, r := range c.Rules {
			made.rules[i] = t.compile(r)
			for _, s := range made.rules[i].steps {
				if addr, ok := netip.AddrFromSlice(s.data); ok && s.op == opImmediate {
					made.targets = append(made.targets, addr)
				}
			}
		}
		t.chains[name] = made
		if c.Base != nil {
			t.hooks[c.Base.Hook] = append(t.hooks[c.Base.Hook], made)
		}
	}
	for _, list := range t.hooks {
		slices.SortFunc(list, func(a, b *chain) int {
			return cmp.Or(cmp.Compare(a.base.Priority, b.base.Priority), cmp.Compare(a.name, b.name))
		})
	}
	t.pods = t.podTest()
	return t
}

// podTest is the test that most rules make of where packets come from, as pods are
// told alike everywhere: of rules that don't decide who may go on at all.
func (t *Table) podTest() test {
	guards := map[*chain]bool{}
	for _, c := range t.chains {
		if c.guard() {
			t.reach(guards, c)
		}
	}
	found, tests := map[string]int{}, map[string]test{}
	for _, c := range t.chains {
		for _, r := range c.rules {
			if about := t.clientTest(r.steps); about.known() && !about.single() && !guards[c] {
				found[about.String()]++
				tests[about.String()] = about
			}
		}
	}
	var most test
	for _, text := range slices.Sorted(maps.Keys(found)) {
		if found[text] > found[most.String()] {
			most = tests[text]
		}
	}
	return most
}

// reach adds a chain, and those that it leads to.
func (t *Table) reach(all map[*chain]bool, c *chain) {
	if c == nil || all[c] {
		return
	}
	all[c] = true
	for _, r := range c.rules {
		for _, s := range r.steps {
			switch {
			case s.op == opVerdict:
				t.reach(all, t.chains[s.chain])
			case s.op == opLookup && s.dst == toVerdict:
				for i := range s.set.Elements {
					t.reach(all, t.chains[s.set.Elements[i].Goto])
				}
			}
		}
	}
}

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

func (t *Table) compile(held nft.HeldRule) rule {
	var r rule
	for e := range held.Expressions() {
		s, err := t.step(e)
		if err != nil {
			r.steps = append(r.steps, step{op: opFail, err: fmt.Errorf("%s %w", e.Name, err)})
			return r
		}
		if s.op != opNothing {
			r.steps = append(r.steps, s)
		}
	}
	return r
}

// step reads one expression.
func (t *Table) step(e nft.HeldExpression) (step, error) {
	var s step
	var failed error
	reg := func(attribute uint16) int {
		n, err := register(e.Uint32(attribute))
		if failed == nil {
			failed = err
		}
		return n
	}
	named := func(attribute uint16) *set {
		name := string(bytes.TrimRight(e.Value(attribute), "\x00"))
		if t.sets[name] == nil {
			failed = fmt.Errorf("set %q is not there", name)
		}
		return t.sets[name]
	}
	switch e.Name {
	case "counter", "objref", "last":
	case "immediate":
		s.op, s.dst, s.data = opImmediate, reg(unix.NFTA_IMMEDIATE_DREG), e.Value(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VALUE)
		if s.dst == toVerdict {
			s.op = opVerdict
			s.key = e.Uint32(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CODE)
			s.chain = string(bytes.TrimRight(e.Value(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN), "\x00"))
		}
	case "payload":
		if e.Value(unix.NFTA_PAYLOAD_SREG) != nil {
			return s, fmt.Errorf("writes to the packet")
		}
		s.op, s.dst, s.length = opPayload, reg(unix.NFTA_PAYLOAD_DREG), int(e.Uint32(unix.NFTA_PAYLOAD_LEN))
		s.key, s.flags = e.Uint32(unix.NFTA_PAYLOAD_BASE), e.Uint32(unix.NFTA_PAYLOAD_OFFSET)
	case "meta":
		s.op, s.key = opMeta, e.Uint32(unix.NFTA_META_KEY)
		if e.Value(unix.NFTA_META_SREG) != nil {
			s.op, s.src = opSetMeta, reg(unix.NFTA_META_SREG)
		} else {
			s.dst = reg(unix.NFTA_META_DREG)
		}
	case "ct":
		s.op, s.key, s.dst = opConntrack, e.Uint32(unix.NFTA_CT_KEY), reg(unix.NFTA_CT_DREG)
		s.data = e.Value(unix.NFTA_CT_DIRECTION)
	case "fib":
		s.op, s.dst, s.key, s.flags = opFib, reg(unix.NFTA_FIB_DREG), e.Uint32(unix.NFTA_FIB_RESULT), e.Uint32(unix.NFTA_FIB_FLAGS)
	case "cmp":
		s.op, s.src, s.compare, s.data = opCompare, reg(unix.NFTA_CMP_SREG), e.Uint32(unix.NFTA_CMP_OP), e.Value(unix.NFTA_CMP_DATA, unix.NFTA_DATA_VALUE)
	case "range":
		s.op, s.src, s.compare = opRange, reg(unix.NFTA_RANGE_SREG), e.Uint32(unix.NFTA_RANGE_OP)
		s.data, s.more = e.Value(unix.NFTA_RANGE_FROM_DATA, unix.NFTA_DATA_VALUE), e.Value(unix.NFTA_RANGE_TO_DATA, unix.NFTA_DATA_VALUE)
	case "bitwise":
		s.op, s.src, s.dst, s.length = opBitwise, reg(unix.NFTA_BITWISE_SREG), reg(unix.NFTA_BITWISE_DREG), int(e.Uint32(unix.NFTA_BITWISE_LEN))
		s.data, s.more = e.Value(unix.NFTA_BITWISE_MASK, unix.NFTA_DATA_VALUE), e.Value(unix.NFTA_BITWISE_XOR, unix.NFTA_DATA_VALUE)
		if len(s.data) != s.length || len(s.more) != s.length {
			return s, fmt.Errorf("is not a mask")
		}
	case "byteorder":
		s.op, s.src, s.dst = opByteorder, reg(unix.NFTA_BYTEORDER_SREG), reg(unix.NFTA_BYTEORDER_DREG)
		s.length, s.flags = int(e.Uint32(unix.NFTA_BYTEORDER_LEN)), e.Uint32(unix.NFTA_BYTEORDER_SIZE)
	case "lookup":
		s.op, s.set, s.src, s.dst = opLookup, named(unix.NFTA_LOOKUP_SET), reg(unix.NFTA_LOOKUP_SREG), noMap
		if e.Value(unix.NFTA_LOOKUP_DREG) != nil {
			s.dst = reg(unix.NFTA_LOOKUP_DREG)
		}
		s.flags = e.Uint32(unix.NFTA_LOOKUP_FLAGS)
	case "numgen":
		s.op, s.dst, s.key, s.flags = opRandom, reg(unix.NFTA_NG_DREG), e.Uint32(unix.NFTA_NG_MODULUS), e.Uint32(unix.NFTA_NG_OFFSET)
	case "nat":
		if e.Uint32(unix.NFTA_NAT_TYPE) != unix.NFT_NAT_DNAT {
			return s, fmt.Errorf("is not for the destination")
		}
		if e.Value(unix.NFTA_NAT_REG_PROTO_MIN) == nil {
			return s, fmt.Errorf("has no port")
		}
		s.op, s.src, s.dst = opTranslate, reg(unix.NFTA_NAT_REG_ADDR_MIN), reg(unix.NFTA_NAT_REG_PROTO_MIN)
	case "masq":
		s.op = opMasquerade
	case "reject":
		s.op = opReject
	case "dynset":
		s.op, s.set = opUpdate, named(unix.NFTA_DYNSET_SET_NAME)
		s.timeout = time.Duration(e.Uint64(unix.NFTA_DYNSET_TIMEOUT)) * time.Millisecond
		if s.timeout == 0 && s.set != nil {
			s.timeout = s.set.Timeout
		}
	default:
		return s, fmt.Errorf("is unknown here")
	}
	return s, failed
}

// noMap is for a lookup that asks only whether there is an element.
const noMap = -2

// clientTest is the test that a rule makes by which clients may be told to be pods:
// of where a packet comes from, in a rule that does not end it.
func (t *Table) clientTest(steps []step) test {
	var found test
	about, mask := map[int]step{}, map[int][]byte{}
	for _, s := range steps {
		switch s.op {
		case opPayload, opMeta:
			about[s.dst], mask[s.dst] = s, nil
		case opBitwise:
			about[s.dst], mask[s.dst] = about[s.src], s.data
		case opVerdict:
			if s.key == verdictDrop {
				return test{}
			}
		case opCompare:
			from := about[s.src]
			switch {
			case from.op == opMeta && from.key == unix.NFT_META_IIFNAME:
				found = test{name: interfaceName(s.data)}
			case t.loadsSource(from) && mask[s.src] != nil:
				found = test{nets: sourceNets(t.family, s.data, leadingOnes(mask[s.src]))}
			case t.loadsSource(from):
				found = test{nets: sourceNets(t.family, s.data, 8*len(s.data))}
			}
		case opLookup:
			if from := about[s.src]; t.loadsSource(from) && !s.set.dynamic() && int(s.set.KeyLen) == t.family.AddrLen() {
				found = test{nets: s.set.nets(t.family)}
			}
		}
	}
	return found
}

func (t *Table) loadsSource(s step) bool {
	return s.op == opPayload && s.key == unix.NFT_PAYLOAD_NETWORK_HEADER && s.flags == t.sourceOffset()
}

func leadingOnes(mask []byte) int {
	n := 0
	for _, b := range mask {
		ones := bits.LeadingZeros8(^b)
		n += ones
		if ones < 8 {
			break
		}
	}
	return n
}

// sourceNets is the network of the first addresses' bits.
func sourceNets(f nft.Family, data []byte, n int) []netip.Prefix {
	full := make([]byte, f.AddrLen())
	copy(full, data)
	addr, _ := netip.AddrFromSlice(full)
	return view.Union([]netip.Prefix{netip.PrefixFrom(addr, min(n, 8*len(full)))})
}
