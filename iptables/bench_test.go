package iptables

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// many are Services with ten endpoints each.
func many(n int) []proxy.Service {
	services := make([]proxy.Service, n)
	for i := range services {
		vip := netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)})
		port := proxy.Port{Name: "http", Protocol: proxy.TCP, Port: 80, Frontends: []proxy.Frontend{{Addr: vip}}}
		for e := range 10 {
			n := 10*i + e
			port.Endpoints = append(port.Endpoints, proxy.Endpoint{
				AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)}), 8080)})
		}
		services[i] = proxy.Service{Name: proxy.Name{Namespace: "shop", Name: fmt.Sprintf("service-%d", i)}, Ports: []proxy.Port{port}}
	}
	return services
}

// lineCount is that of a large cluster's dump; Services of ten endpoints have 44
// lines each.
const lineCount = 700_000

// A dump of 700 000 lines: reading it, interpreting it, and what the program of
// iptables that translates takes for the same.
func BenchmarkLargeDump(b *testing.B) {
	text := Render(many(lineCount/44), kubeProxy(false)).String()
	lines := float64(strings.Count(text, "\n"))
	perSecond := func(b *testing.B) {
		b.ReportMetric(lines*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	}
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			d := parseText(b, text)
			b.StopTimer()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapAlloc-uint64(len(text)))/lines, "bytes-kept/line")
			runtime.KeepAlive(d)
			b.StartTimer()
		}
		perSecond(b)
	})
	b.Run("parse and interpret", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if got := Interpret(parseText(b, text)); len(got.View) != lineCount/44 || len(got.Warnings) > 0 {
				b.Fatalf("%d frontends, %v", len(got.View), got.Warnings)
			}
		}
		perSecond(b)
	})
	b.Run("iptables-restore-translate", func(b *testing.B) {
		ns := testbed.NewTestNamespace(b)
		file := filepath.Join(b.TempDir(), "dump")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := ns.Run("iptables-restore-translate", "-f", file); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
}
