package conntrack

import (
	"net/netip"
	"slices"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// portKey is a Service port in one family, whichever way it is reached.
type portKey struct {
	name string
	is4  bool
}

// byFrontend gives the endpoints of each UDP frontend, sorted. Ways into one
// Service port share theirs: traffic policies choose among endpoints for new
// flows, and those that exist may stay with any.
func byFrontend(svc proxy.Service) map[netip.AddrPort][]netip.AddrPort {
	endpoints := map[portKey][]netip.AddrPort{}
	frontends := map[netip.AddrPort]portKey{}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != proxy.UDP || len(p.Frontends) == 0 {
			continue
		}
		key := portKey{p.Name, p.Frontends[0].Addr.Is4()}
		for _, f := range p.Frontends {
			frontends[netip.AddrPortFrom(f.Addr, p.Port)] = key
		}
		for _, some := range [][]proxy.Endpoint{p.Endpoints, p.LocalEndpoints} {
			endpoints[key] = slices.Grow(endpoints[key], len(some))
			for _, e := range some {
				endpoints[key] = append(endpoints[key], e.AddrPort)
			}
		}
		endpoints[key] = append(endpoints[key], p.Lingering...)
	}
	for key, all := range endpoints {
		slices.SortFunc(all, netip.AddrPort.Compare)
		endpoints[key] = slices.Compact(all)
	}
	out := make(map[netip.AddrPort][]netip.AddrPort, len(frontends))
	for at, key := range frontends {
		out[at] = endpoints[key]
	}
	return out
}

// subset says that all of a are in b; both are sorted.
func subset(a, b []netip.AddrPort) bool {
	for _, x := range a {
		i, found := slices.BinarySearchFunc(b, x, netip.AddrPort.Compare)
		if !found {
			return false
		}
		b = b[i+1:]
	}
	return true
}
