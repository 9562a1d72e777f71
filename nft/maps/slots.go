package maps

import (
	"encoding/binary"
	"net/netip"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// InSlots has the endpoints of a Service stay in the slots that they had in old, or, if
// that is nil, in those that the kernel has them in.
func (l *Layout) InSlots(svc proxy.Service, old *proxy.Service, held layout.Lookup) proxy.Service {
	if old != nil {
		return svc.KeepSlots(old)
	}
	return svc.InSlots(func(port *proxy.Port) (all, local []proxy.Endpoint) {
		for _, f := range port.Frontends {
			fam := l.family(nft.FamilyOf(f.Addr))
			key := frontendKey(f.Addr, port)
			all = fam.slots(fam.endpoints, key, len(port.Endpoints), held)
			local = fam.slots(fam.localEndpoints, key, len(port.LocalEndpoints), held)
			if all != nil || local != nil {
				break
			}
		}
		return all, local
	})
}

// slots are the endpoints in the first n slots of a frontend, or nil if the first is empty.
func (fam *family) slots(set *nft.Set, key string, n int, held layout.Lookup) []proxy.Endpoint {
	var endpoints []proxy.Endpoint
	for i := range n {
		e, is := held(fam.table, set, string(binary.NativeEndian.AppendUint32([]byte(key), uint32(i))))
		if !is && i == 0 {
			return nil
		}
		endpoints = append(endpoints, proxy.Endpoint{AddrPort: endpointOf(e.Data)})
	}
	return endpoints
}

// frontendKey is the key of a port's frontend.
func frontendKey(addr netip.Addr, port *proxy.Port) string {
	return (&writer{}).addr(addr).proto(port.Protocol).port(port.Port).done()
}

// endpointOf is the endpoint that an element's data stands for.
func endpointOf(data string) netip.AddrPort {
	if len(data) < 4 {
		return netip.AddrPort{}
	}
	at := len(data) - 4
	addr, _ := netip.AddrFromSlice([]byte(data[:at]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(data[at:])))
}

// ID is the number under which the kernel holds a port of a Service with session affinity,
// or 0.
func (l *Layout) ID(name proxy.Name, port *proxy.Port, held layout.Lookup) uint32 {
	comment := layout.Comment(name, port)
	for _, f := range port.Frontends {
		fam := l.family(nft.FamilyOf(f.Addr))
		key := frontendKey(f.Addr, port)
		for _, set := range []*nft.Set{fam.services, fam.stickyIDs} {
			e, is := held(fam.table, set, key)
			if set == fam.services && e.Comment != comment {
				break // another's address until now
			}
			if !is || len(e.Data) != 4 {
				continue
			}
			if n := binary.NativeEndian.Uint32([]byte(e.Data)); n&proxy.IDBits != 0 {
				return n &^ 1 // see stickyID
			}
		}
	}
	return 0
}
