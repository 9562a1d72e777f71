package maps

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Networks appends the elements that the cluster's networks stand for.
func (l *Layout) Networks(to []nft.Placed, n layout.Networks) []nft.Placed {
	for i := range l.families {
		fam := &l.families[i]
		to = fam.Networks(to, fam.table, n)
	}
	return to
}

// Elements appends what one Service adds to the maps.
func (l *Layout) Elements(to []nft.Placed, svc *proxy.Service) []nft.Placed {
	return l.Changed(to, svc, nil)
}

// Changed appends what Elements does, without the slots in which other, the same Service
// before or after, has the same endpoint.
func (l *Layout) Changed(to []nft.Placed, svc, other *proxy.Service) []nft.Placed {
	w := writer{to: to}
	before := other.ByFrontend()
	for i := range svc.Ports {
		port := &svc.Ports[i]
		for j := range port.Frontends {
			l.frontend(&w, svc.Name, port, before(port, port.Frontends[j].Addr), &port.Frontends[j])
		}
	}
	return w.to
}

func (l *Layout) frontend(w *writer, name proxy.Name, port, other *proxy.Port, frontend *proxy.Frontend) {
	fam := l.family(nft.FamilyOf(frontend.Addr))
	if other == nil {
		other = &proxy.Port{}
	}
	n := len(port.Endpoints)
	w.grow(fam, unlike(port.Endpoints, other.Endpoints))
	if frontend.Kind == proxy.ClusterIP {
		w.put(fam, fam.ClusterIPs, nft.Element{Key: w.key().addr(frontend.Addr).done()})
	}
	key := w.key().addr(frontend.Addr).proto(port.Protocol).port(port.Port).done()
	comment := layout.Comment(name, port)
	if len(port.SourceRanges) > 0 {
		w.guard(fam, key, comment, port)
	}
	if n == 0 && !port.Elsewhere {
		set := fam.NoEndpoints
		if frontend.Kind == proxy.NodePort {
			set = fam.NoNodePort
		}
		w.put(fam, set, nft.Element{Key: key, Comment: comment})
		return
	}
	number, chain := dispatched(port)
	dispatch := w.key().slot(number).done()
	w.put(fam, fam.services, nft.Element{Key: key, Data: dispatch, Comment: comment})
	w.put(fam, fam.dispatch, nft.Element{Key: dispatch, Goto: chain})
	w.slots(fam, fam.endpoints, key, port.Protocol, port.Endpoints, other.Endpoints)
	if port.LocalOnly {
		w.put(fam, fam.localServices, nft.Element{Key: key, Goto: locally(port), Comment: comment})
		w.slots(fam, fam.localEndpoints, key, port.Protocol, port.LocalEndpoints, other.LocalEndpoints)
	}
	if port.Affinity > 0 && n > 0 {
		w.sticky(fam, key, comment, port)
	}
}

// Kinds of chains, as the upper bits of their numbers. nft prints a number as two of
// 16 bits: 0:6 is cluster-6, 1000:6 external-6. A number with any of proxy.IDBits is
// that of a Service port with session affinity.
const (
	kindCluster = iota << 28
	kindExternal
	kindExternalLocal
	kindStickyExternal
	kindStickyExternalLocal
	kindNoLocal
)

// dispatched is the chain that a frontend's traffic goes to first, and its number.
func dispatched(port *proxy.Port) (number uint32, chain string) {
	n, sticky := len(port.Endpoints), port.Affinity > 0
	switch {
	case n == 0:
		return kindNoLocal, chainNoLocal
	case sticky && port.LocalOnly:
		return kindStickyExternalLocal, chainStickyExternalLocal
	case sticky && port.External():
		return kindStickyExternal, chainStickyExternal
	case sticky:
		return stickyID(port), chainName(stickyPrefix, n)
	case port.LocalOnly:
		return kindExternalLocal | uint32(n), chainName(externalLocalPrefix, n)
	case port.External():
		return kindExternal | uint32(n), chainName(externalPrefix, n)
	}
	return kindCluster | uint32(n), chainName(clusterPrefix, n)
}

// locally is the chain for a frontend's traffic that stays on this node.
func locally(port *proxy.Port) string {
	switch n := len(port.LocalEndpoints); {
	case n == 0:
		return chainNoLocal
	case port.Affinity > 0:
		return chainName(stickyLocalPrefix, n)
	default:
		return chainName(localPrefix, n)
	}
}

// stickyID is the number under which clients are remembered. Those with endpoints on
// this node only have another: what a client got from outside may be elsewhere.
func stickyID(port *proxy.Port) uint32 {
	if port.InternalLocal {
		return port.ID | 1
	}
	return port.ID
}

// unlike is the number of slots that have another endpoint in other, or none.
func unlike(endpoints, other []proxy.Endpoint) int {
	n := 0
	for slot := range endpoints {
		if !same(endpoints, other, slot) {
			n++
		}
	}
	return n
}

func same(a, b []proxy.Endpoint, slot int) bool { return slot < len(b) && a[slot] == b[slot] }

// slots numbers endpoints.
func (w *writer) slots(fam *family, set *nft.Set, key string, protocol proxy.Protocol, endpoints, other []proxy.Endpoint) {
	for slot, ep := range endpoints {
		if same(endpoints, other, slot) {
			continue
		}
		w.put(fam, set, nft.Element{
			Key:  w.key().text(key).slot(uint32(slot)).done(),
			Data: w.key().addr(ep.Addr()).port(ep.Port()).done(),
		})
		if ep.ReachesItself() {
			w.put(fam, fam.hairpin, nft.Element{
				Key: w.key().addr(ep.Addr()).addr(ep.Addr()).proto(protocol).port(ep.Port()).done(),
			})
		}
	}
}

// guard lets only those in that come from the source ranges.
func (w *writer) guard(fam *family, key, comment string, port *proxy.Port) {
	w.put(fam, fam.guarded, nft.Element{Key: key, Comment: comment})
	for _, r := range layout.OfFamily(fam.table.Family, port.SourceRanges) {
		first, last := nft.Bounds(r)
		w.put(fam, fam.sourceRanges, nft.Element{Key: w.key().text(key).text(first).done(), KeyEnd: w.key().text(key).text(last).done()})
	}
}

// sticky has clients keep their endpoint. A ClusterIP leads to the number at once;
// others have chains on the way, which look it up.
func (w *writer) sticky(fam *family, key, comment string, port *proxy.Port) {
	id := w.keep(fam, stickyID(port), port, port.Endpoints)
	if port.External() {
		w.put(fam, fam.stickyIDs, nft.Element{Key: key, Data: id})
		w.put(fam, fam.stickyServices, nft.Element{Key: key, Goto: chainName(stickyPrefix, len(port.Endpoints)), Comment: comment})
	}
	if port.LocalOnly {
		w.put(fam, fam.stickyLocalIDs, nft.Element{Key: key, Data: w.keep(fam, port.ID|1, port, port.LocalEndpoints)})
	}
}

// keep has clients remembered under id, as far as they have one of these endpoints.
func (w *writer) keep(fam *family, id uint32, port *proxy.Port, endpoints []proxy.Endpoint) (number string) {
	number = w.key().slot(id).done()
	w.put(fam, fam.stickyTimeouts, nft.Element{Key: number, Goto: chainName(rememberPrefix, int(port.Affinity/time.Second))})
	w.put(fam, fam.stickyShares, nft.Element{Key: number, Data: w.perDay(port.Affinity)})
	for _, ep := range endpoints {
		w.put(fam, fam.stickyEndpoints, nft.Element{Key: w.key().slot(id).addr(ep.Addr()).port(ep.Port()).done()})
	}
	return number
}

// perDay is how many new clients of a Service port are remembered in a day once its share
// is used up: one share in the time for which each is remembered.
func (w *writer) perDay(timeout time.Duration) string {
	w.key()
	w.arena.Write(binary.BigEndian.AppendUint64(nil, uint64(share*(24*time.Hour)/timeout)))
	return w.done()
}

// writer collects elements. Their keys and data lie one after another in few
// large strings.
type writer struct {
	to    []nft.Placed
	arena strings.Builder
	start int
}

// grow makes room for a frontend's elements at once.
func (w *writer) grow(fam *family, endpoints int) {
	w.to = slices.Grow(w.to, 3+endpoints)
	w.arena = strings.Builder{}
	w.arena.Grow(fam.frontendBytes + endpoints*fam.endpointBytes)
}

func (w *writer) put(fam *family, set *nft.Set, e nft.Element) {
	w.to = append(w.to, nft.Placed{Table: fam.table, Set: set, Element: e})
}

// key begins a key; done ends it.
func (w *writer) key() *writer {
	w.start = w.arena.Len()
	return w
}

// done is the key. It stays as it is: the arena is only ever appended to.
func (w *writer) done() string { return w.arena.String()[w.start:] }

func (w *writer) addr(a netip.Addr) *writer {
	if a.Is4() {
		b := a.As4()
		w.arena.Write(b[:])
	} else {
		b := a.As16()
		w.arena.Write(b[:])
	}
	return w
}

func (w *writer) proto(p proxy.Protocol) *writer {
	w.arena.Write([]byte{byte(p), 0, 0, 0})
	return w
}

func (w *writer) port(p uint16) *writer {
	w.arena.Write([]byte{byte(p >> 8), byte(p), 0, 0})
	return w
}

// slot is a number in the byte order that numgen has it in a register.
func (w *writer) slot(n uint32) *writer {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], n)
	w.arena.Write(b[:])
	return w
}

func (w *writer) text(s string) *writer {
	w.arena.WriteString(s)
	return w
}
