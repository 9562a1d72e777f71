package dataplane_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// watched is a kernel of which something is asked after each transaction.
type watched struct {
	*kernel.Conn
	after func(nft.Transaction)
}

func (k *watched) Commit(tx nft.Transaction) error {
	err := k.Conn.Commit(tx)
	if len(tx) > 0 {
		k.after(tx)
	}
	return err
}

// adoptBypassed is adopt with tables that packets pass by, or don't.
func (w *world) adoptBypassed(layout layoutOf, bypassed bool, after func(nft.Transaction)) *writer {
	w.t.Helper()
	conn, err := kernel.Open(w.node.Fd())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	tables := layout(config)
	if bypassed {
		for _, t := range tables.Tables() {
			t.Bypass()
		}
	}
	writer := &writer{dataplane.NewWriter(&watched{conn, after}, tables), conn, w.t}
	if err := writer.Adopt(); err != nil {
		w.t.Fatal(err)
	}
	return writer
}

// served says whether a Service answers a client in each family.
func (w *world) served(vips ...string) bool {
	w.t.Helper()
	answers := 0
	for _, vip := range vips {
		_, err := w.asker.Ask("tcp", netip.AddrPortFrom(addr(vip), 80), patience)
		switch {
		case err == nil:
			answers++
		case errors.Is(err, testbed.ErrTimeout) || errors.Is(err, testbed.ErrRefused):
			w.t.Errorf("%s is neither served nor left alone: %v", vip, err)
		}
	}
	if answers != 0 && answers != len(vips) {
		w.t.Errorf("of %v, %d are served", vips, answers)
	}
	return answers > 0
}

// Tables that are bypassed are programmed, and packets pass by. When they no
// longer are, packets meet what is wanted then, and at no moment what was before;
// and when they are again, connections go on.
func TestBypassEndsLastAndBeginsFirst(t *testing.T) { eachLayout(t, testBypass) }

func testBypass(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	kept := service("kept", "tcp/80", vip4+","+vip6, backends)
	other := service("other", "tcp/80", "10.96.0.2,fd00:10:96::2", backends)
	keptServed := func() bool { return w.served(vip4, vip6) }
	otherServed := func() bool { return w.served("10.96.0.2", "fd00:10:96::2") }

	shadow := w.adoptBypassed(layout, true, func(nft.Transaction) {})
	shadow.program(kept, other)
	shadow.sweep()
	if keptServed() || otherServed() {
		t.Fatal("tables that are bypassed translate")
	}
	w.wantContents(t, shadow, "other", true)
	before := shadow.generation()
	shadow = w.adoptBypassed(layout, true, func(nft.Transaction) {})
	shadow.program(kept, other)
	shadow.sweep()
	if after := shadow.generation(); after != before {
		t.Errorf("a restart moved the generation from %d to %d", before, after)
	}

	// One Service is to be served from now on.
	served := 0
	live := w.adoptBypassed(layout, false, func(tx nft.Transaction) {
		if otherServed() {
			t.Errorf("a Service is served that is not ours any more, after:\n%s", tx)
		}
		if keptServed() {
			served++
		}
	})
	live.program(kept)
	if !live.Bypassed() || !live.Stale() || served > 0 {
		t.Errorf("before the sweep, Bypassed is %t, and after %d transactions it was served", live.Bypassed(), served)
	}
	live.sweep()
	if served == 0 || live.Bypassed() || !keptServed() {
		t.Error("the Service that is ours is not served")
	}
	w.wantContents(t, live, "kept", false)

	// And none again.
	flow, err := w.outside.Open("tcp", frontends[0], patience)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	first, err := flow.Ask(patience)
	if err != nil {
		t.Fatal(err)
	}
	var steps []nft.Transaction
	shadow = w.adoptBypassed(layout, true, func(tx nft.Transaction) { steps = append(steps, tx) })
	if keptServed() || len(steps) != 2 {
		t.Errorf("after %d steps the Service is still served", len(steps))
	}
	for i, step := range steps {
		last := strings.Contains(strings.ToLower(step.String()), "postrouting")
		if last != (i == 1) {
			t.Errorf("step %d is\n%s", i, step)
		}
	}
	shadow.program(kept, other)
	shadow.sweep()
	w.wantContents(t, shadow, "other", true)
	if again, err := flow.Ask(patience); err != nil || again.Server != first.Server {
		t.Errorf("a connection to %s is at %s, %v", first.Server, again.Server, err)
	}
}

// wantContents wants a Service in the tables, as nft lists them, and them bypassed
// or not.
func (n *world) wantContents(t *testing.T, w *writer, name string, bypassed bool) {
	t.Helper()
	for _, family := range []string{"ip", "ip6"} {
		held, err := w.conn.Read(w.table(family))
		if err != nil {
			t.Fatal(err)
		}
		if held.Bypassed() != bypassed {
			t.Errorf("table %s is bypassed: %t", held.ID, held.Bypassed())
		}
		listing, err := n.node.Run("nft", "list", "table", family, "kube-verdict")
		if err != nil || !strings.Contains(listing, `"ns/`+name) {
			t.Errorf("%v: table %s does not have %s:\n%s", err, held.ID, name, listing)
		}
	}
}

// A Service that can't be understood does not hold up the end of a bypass.
func TestBypassEndsThoughAServiceIsPartial(t *testing.T) {
	w := newWorld(t, flat)
	kept, partial := service("kept", "tcp/80", vip4+","+vip6, backends), service("partial", "tcp/80", "10.96.0.2", backends)
	shadow := w.adoptBypassed(flat, true, func(nft.Transaction) {})
	shadow.program(kept, partial)

	live := w.adoptBypassed(flat, false, func(nft.Transaction) {})
	p := dataplane.NewProgrammer(live.Writer, logr.Discard(), nobody{})
	p.Update(kept)
	p.Update(proxy.NothingRead(partial.Name))
	ready := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx, func() { close(ready) }) }()
	<-ready
	if !w.served(vip4, vip6) {
		t.Error("what is ready is not served")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
