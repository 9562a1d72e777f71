package kernel_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
)

// What is written over netlink is what nft makes of our text: to the byte, but for the
// registers of what is remembered, which versions of nft choose in different ways. nft
// lists it as the same, and loads its own listing again.
func TestStockNftAgrees(t *testing.T) {
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		t.Run(f.String(), func(t *testing.T) {
			table, elements := sample(f)
			conn, ours := open(t)
			commit(t, conn, fill(table, elements))
			listing := run(t, ours, "nft", "list", "ruleset")

			script := nft.Contents{Table: table, Elements: elements}.String()
			commands := fill(table, elements).String()
			for what, input := range map[string]string{"the table's text": script, "the transaction's text": commands, "the listing": listing} {
				conn, theirs := open(t)
				if _, err := theirs.RunInput(strings.NewReader(input), "nft", "-f", "-"); err != nil {
					t.Fatalf("%s: %v\n%s", what, err, input)
				}
				if got := run(t, theirs, "nft", "list", "ruleset"); got != listing {
					t.Errorf("nft lists what it made of %s as\n%s\nand what we wrote as\n%s", what, got, listing)
				}
				held, err := conn.Read(table.ID())
				if err != nil {
					t.Fatal(err)
				}
				same(t, what, table, held, "two")
			}
			held, err := conn.Read(table.ID())
			if err != nil {
				t.Fatal(err)
			}
			same(t, "what we wrote", table, held)
			for _, s := range table.Sets {
				got, want := map[nft.Element]bool{}, map[nft.Element]bool{}
				for _, e := range held.Sets[s.Name].Elements {
					got[e] = true
				}
				for _, e := range elements[s] {
					want[e] = true
				}
				if !maps.Equal(got, want) {
					t.Errorf("set %s: read %v, wrote %v", s.Name, got, want)
				}
			}
		})
	}
}

// A table of a version that declared verdict maps by a typeof is not replaced.
func TestOlderDescriptionsMatch(t *testing.T) {
	table, elements := sample(nft.IPv4)
	text := nft.Contents{Table: table, Elements: elements}.String()
	older := strings.Replace(text, "type ipv4_addr . inet_proto . inet_service : verdict", "typeof ip daddr . meta l4proto . th dport : verdict", 1)
	if older == text {
		t.Fatal("the text has no verdict map")
	}
	conn, ns := open(t)
	if _, err := ns.RunInput(strings.NewReader(older), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	held, err := conn.Read(table.ID())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the older text", table, held, "two")
}

// Nothing of ours breaks a version of nft that a node may have: it lists our tables, and
// lists and changes those of others next to them.
func TestEveryNftLists(t *testing.T) {
	for _, program := range testbed.Nfts() {
		t.Run(program, func(t *testing.T) {
			conn, ns := open(t)
			for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
				table, elements := sample(f)
				commit(t, conn, fill(table, elements))
			}
			for _, args := range [][]string{
				{"list", "ruleset"}, {"-a", "list", "table", "ip", "sample"}, {"list", "map", "ip6", "sample", "verdicts"}, {"list", "chain", "ip", "sample", "two"},
				{"add", "table", "inet", "theirs"}, {"add", "chain", "inet", "theirs", "c"}, {"add", "rule", "inet", "theirs", "c", "accept"},
			} {
				run(t, ns, program, args...)
			}
			listing := run(t, ns, program, "list", "ruleset")
			for _, want := range []string{"10.0.0.1 . udp . 53 ", "fd00::1 . udp . 53 ", "goto two", "table inet theirs"} {
				if !strings.Contains(listing, want) {
					t.Errorf("it lists no %q:\n%s", want, listing)
				}
			}
		})
	}
}

// same reports where the schemas and rules of a table are not those that were read. In
// the loose chains, rules may do the same by other registers.
func same(t *testing.T, what string, table *nft.Table, held *nft.Held, loose ...string) {
	t.Helper()
	if held == nil {
		t.Fatalf("%s: there is no table", what)
	}
	for _, s := range table.Sets {
		if h := held.Sets[s.Name]; h == nil || !s.Matches(table.Family, h) {
			t.Errorf("%s: set %s differs: %+v, want user data %x", what, s.Name, h, s.UserData(table.Family))
		}
	}
	for _, c := range table.Chains {
		h := held.Chains[c.Name]
		if h == nil || !c.SameBase(h) || len(c.Rules) != len(h.Rules) || !slices.Contains(loose, c.Name) && !c.SameRules(table.Family, h) {
			t.Errorf("%s: chain %s differs", what, c.Name)
		}
	}
}

// A script's head names the versions of nft that load it.
func TestScriptsLoadWhereTheySay(t *testing.T) {
	for _, program := range testbed.Nfts() {
		version := strings.Fields(run(t, testbed.NewTestNamespace(t), program, "--version"))[1]
		for _, tc := range []struct {
			what     string
			contents nft.Contents
			needs    string
		}{
			{"IPv4 affinity", affine(nft.IPv4), "v0.9.8"},
			{"IPv6 affinity", affine(nft.IPv6), "v1.1.3"},
			{"a random number in a key", rolling(), "v1.0.6"},
		} {
			var script strings.Builder
			if err := nft.WriteScript(&script, tc.contents); err != nil {
				t.Fatal(err)
			}
			if want := "# For nft " + tc.needs[1:] + " or newer"; !strings.HasPrefix(script.String(), want) {
				t.Errorf("%s: the head is %.80q, want %q", tc.what, script.String(), want)
			}
			// What is in between was not tried.
			refuses := slices.Contains([]string{"v0.9.8", "v1.0.6"}, version) && version < tc.needs
			ns := testbed.NewTestNamespace(t)
			if _, err := ns.RunInput(strings.NewReader(script.String()), program, "-f", "-"); (err != nil) != refuses {
				t.Errorf("%s: nft %s loads it: %v, and it is for %s", tc.what, version, err, tc.needs)
			}
		}
	}
}

// affine is a table that remembers endpoints.
func affine(f nft.Family) nft.Contents {
	key, data := []nft.Field{nft.SourceAddr{}, nft.Priority{}}, []nft.Field{nft.DestAddr{}, nft.DestPort{}}
	return nft.Contents{Table: &nft.Table{
		Family: f, Name: "t", Sets: []*nft.Set{{Name: "remembered", Key: key, Data: data, Dynamic: true, Size: 10}},
		Chains: []*nft.Chain{{Name: "learn", Rules: []nft.Rule{{Statements: []nft.Statement{
			nft.Remember{Map: "remembered", Key: key, Data: data, Timeout: time.Hour}}}}}},
	}}
}

// rolling is a table with a random number in a key.
func rolling() nft.Contents {
	key := []nft.Field{nft.DestAddr{}, nft.Random{Mod: 7}}
	return nft.Contents{Table: &nft.Table{Family: nft.IPv4, Name: "t", Sets: []*nft.Set{{Name: "endpoints", Key: key, Data: []nft.Field{nft.DestAddr{}}}}}}
}
