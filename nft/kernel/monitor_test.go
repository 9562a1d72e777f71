package kernel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// listen gives the changes that a Monitor tells of the sample table.
func listen(t *testing.T, ns *testbed.Namespace, conn *kernel.Conn) <-chan kernel.Change {
	t.Helper()
	monitor, generation, err := kernel.NewMonitor(ns.Fd(), conn, nft.ID{Family: nft.IPv4, Name: "sample"})
	if err != nil {
		t.Fatal(err)
	}
	if now, err := conn.Generation(); err != nil || now != generation {
		t.Fatalf("the Monitor starts at generation %d, the kernel has %d (%v)", generation, now, err)
	}
	changes := make(chan kernel.Change, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- monitor.Run(ctx, func(c kernel.Change) { changes <- c }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = monitor.Close()
	})
	return changes
}

// next is the next change that is told of.
func next(t *testing.T, changes <-chan kernel.Change, what string) kernel.Change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nobody tells", what)
	}
	panic("unreachable")
}

// Whatever others do to the table is told once, with who did it; what we do, and
// what happens to other tables, is not.
func TestMonitorTellsOfOthers(t *testing.T) {
	table, elements := sample(nft.IPv4)
	conn, ns := open(t)
	commit(t, conn, fill(table, elements))
	changes := listen(t, ns, conn)
	const theirs = "table ip theirs { chain two { drop; }; set ips { type ipv4_addr; elements = { 1.2.3.4 } }; }"
	for _, step := range []struct {
		command string
		told    bool
	}{
		{"delete element ip sample ips { 10.0.0.1 }", true},
		{"add element ip sample ips { 10.0.0.77 }", true},
		{theirs, false},
		{"add rule ip sample refuse drop", true},
		{"add chain ip sample stray; add rule ip theirs two counter", true},
		{"add table ip6 sample", false},
		{"add set ip sample stray { type ipv4_addr; }", true},
		{"flush chain ip sample two", true},
		{"add table ip sample2; delete table ip theirs", false},
		{"delete table ip sample", true},
		{"flush ruleset", false},
	} {
		commit(t, conn, nft.Transaction{{Table: &nft.Table{Family: nft.IPv4, Name: "ours"}}, {Verb: nft.Delete, Table: &nft.Table{Family: nft.IPv4, Name: "ours"}}})
		run(t, ns, "nft", step.command)
		if !step.told {
			continue
		}
		if c := next(t, changes, step.command); c.Lost || c.Process != "nft" || c.PID == 0 {
			t.Errorf("%s: told of %+v", step.command, c)
		}
	}
	if len(changes) > 0 {
		t.Errorf("told of %+v besides", <-changes)
	}
	// Our own are not told, however large.
	commit(t, conn, fill(table, elements))
	commit(t, conn, nft.Transaction{{Verb: nft.Delete, Table: table}})
	run(t, ns, "nft", "add table ip sample")
	if c := next(t, changes, "after our own"); c.Lost || c.Process != "nft" {
		t.Errorf("told of %+v", c)
	}
}

// When the kernel has more to tell than it may keep, it is known that something
// was lost, and what comes after is told again.
func TestMonitorKnowsWhenEventsAreLost(t *testing.T) {
	conn, ns := open(t)
	monitor, _, err := kernel.NewMonitor(ns.Fd(), conn, nft.ID{Family: nft.IPv4, Name: "sample"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = monitor.Close() }()
	// Nobody reads yet.
	other, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	theirs, _ := sample(nft.IPv6)
	tx := fill(theirs, nil)
	for i := range uint32(150_000) {
		tx = append(tx, nft.Op{Table: theirs, Set: theirs.Set("data"), Element: nft.Element{
			Key: strings.Repeat("k", 24) + number(i), Data: strings.Repeat("d", 20)}})
	}
	commit(t, other, tx)
	changes := make(chan kernel.Change, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- monitor.Run(ctx, func(c kernel.Change) { changes <- c }) }()
	if c := next(t, changes, "too many events"); !c.Lost {
		t.Errorf("told of %+v, want a loss", c)
	}
	run(t, ns, "nft", "add table ip sample")
	if c := next(t, changes, "a change after the loss"); c.Lost || c.Process != "nft" {
		t.Errorf("told of %+v", c)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(changes) > 0 {
		t.Errorf("told of %+v besides", <-changes)
	}
}

// BenchmarkCommitHeard is what a listener adds to a commit: of one element, and
// of a load.
func BenchmarkCommitHeard(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		for _, heard := range []bool{false, true} {
			b.Run(fmt.Sprintf("elements=%d/heard=%v", n, heard), func(b *testing.B) {
				ns, err := testbed.NewNamespace()
				if err != nil {
					b.Fatal(err)
				}
				defer ns.Close()
				conn, err := kernel.Open(ns.Fd())
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				table, _ := sample(nft.IPv4)
				var add, remove nft.Transaction
				for i := range uint32(n) {
					e := nft.Element{Key: "\x0a\x00\x00\x01\x06\x00\x00\x00\x00\x50\x00\x00" + number(i), Data: "\x0a\x00\x00\x01\x00\x50\x00\x00"}
					add = append(add, nft.Op{Table: table, Set: table.Set("data"), Element: e})
					remove = append(remove, nft.Op{Verb: nft.Delete, Table: table, Set: table.Set("data"), Element: e})
				}
				if err := conn.Commit(fill(table, nil)); err != nil {
					b.Fatal(err)
				}
				if heard {
					monitor, _, err := kernel.NewMonitor(ns.Fd(), conn, table.ID())
					if err != nil {
						b.Fatal(err)
					}
					ctx, cancel := context.WithCancel(b.Context())
					done := make(chan error, 1)
					go func() { done <- monitor.Run(ctx, func(c kernel.Change) { b.Errorf("told of %v", c) }) }()
					defer func() {
						cancel()
						<-done
						_ = monitor.Close()
					}()
				}
				for b.Loop() {
					for _, tx := range []nft.Transaction{add, remove} {
						if err := conn.Commit(tx); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
