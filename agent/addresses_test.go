package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// watched is a node whose addresses are watched, and what it has logged.
type watched struct {
	*node
	missed atomic.Int32
}

func watch(t *testing.T, ns *testbed.Node, receiveBuffer int) *watched {
	t.Helper()
	w := &watched{}
	log := funcr.New(func(_, args string) {
		if strings.Contains(args, "were missed") {
			w.missed.Add(1)
		}
	}, funcr.Options{})
	w.node = newNode(Config{NodeName: "node-a", NodePortAddresses: []string{NodePortAll}}, log)
	w.moved, w.receiveBuffer = func([]netip.Addr) {}, receiveBuffer
	started, ended := make(chan error, 1), make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		ended <- ns.Do(func() error {
			started <- w.start(ctx, nil)
			w.watch(ctx, func() {})
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return w
}

// serves waits until NodePorts are served at an address, or no more.
func (w *watched) serves(t *testing.T, addr string, want bool) {
	t.Helper()
	err := testbed.Wait(20*time.Second, "address "+addr, func() error {
		if got := join(w.model().NodePorts); strings.Contains(got, addr) != want {
			return fmt.Errorf("NodePorts are served at %s", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The kernel throws changes away when it has no room for them. What they were is found
// out, and later ones are noticed.
func TestAddressesAfterABurst(t *testing.T) {
	ns := testbed.NewTestNode(t, netip.MustParseAddr("192.0.2.5"))
	w := watch(t, ns, 1) // which the kernel makes the least that there can be
	run := func(input string) {
		t.Helper()
		if _, err := ns.RunInput(strings.NewReader(input), "ip", "-batch", "-"); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		var burst strings.Builder
		burst.WriteString("link add burst type veth peer name burst2\n")
		for i := range 250 {
			fmt.Fprintf(&burst, "addr add 198.51.100.%d/32 dev burst\n", i)
		}
		run(burst.String())
		w.serves(t, "198.51.100.249", true)
		run("link del burst\n") // all at once
		w.serves(t, "198.51.100.", false)
		addr := fmt.Sprintf("203.0.113.%d", round+1)
		run("addr add " + addr + "/32 dev lo\n")
		w.serves(t, addr, true)
	}
	if w.missed.Load() == 0 {
		t.Error("no change was lost: this tests nothing")
	}
}

// When the machine's addresses can't be listed, the node keeps those that it had.
func TestAddressesThatCanNotBeListed(t *testing.T) {
	ns := testbed.NewTestNode(t, netip.MustParseAddr("192.0.2.5"))
	n := newNode(Config{NodeName: "node-a", NodePortAddresses: []string{NodePortAll}}, logr.Discard())
	var told []string
	n.moved = func(addrs []netip.Addr) { told = append(told, join(addrs)) }
	changed := func() (matters bool) {
		t.Helper()
		if err := ns.Do(func() error { matters = n.changed(nil); return nil }); err != nil {
			t.Fatal(err)
		}
		return matters
	}
	full := func(f func()) {
		t.Helper()
		if err := ns.Do(func() error {
			restore := noDescriptors(t)
			defer restore()
			f()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	full(func() {
		if n.changed(nil) || n.model().Name != "" {
			t.Errorf("without a list the node is %+v", n.model())
		}
	})
	if !changed() || join(n.model().NodePorts) != "192.0.2.5" {
		t.Fatalf("the node is %+v", n.model())
	}
	<-n.again // of the first time
	full(func() {
		if n.changed(nil) || join(n.model().NodePorts) != "192.0.2.5" || join(n.model().Addresses) != "192.0.2.5" {
			t.Errorf("without a list the node becomes %+v", n.model())
		}
		// What the Node object gives is taken over.
		if n.changed(object("InternalIP 10.240.0.11")); join(n.model().Addresses) != "10.240.0.11" || n.model().Zone != "a" {
			t.Errorf("with an object it becomes %+v", n.model())
		}
	})
	select {
	case <-n.again:
	default:
		t.Error("it is not tried again")
	}
	if got := strings.Join(told, " then "); got != "192.0.2.5 then 192.0.2.5" {
		t.Errorf("NodePorts moved to %s", got)
	}
}

// noDescriptors leaves the process without a free file descriptor, as a leak does.
func noDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	less := limit
	less.Cur = uint64(len(open))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &less); err != nil {
		t.Fatal(err)
	}
	// Numbers below the limit may be free.
	var fill []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		fill = append(fill, f)
	}
	return func() {
		for _, f := range fill {
			_ = f.Close()
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
}
