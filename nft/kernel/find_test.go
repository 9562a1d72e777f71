package kernel_test

import (
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Elements are found by their keys, whichever of them are missing, and a set is large by
// what the kernel counts.
func TestFind(t *testing.T) {
	conn, _ := open(t)
	set := &nft.Set{Name: "ids", Key: []nft.Field{nft.Priority{}}, Data: []nft.Field{nft.Priority{}}}
	table := &nft.Table{Family: nft.IPv4, Name: "sample", Sets: []*nft.Set{set}}
	const n = 20_000
	var tx nft.Transaction
	tx.AddTable(table)
	for i := range uint32(n) {
		tx = append(tx, nft.Op{Table: table, Set: set, Element: nft.Element{Key: number(2 * i), Data: number(i), Comment: "c"}})
	}
	commit(t, conn, tx)
	every := func(step, count uint32) (keys []string) {
		for i := range count {
			keys = append(keys, number(step*i))
		}
		return keys
	}
	for _, tc := range []struct {
		what        string
		keys        []string
		first, want int
	}{
		{"none", nil, 0, 0},
		{"all", every(2, n), 0, n},
		{"one that is missing", []string{number(1)}, 0, 0},
		{"some missing", every(1, 600), 0, 300},
		{"the last missing", append(every(2, 255), number(1)), 0, 255},
		{"the first of the next message missing", append(append(every(2, 256), number(1)), every(2, 256)...), 0, 512},
	} {
		found, err := conn.Find(table.ID(), "ids", tc.keys)
		if err != nil || len(found) != tc.want {
			t.Errorf("%s: %d were found, want %d: %v", tc.what, len(found), tc.want, err)
		}
		for _, e := range found {
			if !slices.Contains(tc.keys[:min(len(tc.keys), 600)], e.Key) && tc.what != "all" || e.Comment != "c" || len(e.Data) != 4 {
				t.Fatalf("%s: found %+v", tc.what, e)
			}
		}
	}
	if found, err := conn.Find(table.ID(), "ids", every(1, 4*n)); err != nil || len(found) == 0 || len(found) >= n {
		t.Errorf("with most missing, %d were found: %v", len(found), err)
	}

	held, err := conn.Survey(table.ID())
	if err != nil {
		t.Fatal(err)
	}
	if s := held.Sets["ids"]; s.Large != (s.Count > 0) || s.Large && s.Elements != nil || !s.Large && len(s.Elements) != n {
		t.Errorf("a set of %d that the kernel counts as %d: large %t, %d elements read", n, s.Count, s.Large, len(s.Elements))
	}
	if held, err = conn.Read(table.ID()); err != nil || len(held.Sets["ids"].Elements) != n || held.Sets["ids"].Large {
		t.Errorf("read whole, it has %d elements: %v", len(held.Sets["ids"].Elements), err)
	}
}
