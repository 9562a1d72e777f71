package view

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Origin is what a source may know of a frontend beyond what connections meet.
type Origin struct {
	Kind proxy.FrontendKind
	// InternalLocal is for a ClusterIP with the internal traffic policy Local.
	InternalLocal bool
}

// Model is the Services that a View is of, by name: the other way round than Of.
// The second result are frontends that no Service is known for. What no View has is
// missing: health checks, endpoints that get no traffic, and shares that differ.
func Model(v View, origin func(Key) Origin) ([]proxy.Service, []Key) {
	type way struct {
		name     string
		protocol proxy.Protocol
		port     uint16
		is4      bool
		origin   Origin
	}
	services := map[proxy.Name]*proxy.Service{}
	var unknown []Key
	last := map[proxy.Name]map[way]int{}
	for _, key := range slices.SortedFunc(maps.Keys(v), compareKeys) {
		from := v[key]
		full, portName, _ := strings.Cut(from.Service, ":")
		namespace, name, ok := strings.Cut(full, "/")
		if !ok {
			unknown = append(unknown, key)
			continue
		}
		n := proxy.Name{Namespace: namespace, Name: name}
		svc := services[n]
		if svc == nil {
			svc = &proxy.Service{Name: n}
			services[n], last[n] = svc, map[way]int{}
		}
		o := origin(key)
		if key.IsNodePort() {
			o.Kind = proxy.NodePort
		}
		port := from.model(portName, key, o)
		at := way{portName, key.Protocol, key.Port, key.Addr.Is4(), o}
		// Frontends of one kind that behave alike are one way in.
		if i, there := last[n][at]; there && alike(&svc.Ports[i], &port) {
			svc.Ports[i].Frontends = append(svc.Ports[i].Frontends, port.Frontends...)
			continue
		}
		last[n][at] = len(svc.Ports)
		svc.Ports = append(svc.Ports, port)
	}
	list := make([]proxy.Service, 0, len(services))
	for _, name := range slices.SortedFunc(maps.Keys(services), proxy.CompareNames) {
		svc := services[name]
		slices.SortStableFunc(svc.Ports, func(a, b proxy.Port) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol))
		})
		list = append(list, *svc)
	}
	return list, unknown
}

// alike says that two ways in differ in their frontends alone.
func alike(a, b *proxy.Port) bool {
	other := *b
	other.Frontends = a.Frontends
	return a.Equal(other)
}

func (p *Port) model(name string, key Key, o Origin) proxy.Port {
	local := map[netip.AddrPort]bool{}
	for _, e := range p.Local {
		local[e.AddrPort] = true
	}
	all := func(list []Endpoint) []proxy.Endpoint {
		var out []proxy.Endpoint
		for _, e := range list {
			out = append(out, proxy.Endpoint{AddrPort: e.AddrPort, Local: local[e.AddrPort] || o.InternalLocal})
		}
		return out
	}
	return proxy.Port{
		Name: name, Protocol: key.Protocol, Port: key.Port,
		Frontends: []proxy.Frontend{{Addr: key.Addr, Kind: o.Kind}},
		Endpoints: all(p.Endpoints), Elsewhere: p.Fate == Dropped, InternalLocal: o.InternalLocal,
		LocalOnly: p.LocalOnly, LocalEndpoints: all(p.Local),
		SourceRanges: p.Sources, Affinity: p.Affinity,
	}
}
