package dataplane_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// faulty is the real kernel, which refuses what refuse has an error for. It is for
// errors that the real one can't be made to give.
type faulty struct {
	*kernel.Conn
	refuse func(op *nft.Op) error
	// vague names no element, as kernels before b53c11664250.
	vague   bool
	commits atomic.Int32
	// unknown is how many transactions are done without an answer.
	unknown atomic.Int32
}

func (f *faulty) Commit(tx nft.Transaction) error {
	if len(tx) == 0 {
		return nil
	}
	f.commits.Add(1)
	for i := range tx {
		if f.refuse == nil {
			break
		}
		if err := f.refuse(&tx[i]); err != nil {
			if f.vague && tx[i].IsElement() {
				return message(tx, i, err)
			}
			return &kernel.OpError{Op: tx[i], Err: err}
		}
	}
	err := f.Conn.Commit(tx)
	if err == nil && f.unknown.Add(-1) >= 0 {
		return errors.Join(kernel.ErrUnknown, unix.ENOBUFS)
	}
	return err
}

// message is the refusal of the message that operation i is in: its set's operations go
// together.
func message(tx nft.Transaction, i int, err error) error {
	same := func(j int) bool { return tx[j].IsElement() && tx[j].Set == tx[i].Set && tx[j].Verb == tx[i].Verb }
	first, end := i, i+1
	for first > 0 && same(first-1) {
		first--
	}
	for end < len(tx) && same(end) {
		end++
	}
	if end-first == 1 {
		return &kernel.OpError{Op: tx[i], Err: err}
	}
	return &kernel.OpError{Op: tx[first], Among: end - first, Err: err}
}

func newFaulty(t *testing.T, ns *testbed.Namespace) *faulty {
	t.Helper()
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &faulty{Conn: conn}
}

// of says that an operation is on an element of the map services with one of
// these last bytes of its ClusterIP.
func of(op *nft.Op, last ...byte) bool {
	for _, b := range last {
		if op.IsElement() && op.Set.Name == "services" && op.Element.Key[3] == b {
			return true
		}
	}
	return false
}

// Services that are refused are found by what was refused of them: it costs two
// transactions for each, however many others there are.
func TestRefusedServicesAreFoundAtOnce(t *testing.T) {
	k := newFaulty(t, testbed.NewTestNamespace(t))
	w := dataplane.NewWriter(k, maps.NewLayout(config))
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	k.refuse = func(op *nft.Op) error {
		if of(op, 7, 70, 200) {
			return unix.EINVAL
		}
		return nil
	}
	failures, err := w.Program(changesOf(cluster(250, 3)))
	if err != nil || len(failures) != 3 {
		t.Fatalf("failures %v, %v, want those of three Services", failures, err)
	}
	if n := k.commits.Load(); n > 10 {
		t.Errorf("%d transactions, want a few", n)
	}
	for _, name := range []string{"svc-6", "svc-71", "svc-249"} {
		if _, ok := w.Applied(proxy.Name{Namespace: "ns", Name: name}); !ok {
			t.Errorf("%s is not programmed", name)
		}
	}
}

// A kernel that does not name the element is asked for half as much, again and again:
// nobody is blamed for another Service's element, and it takes a few transactions.
func TestRefusedServicesAreFoundByHalves(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EOPNOTSUPP} {
		k := newFaulty(t, testbed.NewTestNamespace(t))
		w := dataplane.NewWriter(k, maps.NewLayout(config))
		if err := w.Adopt(); err != nil {
			t.Fatal(err)
		}
		k.vague = true
		k.refuse = func(op *nft.Op) error {
			if of(op, 70) {
				return errno
			}
			return nil
		}
		before := k.commits.Load()
		failures, err := w.Program(changesOf(cluster(250, 3)))
		if err != nil || len(failures) != 1 || failures[0].Name.Name != "svc-70" || !errors.Is(failures[0].Err, errno) {
			t.Fatalf("%v: failures %v, %v, want that of svc-70", errno, failures, err)
		}
		if n := k.commits.Load() - before; n > 24 {
			t.Errorf("%v: %d transactions, want two for each halving of 250", errno, n)
		}
	}
}

// Whose memory it is is nobody's fault: the kernel is asked for less, but not for
// one Service after the other.
func TestNoMemory(t *testing.T) {
	k := newFaulty(t, testbed.NewTestNamespace(t))
	w := dataplane.NewWriter(k, maps.NewLayout(config))
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	services := changesOf(cluster(250, 3))
	k.refuse = func(*nft.Op) error { return unix.ENOMEM }
	failures, err := w.Program(services)
	if !errors.Is(err, unix.ENOMEM) || len(failures) > 32 || k.commits.Load() > 40 {
		t.Errorf("%d Services failed, in %d transactions, error %v; want an error after a few", len(failures), k.commits.Load(), err)
	}
	// One Service that asks for too much stands alone.
	k.refuse = func(op *nft.Op) error {
		if of(op, 7) {
			return unix.ENOMEM
		}
		return nil
	}
	if err := w.Adopt(); err != nil {
		t.Fatal(err)
	}
	failures, err = w.Program(services)
	if err != nil || len(failures) != 1 || failures[0].Name.Name != "svc-7" {
		t.Errorf("failures %v, error %v, want that of svc-7", failures, err)
	}
}

// heard is an Observer that notes what is refused and repaired.
type heard struct {
	nobody
	mu      sync.Mutex
	refused map[proxy.Name]error
	repairs int
	rounds  chan struct{}
}

func (h *heard) Refused(name proxy.Name, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused[name] = err
}

func (h *heard) Repaired(dataplane.Repair) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repairs++
}

func (h *heard) Programmed([]dataplane.Applied, time.Duration) {
	select {
	case h.rounds <- struct{}{}:
	default:
	}
}

// runs starts a Programmer with such a kernel.
func runs(t *testing.T, k *faulty, services ...proxy.Service) (*dataplane.Programmer, *heard) {
	t.Helper()
	h := &heard{refused: map[proxy.Name]error{}, rounds: make(chan struct{}, 1)}
	p := dataplane.NewProgrammer(dataplane.NewWriter(k, maps.NewLayout(config)), logr.Discard(), h)
	for _, svc := range services {
		p.Update(svc)
	}
	ready := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(t.Context(), func() { close(ready) }) })
	t.Cleanup(running.Wait)
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the Services are not programmed")
	}
	return p, h
}

// A Service for which the kernel says each time that something is not there does
// not hold up the others, at the start or later.
func TestAServiceThatIsAlwaysAmissStandsAlone(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	k := newFaulty(t, ns)
	k.refuse = func(op *nft.Op) error {
		if of(op, 7, 60) {
			return unix.ENOENT
		}
		return nil
	}
	p, h := runs(t, k, cluster(50, 3)...)
	p.Update(many("svc-60", "10.96.0.60", 3))
	p.Update(many("svc-61", "10.96.0.61", 3))
	err := testbed.Wait(time.Minute, "the last Service", func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, name := range []string{"svc-7", "svc-60"} {
			if h.refused[proxy.Name{Namespace: "ns", Name: name}] == nil {
				return errors.New(name + " is not refused")
			}
		}
		if len(h.refused) != 2 {
			t.Fatalf("refused are %v", h.refused)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	other, err := kernel.Open(ns.Fd()) // the Programmer goes on using its own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	elements, err := other.Elements(maps.NewLayout(config).Tables()[0].ID(), "services")
	if err != nil || len(elements) != 50 {
		t.Errorf("the kernel has %d Services, want 50: %v", len(elements), err)
	}
}

// A transaction without an answer may have happened: the tables are read back, and
// nobody is blamed.
func TestNoAnswer(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	k := newFaulty(t, ns)
	k.unknown.Store(1)
	services := cluster(50, 3)
	p, h := runs(t, k, services...)
	services[7] = many("svc-7", "10.96.0.7", 5)
	<-h.rounds
	k.unknown.Store(1)
	p.Update(services[7])
	fresh := testbed.NewTestNamespace(t)
	adopt(t, fresh, flat).program(services...)
	want := listing(t, fresh, "fresh")
	err := testbed.Wait(time.Minute, "the change", func() error {
		if differs(listing(t, ns, "kernel"), want) != "" {
			return errDiffers
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.refused) > 0 || h.repairs > 0 {
		t.Errorf("refused: %v, %d repairs", h.refused, h.repairs)
	}
}
