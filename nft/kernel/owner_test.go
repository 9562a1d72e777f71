package kernel_test

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// words are a listing's, without the name of the program that owns the table.
func words(listing string) string {
	var all []string
	for line := range strings.Lines(listing) {
		line, _, _ = strings.Cut(line, "#")
		all = append(all, strings.Fields(line)...)
	}
	return strings.Join(all, " ")
}

// Whoever owns a table that we can't change is named.
func TestTheOwnerIsNamed(t *testing.T) {
	conn, ns := open(t)
	table := &nft.Table{Family: nft.IPv6, Name: "held", Owned: true}
	needOwners(t, conn, table)
	commit(t, conn, nft.Transaction{{Verb: nft.Delete, Table: table}})
	nft6 := exec.Command("nft", "-i")
	commands, err := nft6.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(nft6.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = commands.Close(); _ = nft6.Wait() })
	if _, err := io.WriteString(commands, "add table ip6 held { flags owner; }\n"); err != nil {
		t.Fatal(err)
	}
	err = testbed.Wait(time.Minute, "nft's table", func() error {
		_, err := ns.Run("nft", "list", "table", "ip6", "held")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Commit(nft.Transaction{{Table: table, Chain: &nft.Chain{Name: "c"}}})
	want := fmt.Sprintf(`add chain ip6 held c: operation not permitted: table ip6 held belongs to "nft" (process %d), `, nft6.Process.Pid)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s...", err, want)
	}
}

// needOwners makes a table that has an owner, or skips the test on kernels before 5.12,
// which docs/compatibility.md names for it.
func needOwners(t *testing.T, conn *kernel.Conn, table *nft.Table) {
	t.Helper()
	var tx nft.Transaction
	tx.AddTable(table)
	err := conn.Commit(tx)
	var u unix.Utsname
	if e := unix.Uname(&u); e != nil {
		t.Fatal(e)
	}
	var major, minor int
	if _, e := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); e != nil {
		t.Fatal(e)
	}
	if err != nil && (major < 5 || major == 5 && minor < 12) {
		t.Skipf("Linux %d.%d has no tables that go with their owner: %v", major, minor, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nft lists an owned table as its text, and takes that. It goes with the connection
// that made it.
func TestAnOwnedTable(t *testing.T) {
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		key := []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}
		table := &nft.Table{Family: f, Name: "owned", Comment: "for a while", Owned: true, Chains: []*nft.Chain{
			{Name: "in", Base: &nft.Base{Type: "filter", Hook: nft.Prerouting, Priority: -120}, Rules: []nft.Rule{{Statements: []nft.Statement{
				nft.NewConnection{}, nft.InSet{Key: key, Set: "frontends"}, nft.Limit{Rate: 7}, nft.Trace{}}}}},
		}, Sets: []*nft.Set{{Name: "frontends", Key: key}}}
		other, ns := open(t)
		ours, err := kernel.Open(ns.Fd())
		if err != nil {
			t.Fatal(err)
		}
		needOwners(t, ours, table)
		listing := run(t, ns, "nft", "list", "ruleset")
		err = other.Commit(nft.Transaction{{Verb: nft.Delete, Table: table}})
		want := fmt.Sprintf("delete table %s owned: operation not permitted: table %s owned belongs to ", f, f)
		if !errors.Is(err, unix.EPERM) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("somebody else who deletes it gets %v, want %s...", err, want)
		}
		if err := ours.Close(); err != nil {
			t.Fatal(err)
		}
		if got := run(t, ns, "nft", "list", "ruleset"); got != "" {
			t.Errorf("when its owner is gone there is\n%s", got)
		}
		if text := (nft.Contents{Table: table}).String(); words(text) != words(listing) {
			t.Errorf("nft lists\n%s\nand its text is\n%s", listing, text)
		}
		var tx nft.Transaction
		tx.AddTable(table)
		for _, text := range []string{tx.String(), nft.Contents{Table: table}.String()} {
			if _, err := ns.RunInput(strings.NewReader(text), "nft", "-f", "-"); err != nil {
				t.Errorf("nft does not take\n%s: %v", text, err)
			}
		}
	}
}
