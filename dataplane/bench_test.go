package dataplane_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
)

func benchWriter(b *testing.B, layout layoutOf) (*dataplane.Writer, *testbed.Namespace, func()) {
	b.Helper()
	ns, err := testbed.NewNamespace()
	if err != nil {
		b.Fatal(err)
	}
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		b.Fatal(err)
	}
	w := dataplane.NewWriter(conn, layout(config))
	if err := w.Adopt(); err != nil {
		b.Fatal(err)
	}
	return w, ns, func() {
		_ = conn.Close()
		ns.Close()
	}
}

func changesOf(services []proxy.Service) []dataplane.Change {
	changes := make([]dataplane.Change, len(services))
	for i, svc := range services {
		changes[i] = dataplane.Change{Name: svc.Name, Service: svc}
	}
	return changes
}

func mustProgram(b *testing.B, w *dataplane.Writer, changes ...dataplane.Change) {
	failures, err := w.Program(changes)
	if err != nil || len(failures) > 0 {
		b.Fatal(err, failures)
	}
}

// BenchmarkColdLoad is the time from a model to a full kernel.
func BenchmarkColdLoad(b *testing.B) {
	for _, n := range []int{1000, 10_000, 30_000} {
		b.Run(fmt.Sprintf("%dx10", n), func(b *testing.B) {
			changes := changesOf(cluster(n, 10))
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				w, _, done := benchWriter(b, flat)
				b.StartTimer()
				mustProgram(b, w, changes...)
				b.StopTimer()
				done()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkChange is the time of one change, by what changes and by how much
// else is programmed.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000, 30_000} {
		w, _, done := benchWriter(b, flat)
		mustProgram(b, w, changesOf(cluster(n, 10))...)
		same := changesOf([]proxy.Service{many("svc-7", "10.96.0.7", 10)})[0]
		for what, svc := range map[string]proxy.Service{
			"replace": withEndpoint(many("svc-7", "10.96.0.7", 10), 4),
			"resize":  many("svc-7", "10.96.0.7", 9),
		} {
			other := changesOf([]proxy.Service{svc})[0]
			b.Run(fmt.Sprintf("%s/%dx10", what, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					if i%2 == 0 {
						mustProgram(b, w, other)
					} else {
						mustProgram(b, w, same)
					}
				}
				mustProgram(b, w, same)
			})
		}
		done()
	}
}

// BenchmarkReplace is the time in which one endpoint takes the place of another, anywhere
// in the order of a Service of so many.
func BenchmarkReplace(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, _, done := benchWriter(b, flat)
			defer done()
			all, r := many("large", "10.96.0.1", 2*n), rand.New(rand.NewPCG(1, 2))
			there := make([]bool, 2*n)
			for i := range n {
				there[2*i] = true
			}
			now := func() dataplane.Change {
				svc := all
				svc.Ports = slices.Clone(svc.Ports)
				svc.Ports[0].Endpoints = nil
				for i, ep := range all.Ports[0].Endpoints {
					if there[i] {
						svc.Ports[0].Endpoints = append(svc.Ports[0].Endpoints, ep)
					}
				}
				return changesOf([]proxy.Service{svc})[0]
			}
			turn := func(has bool) {
				i := r.IntN(2 * n)
				for there[i] != has {
					i = (i + 1) % (2 * n)
				}
				there[i] = !has
			}
			mustProgram(b, w, now())
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				turn(true)
				turn(false)
				change := now()
				b.StartTimer()
				mustProgram(b, w, change)
			}
		})
	}
}

// BenchmarkChains is the same with a chain for each Service and endpoint.
func BenchmarkChains(b *testing.B) {
	for _, n := range []int{100, 1000} {
		services := changesOf(cluster(n, 10))
		b.Run(fmt.Sprintf("load/%dx10", n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				w, _, done := benchWriter(b, chained)
				b.StartTimer()
				mustProgram(b, w, services...)
				b.StopTimer()
				done()
				b.StartTimer()
			}
		})
		w, _, done := benchWriter(b, chained)
		mustProgram(b, w, services...)
		same := changesOf([]proxy.Service{many("svc-7", "10.96.0.7", 10)})[0]
		other := changesOf([]proxy.Service{many("svc-7", "10.96.0.7", 9)})[0]
		b.Run(fmt.Sprintf("resize/%dx10", n), func(b *testing.B) {
			for i := range b.N {
				mustProgram(b, w, []dataplane.Change{other, same}[i%2])
			}
			mustProgram(b, w, same)
		})
		done()
	}
}

// BenchmarkRestart is the time to take over an unchanged kernel.
func BenchmarkRestart(b *testing.B) {
	w, ns, done := benchWriter(b, flat)
	defer done()
	changes := changesOf(cluster(10_000, 10))
	mustProgram(b, w, changes...)
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.ReportAllocs()
	for b.Loop() {
		w := dataplane.NewWriter(conn, flat(config))
		if err := w.Adopt(); err != nil {
			b.Fatal(err)
		}
		mustProgram(b, w, changes...)
	}
}

// BenchmarkRestore is the time from damage to repair, by what is amiss.
func BenchmarkRestore(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		for _, what := range []string{"nothing", "element", "table"} {
			b.Run(fmt.Sprintf("%s/%dx10", what, n), func(b *testing.B) {
				w, ns, done := benchWriter(b, flat)
				defer done()
				mustProgram(b, w, changesOf(cluster(n, 10))...)
				other, err := kernel.Open(ns.Fd())
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = other.Close() }()
				table := flat(config).Tables()[0]
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					var damage nft.Transaction
					switch what {
					case "element":
						damage = nft.Transaction{{Verb: nft.Delete, Table: table, Set: table.Set("cluster-ips"), Element: nft.Element{Key: "\x0a\x60\x00\x07"}}}
					case "table":
						damage = nft.Transaction{{Verb: nft.Delete, Table: table}}
					}
					if err := other.Commit(damage); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					if _, failures, err := w.Restore(); err != nil || len(failures) > 0 {
						b.Fatal(err, failures)
					}
				}
			})
		}
	}
}
