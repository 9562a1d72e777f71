package dataplane

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Writer brings Services into the kernel's tables and knows what it has
// brought there. It is not safe for concurrent use.
type Writer struct {
	layout Layout
	conn   Kernel
	ledger *ledger.Ledger
	// base has to come before anything else; rebuild wants all in the same
	// transaction.
	base    nft.Transaction
	rebuild bool
	// engage has to come when nothing that is stale would be met by a packet.
	engage nft.Transaction
	// networks are the cluster's; held are those that the kernel has, if any.
	networks layout.Networks
	held     *layout.Networks
	// forget are the tables that may remember endpoints for clients that are
	// none any more. forgetter looks for those clients beside, if there is one.
	forget    map[*nft.Table]*leaving
	forgetter *forgetter
	// applied is what the kernel holds of each Service.
	applied map[proxy.Name]proxy.Service
	// blame says that what is amiss is a Service's fault: the tables were read back
	// and are as they were written. short counts refusals for want of memory.
	blame bool
	short int
	// tellSwept is TellSwept's; before are the UDP frontends of tables that are replaced.
	tellSwept func([]netip.AddrPort)
	// passedBy reports whether packets passed by the tables that were adopted.
	passedBy bool
	before   []netip.AddrPort
	// written is there while Restore is at work.
	written *written
	// old and new are kept from one plan to the next, and so are the Services that
	// are laid out.
	old, new nft.Objects
	from, to proxy.Service
}

// Change is what a Service is to be from now on.
type Change struct {
	Name    proxy.Name
	Service proxy.Service
	Gone    bool
}

// Failure is a Service that the kernel refused. What it had before is still
// there.
type Failure struct {
	Name proxy.Name
	Err  error
}

func (f Failure) Error() string { return fmt.Sprintf("service %s: %v", f.Name, f.Err) }

func (f Failure) Unwrap() error { return f.Err }

// NewWriter makes a Writer that writes through conn. It knows nothing of the
// kernel until Adopt.
func NewWriter(conn Kernel, l Layout) *Writer {
	return &Writer{layout: l, conn: conn, networks: l.Known()}
}

// SetNetworks says what the cluster's networks are. The next Program writes them.
func (w *Writer) SetNetworks(n layout.Networks) { w.networks = n }

// Adopt reads what the kernel holds and takes it over. Nothing is written but
// what Bypass does, until Program says what is wanted; all Services have to come
// in that call, or one Sweep too early deletes what is not there yet.
func (w *Writer) Adopt() error {
	w.written = nil
	return w.takeOver()
}

// takeOver makes the account of what the kernel holds.
func (w *Writer) takeOver() error {
	held, err := w.read(w.conn.Survey)
	if err != nil {
		return err
	}
	keep := w.adopt(held)
	if w.rebuild && w.ledger.HasUnread() {
		// What is replaced is known to nobody else.
		if held, err = w.read(w.conn.Read); err != nil {
			return err
		}
		keep = w.adopt(held)
	}
	for _, kept := range keep {
		if err := w.keep(kept); err != nil {
			return err
		}
	}
	return nil
}

// send commits a transaction.
func (w *Writer) send(tx nft.Transaction) error {
	err := w.conn.Commit(tx)
	if err == nil && w.written != nil {
		w.written.tally.add(tx)
	}
	return err
}

// keep has clients keep their endpoints when a table of another layout is
// replaced.
func (w *Writer) keep(kept ledger.Kept) error {
	elements, err := w.conn.Elements(kept.Table.ID(), kept.Set.Name)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(elements))
	for _, e := range elements {
		if !seen[e.Key] {
			seen[e.Key] = true
			w.base = append(w.base, nft.Op{Verb: nft.Add, Table: kept.Table, Set: kept.Set, Element: e})
		}
	}
	return nil
}

// Bypass leads packets past the tables that the layout says are bypassed.
func (w *Writer) Bypass() error {
	if !slices.ContainsFunc(w.layout.Tables(), (*nft.Table).Bypassed) {
		return nil
	}
	_, err := w.read(w.conn.Survey)
	return err
}

// read reads the tables, once packets pass by those that are to be bypassed.
func (w *Writer) read(table func(nft.ID) (*nft.Held, error)) ([]*nft.Held, error) {
	var held []*nft.Held
	for _, t := range w.layout.Tables() {
		h, err := table(t.ID())
		if err != nil {
			return nil, err
		}
		held = append(held, h)
	}
	for i, step := range ledger.Bypass(w.layout.Tables(), held) {
		if len(step) == 0 {
			continue
		}
		if i > 0 {
			w.conn.Quiesce()
		}
		if err := w.send(step); err != nil {
			return nil, err
		}
	}
	return held, nil
}

func (w *Writer) adopt(held []*nft.Held) []ledger.Kept {
	a := ledger.Adopt(w.layout.Chain, w.layout.Tables(), held)
	w.ledger, w.base, w.engage, w.rebuild, w.held = a.Ledger, a.Transaction, a.Engage, a.Rebuild, nil
	w.applied = map[proxy.Name]proxy.Service{}
	// No packet was led by tables that it passed by: another proxy had the flows.
	w.passedBy = slices.ContainsFunc(held, func(h *nft.Held) bool { return h != nil && h.Bypassed() })
	if w.before = nil; a.Rebuild {
		w.before = w.served(held)
	}
	w.forget = map[*nft.Table]*leaving{}
	for i, t := range w.layout.Tables() {
		if memory := w.layout.Memory(t).Remembered; memory != nil && held[i] != nil && held[i].Sets[memory.Name] != nil {
			w.leaves(t).adopted = true
		}
	}
	return a.Keep
}

// Stale says whether the kernel holds something that no Service wants, or packets
// still pass by the tables.
func (w *Writer) Stale() bool { return w.ledger.Stale() || w.Urgent() }

// Urgent says that what is stale is missed by packets for as long as it is not swept.
func (w *Writer) Urgent() bool { return len(w.forget) > 0 || w.Bypassed() }

// Bypassed says that packets pass by the tables until what is stale is swept.
func (w *Writer) Bypassed() bool { return len(w.engage) > 0 }

// Applied is what the kernel holds of a Service.
func (w *Writer) Applied(name proxy.Name) (proxy.Service, bool) {
	svc, ok := w.applied[name]
	return svc, ok
}

// Program brings the changes about. Services that the kernel refuses are
// reported and left as they were; the others are programmed all the same. An
// error means that the kernel can't be written to at all, or that it is not as
// the Writer knows it; Adopt, and say all Services again.
func (w *Writer) Program(changes []Change) ([]Failure, error) {
	if err := w.find(changes); err != nil {
		return nil, err
	}
	pending := w.pending(w.inSlots(changes))
	if len(pending) == 0 {
		// The networks or the tables may be missing all the same.
		err := w.commit(nil)
		if err == nil {
			w.replaced()
		}
		return nil, err
	}
	if err := w.prepare(pending); err != nil {
		return nil, err
	}
	if len(w.applied) == 0 {
		w.applied = make(map[proxy.Name]proxy.Service, len(pending))
	}
	w.short = 0
	defer func() {
		w.old.Trim()
		w.new.Trim()
		w.ledger.Trim()
	}()
	var failures []Failure
	for _, chunk := range w.chunks(pending) {
		failed, err := w.program(chunk)
		failures = append(failures, failed...)
		if err != nil {
			return failures, err
		}
	}
	w.replaced()
	return failures, nil
}

// inSlots has endpoints stay in their slots. A Service that is new to this process has them
// as an earlier one left them.
func (w *Writer) inSlots(changes []Change) []Change {
	if len(w.applied) == 0 && !w.ledger.Stale() {
		return changes
	}
	placed := slices.Clone(changes)
	for i := range placed {
		c := &placed[i]
		if old, had := w.applied[c.Name]; had {
			c.Service = w.layout.InSlots(c.Service, &old, nil)
		} else {
			c.Service = w.layout.InSlots(c.Service, nil, w.ledger.StaleAt)
		}
	}
	return placed
}

// heldID is the number that an earlier process gave to a Service port with session affinity.
func (w *Writer) heldID(name proxy.Name, port *proxy.Port) uint32 {
	return w.layout.ID(name, port, func(t *nft.Table, set *nft.Set, key string) (nft.Element, bool) {
		if !w.ledger.IsUnread(set) {
			return w.ledger.StaleAt(t, set, key)
		}
		found, err := w.conn.Find(t.ID(), set.Name, []string{key})
		if err != nil || len(found) == 0 {
			return nft.Element{}, false
		}
		return found[0], true
	})
}

// pending are those of the changes that change something: all, as a rule.
func (w *Writer) pending(changes []Change) []Change {
	unchanged := func(c Change) bool { return !w.isChange(&c) }
	if !slices.ContainsFunc(changes, unchanged) {
		return changes
	}
	return slices.DeleteFunc(slices.Clone(changes), unchanged)
}

func (w *Writer) isChange(c *Change) bool {
	old, had := w.applied[c.Name]
	if c.Gone || len(c.Service.Ports) == 0 {
		return had
	}
	return !had || !old.Equal(c.Service)
}

// chunks splits a load into transactions. Services that had something stay
// together, because one may take over from another; they go first.
func (w *Writer) chunks(changes []Change) [][]Change {
	if w.rebuild {
		return [][]Change{changes}
	}
	batch := w.layout.Batch()
	if elements(changes) <= batch {
		return [][]Change{changes}
	}
	var known []Change
	fresh := make([]Change, 0, len(changes))
	for _, c := range changes {
		if _, had := w.applied[c.Name]; had {
			known = append(known, c)
		} else {
			fresh = append(fresh, c)
		}
	}
	var chunks [][]Change
	if len(known) > 0 {
		chunks = append(chunks, known)
	}
	start, size := 0, 0
	for i := range fresh {
		size += elements(fresh[i : i+1])
		if size >= batch || i == len(fresh)-1 {
			chunks = append(chunks, fresh[start:i+1])
			start, size = i+1, 0
		}
	}
	return chunks
}

// elements is about how many elements the Services have.
func elements(changes []Change) int {
	n := 0
	for i := range changes {
		for j := range changes[i].Service.Ports {
			port := &changes[i].Service.Ports[j]
			n += len(port.Frontends) * (2 + len(port.Endpoints))
		}
	}
	return n
}

// prepareFrom is the number of elements in a first load from which chains are
// made ahead. A small cluster has only those that it needs.
const prepareFrom = 4096

// prepare makes the chains of a large load while its tables are empty.
func (w *Writer) prepare(changes []Change) error {
	if w.rebuild || elements(changes) < prepareFrom {
		return nil
	}
	services := func(yield func(*proxy.Service) bool) {
		for i := range changes {
			if !yield(&changes[i].Service) {
				return
			}
		}
	}
	if err := w.commit(nil); err != nil {
		return err
	}
	for t, names := range w.layout.Chains(services) {
		if !w.ledger.Empty(t) {
			continue
		}
		if err := w.do(w.ledger.Ensure(t, names)); err != nil {
			return err
		}
	}
	return nil
}

// do commits a plan, after what has to come before anything else.
func (w *Writer) do(plan *ledger.Plan) error {
	tx := plan.Transaction
	switch chains := plan.Chains; {
	case len(w.base) > 0:
		tx = append(w.base[:len(w.base):len(w.base)], tx...)
	case chains > 0 && chains < len(tx):
		if err := w.send(tx[:chains]); err != nil {
			return err
		}
		w.ledger.Made(plan)
		tx = tx[chains:]
	}
	if err := w.send(tx); err != nil {
		return err
	}
	w.ledger.Done(plan)
	w.base, w.rebuild = nil, false
	for i := range tx {
		if op := &tx[i]; op.Verb == nft.Delete && op.IsElement() && op.Set == w.layout.Memory(op.Table).Endpoints {
			w.leaves(op.Table).fresh.add(op.Element.Key)
		}
	}
	return nil
}

func (w *Writer) commit(changes []Change) error {
	if err := w.do(w.plan(changes)); err != nil {
		return err
	}
	if !w.networksHeld() {
		networks := w.networks
		w.held = &networks
	}
	for i := range changes {
		c := &changes[i]
		if c.Gone || len(c.Service.Ports) == 0 {
			delete(w.applied, c.Name)
		} else {
			w.applied[c.Name] = c.Service
		}
	}
	return nil
}

// Sweep deletes what is stale, waiting before each step until no packet can
// still be on its way to it.
func (w *Writer) Sweep() error {
	for w.Stale() {
		w.Mark()
		w.conn.Quiesce()
		if err := w.SweepStep(); err != nil {
			return err
		}
	}
	return nil
}

// Mark is called before a wait: what becomes stale during it has to wait for the next.
func (w *Writer) Mark() {
	w.ledger.Mark()
	for _, l := range w.forget {
		l.ripen()
	}
}

// SweepStep is one step of Sweep, for a caller that has waited itself, after Mark.
func (w *Writer) SweepStep() error {
	if err := w.forgetStep(); err != nil {
		return err
	}
	if w.ledger.Stale() && (!w.Bypassed() || w.ledger.Exposed()) {
		plan := w.ledger.Sweep()
		if err := w.do(plan); err != nil {
			return err
		}
		w.swept(plan.Transaction)
	}
	if w.Bypassed() && !w.ledger.Exposed() {
		if err := w.conn.Commit(w.engage); err != nil {
			return err
		}
		w.engage = nil
	}
	return nil
}
