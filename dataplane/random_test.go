package dataplane_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Whatever changes come in whatever company, whenever they are swept, and whenever
// a process starts again, the kernel takes each transaction, and in the end it
// holds what a fresh start writes.
func TestRandomChanges(t *testing.T) { eachLayout(t, testRandomChanges) }

func testRandomChanges(t *testing.T, layout layoutOf) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 5))
		ns := testbed.NewTestNamespace(t)
		w := adopt(t, ns, layout)
		now := map[string]proxy.Service{}
		for round := range 60 {
			var changes []proxy.Service
			for _, i := range r.Perm(5)[:1+r.IntN(3)] {
				name := fmt.Sprintf("svc-%d", i)
				svc := gone(name)
				if delete(now, name); r.IntN(4) > 0 {
					svc = randomService(r, name, i)
					now[name] = svc
				}
				changes = append(changes, svc)
			}
			w.program(changes...)
			for r.IntN(2) == 0 && w.Stale() {
				w.Mark()
				if err := w.SweepStep(); err != nil {
					t.Fatalf("seed %d, round %d: %v", seed, round, err)
				}
			}
			if r.IntN(10) == 0 {
				w = adopt(t, ns, layout)
				w.program(slices.Collect(maps.Values(now))...)
			}
		}
		w.sweep()
		equalsFresh(t, ns, layout, slices.Collect(maps.Values(now)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// randomService has all ways in, each policy and affinity by chance.
func randomService(r *rand.Rand, name string, i int) proxy.Service {
	endpoints := ""
	for _, at := range r.Perm(4)[:r.IntN(5)] {
		endpoints += fmt.Sprintf(",%s10.254.0.%d:8080,[fd00:10:254::%d]:8080", []string{"", "*"}[r.IntN(2)], at+1, at+1)
	}
	svc := service(name, []string{"tcp/80", "udp/80"}[r.IntN(2)], fmt.Sprintf("10.96.0.%d,fd00:10:96::%d", i+1, i+1), endpoints)
	affinity := time.Duration(r.IntN(3)) * time.Hour
	id := uint32(i+1) << 20 // see proxy.IDBits
	for _, p := range svc.Ports {
		local := slices.DeleteFunc(slices.Clone(p.Endpoints), func(e proxy.Endpoint) bool { return !e.Local })
		if r.IntN(2) == 0 {
			node := nodeAddrs[0]
			if p.Frontends[0].Addr.Is6() {
				node = nodeAddrs[1]
			}
			p.Frontends = []proxy.Frontend{{Addr: node, Kind: proxy.NodePort}}
			p.Port = uint16(30000 + i)
			p.LocalOnly, p.LocalEndpoints = r.IntN(2) == 0, nil
			if p.LocalOnly {
				p.LocalEndpoints = local
			}
			if r.IntN(2) == 0 && len(p.Endpoints) > 0 {
				p.SourceRanges = []netip.Prefix{netip.PrefixFrom(p.Endpoints[0].Addr(), 8+r.IntN(16)).Masked()}
			}
			svc.Ports = append(svc.Ports, p)
		}
	}
	if internal := r.IntN(4) == 0; internal {
		for i := range svc.Ports[:2] {
			p := &svc.Ports[i]
			local := slices.DeleteFunc(slices.Clone(p.Endpoints), func(e proxy.Endpoint) bool { return !e.Local })
			p.Elsewhere = len(p.Endpoints) > 0 && len(local) == 0
			p.InternalLocal, p.Endpoints = true, local
		}
	}
	for i := range svc.Ports {
		svc.Ports[i].Affinity, svc.Ports[i].ID = affinity, id
	}
	return svc
}
