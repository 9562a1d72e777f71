package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// errInterrupted says that the tables changed while they were read.
var errInterrupted = errors.New("nf_tables changed during a dump")

// Generation is the number of commits in this network namespace, by anyone.
func (c *Conn) Generation() (uint32, error) {
	var generation uint32
	err := c.ask(unix.NFT_MSG_GETGEN, 0, nft.Family(unix.AF_UNSPEC), nil, func(body []byte) {
		attrs(body, func(typ uint16, value []byte) {
			if typ == unix.NFTA_GEN_ID {
				generation = beUint32(value)
			}
		})
	})
	if errors.Is(err, unix.EINVAL) {
		err = noTables(err) // nothing in this request can be wrong
	}
	return generation, err
}

// Attributes of a set: NFTA_SET_HANDLE, and NFTA_SET_COUNT, from Linux 6.16 on.
const (
	setHandle = 16
	setCount  = 20
)

// setConcat is NFT_SET_CONCAT, from Linux 5.6 on.
const setConcat = 0x80

// setExpr is NFTA_SET_EXPR, from Linux 5.7 on.
const setExpr = 17

// Read reads one table with all that is in it, or gives nil when there is no
// such table. What it gives is of one moment: when someone commits meanwhile,
// it starts again.
func (c *Conn) Read(id nft.ID) (*nft.Held, error) { return c.readWhole(id, math.MaxUint32) }

func (c *Conn) readWhole(id nft.ID, large uint32) (*nft.Held, error) {
	const tries = 50
	for try := range tries {
		if try > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		before, err := c.Generation()
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", id, err)
		}
		held, err := c.read(id, large)
		if errors.Is(err, errInterrupted) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", id, err)
		}
		if after, err := c.Generation(); err == nil && after == before {
			return held, nil
		}
	}
	return nil, fmt.Errorf("read table %s: %w, %d times in a row", id, errInterrupted, tries)
}

func (c *Conn) read(id nft.ID, large uint32) (*nft.Held, error) {
	held := &nft.Held{ID: id, Sets: map[string]*nft.HeldSet{}, Chains: map[string]*nft.HeldChain{}}
	err := c.ask(unix.NFT_MSG_GETTABLE, 0, id.Family, func(e *nfnetlink.Encoder) { e.Name(unix.NFTA_TABLE_NAME, id.Name) }, func(body []byte) {
		attrs(body, func(typ uint16, value []byte) {
			if typ == unix.NFTA_TABLE_FLAGS {
				held.Flags = beUint32(value)
			}
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.readSets(held); err != nil {
		return nil, err
	}
	if err := c.readChains(held); err != nil {
		return nil, err
	}
	for name, set := range held.Sets {
		// What the kernel counts of a set of ranges is not its elements.
		if set.Large = set.Count > large && set.Flags&(unix.NFT_SET_INTERVAL|unix.NFT_SET_EVAL) == 0; set.Large {
			continue
		}
		if err := c.fill(id, name, set); err != nil {
			return nil, err
		}
	}
	// Those are with their rules.
	maps.DeleteFunc(held.Sets, func(_ string, set *nft.HeldSet) bool { return set.Anonymous() })
	return held, nil
}

// fill reads a set's elements. Those of sets that rules write to all the time are
// left out.
func (c *Conn) fill(id nft.ID, name string, set *nft.HeldSet) error {
	if set.Flags&unix.NFT_SET_EVAL != 0 {
		return nil
	}
	elements, ends, err := c.elements(id, name)
	if err != nil {
		return err
	}
	set.Elements = elements
	if set.Flags&(unix.NFT_SET_INTERVAL|setConcat) == unix.NFT_SET_INTERVAL {
		nft.Pair(elements, ends)
	}
	if !whole(set) {
		return errInterrupted
	}
	return nil
}

// whole says that each element was read once. The kernel goes on growing a
// set's hash table for a while after a load, and a dump that meets this skips
// some elements and gives others twice, without a word.
func whole(set *nft.HeldSet) bool {
	if set.Flags&unix.NFT_SET_INTERVAL != 0 {
		return true // a tree, whose count is of another kind
	}
	keys := make(map[string]struct{}, len(set.Elements))
	for i := range set.Elements {
		keys[set.Elements[i].Key] = struct{}{}
	}
	return len(keys) == len(set.Elements) && (set.Count == 0 || len(keys) == int(set.Count))
}

func (c *Conn) readSets(held *nft.Held) error {
	return c.dump(unix.NFT_MSG_GETSET, held.Family, func(e *nfnetlink.Encoder) { e.Name(unix.NFTA_SET_TABLE, held.Name) }, func(body []byte) {
		set := &nft.HeldSet{}
		attrs(body, func(typ uint16, value []byte) {
			switch typ {
			case unix.NFTA_SET_NAME:
				set.Name = cString(value)
			case unix.NFTA_SET_FLAGS:
				set.Flags = beUint32(value)
			case unix.NFTA_SET_KEY_TYPE:
				set.KeyType = beUint32(value)
			case unix.NFTA_SET_KEY_LEN:
				set.KeyLen = beUint32(value)
			case unix.NFTA_SET_DATA_TYPE:
				set.DataType = beUint32(value)
			case unix.NFTA_SET_DATA_LEN:
				set.DataLen = beUint32(value)
			case setCount:
				set.Count = beUint32(value)
			case unix.NFTA_SET_TIMEOUT:
				set.Timeout = time.Duration(beUint64(value)) * time.Millisecond
			case setHandle:
				set.Handle = beUint64(value)
			case setExpr:
				set.Counted = exprName(value) == "counter"
				_, set.Burst = bucket(value)
			case unix.NFTA_SET_USERDATA:
				set.UserData = append([]byte(nil), value...)
			}
		})
		held.Sets[set.Name] = set
	})
}

func (c *Conn) readChains(held *nft.Held) error {
	err := c.dump(unix.NFT_MSG_GETCHAIN, held.Family, nil, func(body []byte) {
		var table, name string
		chain := &nft.HeldChain{}
		attrs(body, func(typ uint16, value []byte) {
			switch typ {
			case unix.NFTA_CHAIN_TABLE:
				table = cString(value)
			case unix.NFTA_CHAIN_NAME:
				name = cString(value)
			case unix.NFTA_CHAIN_POLICY:
				chain.Drops = beUint32(value) == policyDrop
			case unix.NFTA_CHAIN_TYPE:
				base(chain).Type = cString(value)
			case unix.NFTA_CHAIN_HOOK:
				attrs(value, func(typ uint16, value []byte) {
					switch typ {
					case unix.NFTA_HOOK_HOOKNUM:
						base(chain).Hook = nft.Hook(beUint32(value))
					case unix.NFTA_HOOK_PRIORITY:
						base(chain).Priority = int32(beUint32(value))
					}
				})
			}
		})
		if table == held.Name {
			held.Chains[name] = chain
		}
	})
	if err != nil {
		return err
	}
	return c.dump(unix.NFT_MSG_GETRULE, held.Family, func(e *nfnetlink.Encoder) { e.Name(unix.NFTA_RULE_TABLE, held.Name) }, func(body []byte) {
		var chain string
		var rule nft.HeldRule
		attrs(body, func(typ uint16, value []byte) {
			switch typ {
			case unix.NFTA_RULE_CHAIN:
				chain = cString(value)
			case unix.NFTA_RULE_HANDLE:
				rule.Handle = beUint64(value)
			case unix.NFTA_RULE_EXPRESSIONS:
				rule.Program = append([]byte(nil), value...)
			case unix.NFTA_RULE_USERDATA:
				rule.UserData = append([]byte(nil), value...)
			}
		})
		if h := held.Chains[chain]; h != nil {
			if set := held.Sets[lookedUp(rule.Program)]; set != nil && set.Anonymous() {
				rule.Literal = set
			}
			h.Rules = append(h.Rules, rule)
		}
	})
}

// lookedUp is the name of the first set that a rule looks up.
func lookedUp(program []byte) string {
	name := ""
	attrs(program, func(_ uint16, expression []byte) {
		attrs(expression, func(typ uint16, data []byte) {
			if typ == unix.NFTA_EXPR_DATA && name == "" && exprName(expression) == "lookup" {
				attrs(data, func(typ uint16, value []byte) {
					if typ == unix.NFTA_LOOKUP_SET {
						name = cString(value)
					}
				})
			}
		})
	})
	return name
}

// exprName is the name of an expression's kind.
func exprName(expression []byte) string {
	name := ""
	attrs(expression, func(typ uint16, value []byte) {
		if typ == unix.NFTA_EXPR_NAME {
			name = cString(value)
		}
	})
	return name
}

// base is the chain's Base, made when the first sign of one is seen.
func base(c *nft.HeldChain) *nft.Base {
	if c.Base == nil {
		c.Base = &nft.Base{}
	}
	return c.Base
}

// Elements reads all elements of a set or map, in no order.
func (c *Conn) Elements(id nft.ID, set string) ([]nft.Element, error) {
	elements, ends, err := c.elements(id, set)
	if len(ends) > 0 {
		nft.Pair(elements, ends)
	}
	return elements, err
}

// elements reads elements, and by themselves the keys past the ends of ranges.
func (c *Conn) elements(id nft.ID, set string) (elements []nft.Element, ends []string, err error) {
	err = c.eachElement(id, set, func(e *nft.Element, isEnd bool) {
		if isEnd {
			ends = append(ends, e.Key)
		} else {
			elements = append(elements, *e)
		}
	})
	return elements, ends, err
}

// element reads an element; text is a copy of body, in which elem lies.
func element(text string, body, elem []byte) nft.Element {
	var e nft.Element
	part := func(b []byte) string {
		at := cap(body) - cap(b)
		return text[at : at+len(b)]
	}
	attrs(elem, func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			attrs(value, func(typ uint16, value []byte) {
				if typ == unix.NFTA_DATA_VALUE {
					e.Key = part(value)
				}
			})
		case setElemKeyEnd:
			attrs(value, func(typ uint16, value []byte) {
				if typ == unix.NFTA_DATA_VALUE {
					e.KeyEnd = part(value)
				}
			})
		case unix.NFTA_SET_ELEM_DATA:
			attrs(value, func(typ uint16, value []byte) {
				switch typ {
				case unix.NFTA_DATA_VALUE:
					e.Data = part(value)
				case unix.NFTA_DATA_VERDICT:
					e.Goto, e.Data = verdictOf(value)
				}
			})
		case unix.NFTA_SET_ELEM_EXPR:
			if rate, burst := bucket(value); burst > 0 {
				e.Data = part(rate)
			}
		case unix.NFTA_SET_ELEM_USERDATA:
			e.Comment = nft.ElementComment(value)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			if len(value) == 8 {
				e.Left = time.Duration(binary.BigEndian.Uint64(value)) * time.Millisecond
			}
		}
	})
	return e
}

// verdictOf is a verdict: the chain that it goes to, or else, as data, its code
// and the chain that it jumps to, if it does.
func verdictOf(verdict []byte) (chain, data string) {
	var code uint32
	attrs(verdict, func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_VERDICT_CODE:
			code = beUint32(value)
		case unix.NFTA_VERDICT_CHAIN:
			chain = cString(value)
		}
	})
	if code == verdictGoto {
		return chain, ""
	}
	return "", string(binary.BigEndian.AppendUint32(nil, code)) + chain
}

func (c *Conn) dump(typ uint16, f nft.Family, fill func(*nfnetlink.Encoder), each func(body []byte)) error {
	return c.ask(typ, unix.NLM_F_DUMP, f, fill, each)
}

// ask sends a request outside of any batch and calls each with the attributes
// of every message of the answer.
func (c *Conn) ask(typ, flags uint16, f nft.Family, fill func(*nfnetlink.Encoder), each func(body []byte)) error {
	if flags == 0 {
		flags = unix.NLM_F_ACK // an end to wait for
	}
	seq := c.nl.NextSeq()
	c.out.B = c.out.B[:0]
	at := c.out.Message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, seq, byte(f), 0)
	if fill != nil {
		fill(&c.out)
	}
	c.out.CloseMessage(at)
	if err := c.nl.Send(c.out.B); err != nil {
		return explain(err)
	}
	var interrupted bool
	for done := false; !done; {
		datagram, err := c.nl.Receive(true)
		if err != nil {
			return err
		}
		err = nfnetlink.Messages(datagram, func(m nfnetlink.Message) error {
			if m.Seq != seq {
				return nil // left over from an earlier request that failed
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				errno, err := m.Errno()
				if err != nil {
					return err
				}
				if errno != 0 {
					return explain(errno)
				}
			default:
				each(m.Body[nfgen:])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}
