package walk

import (
	"cmp"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/view"
)

// Ruleset is tables of one family that packets can be sent through.
type Ruleset struct {
	family nft.Family
	tables []*table
	hooks  map[nft.Hook][]*chain // in the order in which the kernel calls them
}

type table struct {
	nft.ID
	sets   map[string]*set
	chains map[string]*chain
	// pods is the test by which pods are told from other clients.
	pods test
}

type chain struct {
	*table
	name  string
	base  *nft.Base
	drops bool // its policy
	rules []Rule
	// targets are the addresses that its rules translate to.
	targets []netip.Addr
}

// natDest is the priority at which the kernel calls all chains that translate the
// destination: NF_IP_PRI_NAT_DST.
const natDest = -100

// natSource is the same for the source: NF_IP_PRI_NAT_SRC.
const natSource = 100

// priority is where the kernel calls a base chain, whatever number it has if it
// translates.
func (c *chain) priority() int32 {
	switch {
	case c.base.Type != "nat":
		return c.base.Priority
	case c.base.Hook == nft.Prerouting || c.base.Hook == nft.Output:
		return natDest
	}
	return natSource
}

// guard says that the chain decides, before translation, who may go on.
func (c *chain) guard() bool {
	return c.base != nil && c.base.Type == "filter" && (c.base.Hook == nft.Prerouting || c.base.Hook == nft.Output) && c.base.Priority < natDest
}

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
	text     string // of an expression that does nothing to packets
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

// Compile makes tables of one family, as the kernel has them, ready to be walked;
// those that are nil are left out. A rule that it can't read is an error only where a
// packet comes to it.
func Compile(tables ...*nft.Held) *Ruleset {
	r := &Ruleset{hooks: map[nft.Hook][]*chain{}}
	for _, held := range tables {
		if held != nil {
			r.family = held.Family
			r.tables = append(r.tables, r.compile(held))
		}
	}
	for _, list := range r.hooks {
		slices.SortStableFunc(list, func(a, b *chain) int {
			return cmp.Or(cmp.Compare(a.priority(), b.priority()), cmp.Compare(a.base.Priority, b.base.Priority), cmp.Compare(a.name, b.name))
		})
	}
	return r
}

func (r *Ruleset) compile(held *nft.Held) *table {
	t := &table{ID: held.ID, sets: map[string]*set{}, chains: map[string]*chain{}}
	for name, s := range held.Sets {
		t.sets[name] = &set{name: name, HeldSet: s}
	}
	for name, c := range held.Chains {
		made := &chain{table: t, name: name, base: c.Base, drops: c.Drops, rules: make([]Rule, len(c.Rules))}
		for i := range c.Rules {
			made.rules[i] = t.rule(&c.Rules[i], i+1)
			for _, s := range made.rules[i].steps {
				if addr, ok := netip.AddrFromSlice(s.data); ok && s.op == opImmediate {
					made.targets = append(made.targets, addr)
				}
			}
		}
		t.chains[name] = made
		if c.Base != nil {
			r.hooks[c.Base.Hook] = append(r.hooks[c.Base.Hook], made)
		}
	}
	t.pods = t.podTest()
	return t
}

// podTest is the test that most rules make of where packets come from, as pods are
// told alike everywhere: of rules that don't decide who may go on at all.
func (t *table) podTest() test {
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
func (t *table) reach(all map[*chain]bool, c *chain) {
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

// noMap is for a lookup that asks only whether there is an element.
const noMap = -2

// clientTest is the test that a rule makes by which clients may be told to be pods:
// of where a packet comes from, in a rule that does not end it.
func (t *table) clientTest(steps []step) test {
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
				found = test{nets: sourceNets(t.Family, s.data, leadingOnes(mask[s.src]))}
			case t.loadsSource(from):
				found = test{nets: sourceNets(t.Family, s.data, 8*len(s.data))}
			}
		case opLookup:
			if from := about[s.src]; t.loadsSource(from) && !s.set.dynamic() && int(s.set.KeyLen) == t.Family.AddrLen() {
				found = test{nets: s.set.nets(t.Family)}
			}
		}
	}
	return found
}

func (t *table) loadsSource(s step) bool {
	return s.op == opPayload && s.key == unix.NFT_PAYLOAD_NETWORK_HEADER && s.flags == sourceOffset(t.Family)
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
