package maps

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Fixed appends the elements that are there for every set of Services.
func (l *Layout) Fixed(to []nft.Placed) []nft.Placed {
	for i := range l.families {
		fam := &l.families[i]
		for _, prefix := range l.config.podCIDRs(fam.table.Family) {
			for _, e := range nft.Range(prefix) {
				to = append(to, nft.Placed{Table: fam.table, Set: fam.podCIDRs, Element: e})
			}
		}
	}
	return to
}

// Elements appends what one Service adds to the maps.
func (l *Layout) Elements(to []nft.Placed, svc *proxy.Service) []nft.Placed {
	w := writer{to: to}
	for i := range svc.Ports {
		port := &svc.Ports[i]
		for j := range port.Frontends {
			l.frontend(&w, svc.Name, port, &port.Frontends[j])
		}
	}
	return w.to
}

func (l *Layout) frontend(w *writer, name proxy.Name, port *proxy.Port, frontend *proxy.Frontend) {
	fam := l.family(nft.FamilyOf(frontend.Addr))
	n := len(port.Endpoints)
	w.grow(fam, n)
	w.put(fam, fam.clusterIPs, nft.Element{Key: w.key().addr(frontend.Addr).done()})
	key := w.key().addr(frontend.Addr).proto(port.Protocol).port(port.Port).done()
	comment := comment(name, port)
	if n == 0 {
		w.put(fam, fam.noEndpoints, nft.Element{Key: key, Comment: comment})
		return
	}
	w.put(fam, fam.services, nft.Element{Key: key, Goto: clusterChain(n), Comment: comment})
	for slot, ep := range port.Endpoints {
		w.put(fam, fam.endpoints, nft.Element{
			Key:  w.key().text(key).slot(uint32(slot)).done(),
			Data: w.key().addr(ep.Addr()).port(ep.Port()).done(),
		})
		if ep.Local {
			w.put(fam, fam.hairpin, nft.Element{
				Key: w.key().addr(ep.Addr()).addr(ep.Addr()).proto(port.Protocol).port(ep.Port()).done(),
			})
		}
	}
}

// comment names the Service port. Kubernetes' longest names of a Service and
// its namespace fit just so; a port's name that does not fit is left out.
func comment(name proxy.Name, port *proxy.Port) string {
	if full := port.FullName(name); len(full) <= nft.MaxElementComment {
		return full
	}
	return name.String()
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
	w.to = slices.Grow(w.to, 2+endpoints)
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
