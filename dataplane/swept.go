package dataplane

import (
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// TellSwept has f called with UDP frontends that an earlier process programmed, once
// packets do not find them any more: no Service that we know had them, so no change of
// one reports that they are gone.
func (w *Writer) TellSwept(f func([]netip.AddrPort)) { w.tellSwept = f }

// swept tells which frontends a sweep has deleted.
func (w *Writer) swept(tx nft.Transaction) {
	var gone []netip.AddrPort
	for i := range tx {
		if op := &tx[i]; op.Verb == nft.Delete && op.IsElement() && layout.Serves(op.Set.Name) {
			gone = appendUDP(gone, op.Table.Family, op.Element.Key)
		}
	}
	w.tell(gone)
}

// served are the UDP frontends in the tables that are to be replaced.
func (w *Writer) served(held []*nft.Held) (all []netip.AddrPort) {
	for _, h := range held {
		if h == nil {
			continue
		}
		for name, set := range h.Sets {
			for i := range set.Elements {
				if layout.Serves(name) {
					all = appendUDP(all, h.Family, set.Elements[i].Key)
				}
			}
		}
	}
	return all
}

// replaced tells which frontends were in replaced tables and are not in ours.
func (w *Writer) replaced() {
	if len(w.before) == 0 {
		return
	}
	now := map[netip.AddrPort]bool{}
	for _, svc := range w.applied {
		for i := range svc.Ports {
			for _, f := range svc.Ports[i].Frontends {
				if svc.Ports[i].Protocol == proxy.UDP {
					now[netip.AddrPortFrom(f.Addr, svc.Ports[i].Port)] = true
				}
			}
		}
	}
	gone := slices.DeleteFunc(w.before, func(at netip.AddrPort) bool { return now[at] })
	w.before = nil
	w.tell(gone)
}

func (w *Writer) tell(gone []netip.AddrPort) {
	if len(gone) > 0 && w.tellSwept != nil && !w.passedBy {
		w.tellSwept(gone)
	}
}

// appendUDP appends the frontend that is a key, if its protocol is UDP.
func appendUDP(to []netip.AddrPort, f nft.Family, key string) []netip.AddrPort {
	n := f.AddrLen()
	if len(key) != n+8 || key[n] != byte(proxy.UDP) {
		return to
	}
	addr, _ := netip.AddrFromSlice([]byte(key[:n]))
	return append(to, netip.AddrPortFrom(addr, uint16(key[n+4])<<8|uint16(key[n+5])))
}
