package kernel_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// An Onlooker sees a table that somebody else wrote, and each change of it: also
// when an anonymous set takes the name of one that is gone, and when the table is
// made anew.
func TestOnlookerSeesEveryChange(t *testing.T) {
	conn, ns := open(t)
	onlooker := kernel.NewOnlooker(conn)
	id := nft.ID{Family: nft.IPv4, Name: "other"}
	look := func() *nft.Held {
		t.Helper()
		held, err := onlooker.Look(id)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	load := func(script string) {
		t.Helper()
		if _, err := ns.RunInput(strings.NewReader(script), "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	if held := look(); held != nil {
		t.Fatalf("there is no table, but %v", held)
	}
	anonymous := func(held *nft.Held) (found []nft.Element) {
		for _, set := range held.Sets {
			if set.Flags&unix.NFT_SET_ANONYMOUS != 0 {
				found = append(found, set.Elements...)
			}
		}
		return found
	}
	const table = `table ip other {
	map m { type inet_service : verdict
		elements = { 1 : drop, 2 : goto c, 3 : jump c } }
	set old { type ipv4_addr
		flags dynamic,timeout
		timeout 3h
	}
	chain c {
		ip saddr { 10.0.0.1, 10.0.0.2 } accept
	}
	chain d { }
}
`
	load(table)
	held := look()
	if n := len(anonymous(held)); n != 2 {
		t.Errorf("the anonymous set has %d elements", n)
	}
	verdicts := map[string]string{}
	for _, e := range held.Sets["m"].Elements {
		verdicts[e.Key] = e.Goto + "|" + e.Data
	}
	for key, want := range map[string]string{"\x00\x01": "|\x00\x00\x00\x00", "\x00\x02": "c|", "\x00\x03": "|\xff\xff\xff\xfdc"} {
		if verdicts[key] != want {
			t.Errorf("element %q is %q, want %q", key, verdicts[key], want)
		}
	}
	if got := held.Sets["old"].Timeout.Hours(); got != 3 {
		t.Errorf("the time-out is %v hours", got)
	}
	for _, change := range []struct {
		script string
		want   int
	}{
		{"flush chain ip other c\nadd rule ip other c ip saddr { 10.0.0.3, 10.0.0.4, 10.0.0.5 } accept\n", 3},
		{"add rule ip other d ip saddr { 10.0.0.6, 10.0.0.7 } accept\n", 5},
		{"flush chain ip other c\n", 2},
		{"delete table ip other\n" + strings.ReplaceAll(table, "10.0.0.1,", "10.0.0.1, 10.0.0.8, 10.0.0.9,"), 4},
	} {
		load(change.script)
		if n := len(anonymous(look())); n != change.want {
			t.Errorf("after\n%sthere are %d elements, want %d", change.script, n, change.want)
		}
	}
}
