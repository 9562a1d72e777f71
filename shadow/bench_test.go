package shadow

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// BenchmarkLook is what a look at kube-proxy's rules costs, for Services with ten
// endpoints each: the first, and one after somebody has committed something.
//
//	go test -run '^$' -bench Look/nftables/10000 -benchtime 5x ./shadow
func BenchmarkLook(b *testing.B) {
	for _, mode := range []kubeproxy.Mode{kubeproxy.Nftables, kubeproxy.IptablesNft, kubeproxy.IptablesLegacy} {
		for _, n := range []int{1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", mode, n), func(b *testing.B) { benchmarkLook(b, mode, n) })
		}
	}
}

func benchmarkLook(b *testing.B, mode kubeproxy.Mode, n int) {
	ns := testbed.NewTestNamespace(b)
	var services []proxy.Service
	for i := range n {
		var endpoints []string
		for e := range 10 {
			endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d:8080", 128+e, i/250, 1+i%250))
		}
		services = append(services, service(fmt.Sprintf("service-%05d", i), fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250), endpoints...))
	}
	program, args, script := "nft", []string{"-f", "-"}, nftables(services)
	if mode != kubeproxy.Nftables {
		program, args = string(mode)+"-restore", nil
		script = iptables.Render(services, iptables.Config{Mark: iptables.DefaultMark, AllNodePortAddresses: true, PodCIDR: netip.MustParsePrefix("10.254.0.0/16")}).String()
	}
	if _, err := ns.RunInput(strings.NewReader(script), program, args...); err != nil {
		b.Fatal(err)
	}
	err := ns.Do(func() error {
		reader, err := kubeproxy.Open()
		if err != nil {
			return err
		}
		defer func() { _ = reader.Close() }()
		c := New(reader, Options{Addresses: func() []netip.Addr { return nil }, Others: func(proxy.Name) bool { return false }})
		for _, svc := range services {
			c.Programmed([]dataplane.Applied{{Name: svc.Name, Now: svc}})
		}
		cpu := spent()
		r, _ := c.Look()
		first := spent() - cpu
		if r.Err != nil || len(c.history.last) > 0 || r.Frontends != n {
			b.Fatalf("%+v, %d differ, such as %v", r.Err, len(c.history.last), c.history.last["ns/service-00000"])
		}
		cpu = spent()
		looks := 0
		for b.Loop() {
			// Somebody has committed something; this thread is in the namespace.
			if err := exec.Command("nft", []string{"add", "delete"}[looks%2], "table", "ip", "other").Run(); err != nil {
				b.Fatal(err)
			}
			c.Look()
			looks++
		}
		b.ReportMetric(float64((spent()-cpu).Milliseconds())/float64(looks), "cpu-ms/look")
		b.ReportMetric(float64(first.Milliseconds()), "cpu-ms/first")
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// spent is the processor time of this process so far.
func spent() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// nftables is what kube-proxy has for Services in its mode nftables.
func nftables(services []proxy.Service) string {
	var ips, elements, chains strings.Builder
	for _, svc := range services {
		port := svc.Ports[0]
		vip, chain := port.Frontends[0].Addr, "service-AAAAAAAA-"+svc.Name.String()+"/tcp/http"
		fmt.Fprintf(&ips, "%s,", vip)
		fmt.Fprintf(&elements, "%s . tcp . %d : goto %s,\n", vip, port.Port, chain)
		fmt.Fprintf(&chains, "\tchain %s {\n\t\tmeta l4proto tcp dnat ip to numgen random mod %d map {", chain, len(port.Endpoints))
		for i, e := range port.Endpoints {
			fmt.Fprintf(&chains, " %d : %s . %d,", i, e.Addr(), e.Port())
		}
		chains.WriteString(" }\n\t}\n")
	}
	head, services0, _ := strings.Cut(theirs, "elements = { 10.96.0.1 };")
	services1, rest, _ := strings.Cut(services0, "10.96.0.1 . tcp . 80 : goto service-AAAAAAAA-ns/web/tcp/http")
	rest, _, _ = strings.Cut(rest, "\tchain service-AAAAAAAA")
	text := head + "elements = { " + ips.String() + " };" + services1 + elements.String() + rest
	return strings.ReplaceAll(text, ";", "\n") + chains.String() + "}\n"
}
