package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
)

// TableName is the name of the tables that mark packets.
const TableName = "kube-verdict-trace"

// priority is before that of our guard, and behind conntrack, which says what is
// the first packet of a connection.
const priority = -120

// Frontend is an address, protocol and port that our tables have an element for.
type Frontend struct {
	Family nft.Family
	Key    string
	// Service is the Service port as comments have it.
	Service string
}

// Frontends are all that our tables have.
func Frontends(tables []*nft.Held) []Frontend {
	var all []Frontend
	for _, t := range tables {
		if t == nil {
			continue
		}
		for _, set := range []string{"services", "nodeports", "no-endpoints", "no-endpoints-nodeport"} {
			if s := t.Sets[set]; s != nil {
				for _, e := range s.Elements {
					all = append(all, Frontend{t.Family, e.Key, e.Comment})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Frontend) int {
		return strings.Compare(a.Service+"\x00"+a.Key, b.Service+"\x00"+b.Key)
	})
	return all
}

// Name is the Service's, without its port.
func (f Frontend) Name() string {
	name, _, _ := strings.Cut(f.Service, ":")
	return name
}

// At is the frontend's address and port.
func (f Frontend) At() netip.AddrPort {
	n := f.Family.AddrLen()
	if len(f.Key) < n+6 {
		return netip.AddrPort{}
	}
	addr, _ := netip.AddrFromSlice([]byte(f.Key[:n]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(f.Key[n+4:])))
}

// Tables make the tables that mark the first packets of connections to the
// frontends, as many in a second as rate, in each family.
func Tables(frontends []Frontend, rate uint64) nft.Transaction {
	var tx nft.Transaction
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		key := []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}
		set := &nft.Set{Name: "frontends", Key: key, Comment: "what is traced"}
		base := func(hook nft.Hook) *nft.Chain {
			return &nft.Chain{
				Name: "trace-" + hook.String(), Base: &nft.Base{Type: "filter", Hook: hook, Priority: priority},
				Rules: []nft.Rule{{Statements: []nft.Statement{nft.NewConnection{}, nft.InSet{Key: key, Set: set.Name}, nft.Jump{Chain: "mark"}}}},
			}
		}
		table := &nft.Table{
			Family: f, Name: TableName, Comment: "first packets that kube-verdict trace looks at", Owned: true, Sets: []*nft.Set{set},
			Chains: []*nft.Chain{
				base(nft.Prerouting), base(nft.Output),
				{Name: "mark", Rules: []nft.Rule{{Statements: []nft.Statement{nft.Limit{Rate: rate}, nft.Trace{}}}}},
			},
		}
		var elements nft.Transaction
		seen := map[string]bool{}
		for _, at := range frontends {
			if at.Family == f && !seen[at.Key] {
				seen[at.Key] = true
				elements = append(elements, nft.Op{Table: table, Set: set, Element: nft.Element{Key: at.Key, Comment: at.Service}})
			}
		}
		if len(elements) > 0 {
			tx.AddTable(table)
			tx = append(tx, elements...)
		}
	}
	return tx
}
