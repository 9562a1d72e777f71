package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/explain"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Where the maps count connections, explain says how many there were: none is not
// the same as not counted.
func TestExplainShowsConnections(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"))
	client, err := node.AddPod("client", netip.MustParseAddr("10.254.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	endpoint := netip.MustParseAddrPort("10.254.0.1:5353")
	pod, err := node.AddPod("server", endpoint.Addr())
	if err != nil {
		t.Fatal(err)
	}
	server, err := pod.Serve("udp", endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	manifest := filepath.Join(t.TempDir(), "dns.yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, strings.ReplaceAll(dns, "metadata: {", "metadata: {namespace: ns, "), endpoint.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	explained := func(output string) string {
		t.Helper()
		var out bytes.Buffer
		err := node.Do(func() error {
			root := newRoot()
			root.SetArgs([]string{"explain", "ns/dns", "-f", manifest, "-o", output})
			root.SetOut(&out)
			return root.Execute()
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	port := func() explain.Port {
		t.Helper()
		var report explain.Report
		if err := json.Unmarshal([]byte(explained("json")), &report); err != nil {
			t.Fatal(err)
		}
		if report.Kernel.State != explain.Agrees || len(report.Ports) != 1 || len(report.Ports[0].Endpoints) != 1 {
			t.Fatalf("the kernel %s: %v; the ports are %+v", report.Kernel.State, report.Kernel.Differences, report.Ports)
		}
		return report.Ports[0]
	}

	conn, err := kernel.Open(node.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	program := func(counted bool) {
		t.Helper()
		w := dataplane.NewWriter(conn, maps.NewLayout(layout.Config{Counted: counted, MasqueradeBit: layout.DefaultMasqueradeBit}))
		if err := w.Adopt(); err != nil {
			t.Fatal(err)
		}
		svc := proxy.Service{Name: proxy.Name{Namespace: "ns", Name: "dns"}, Ports: []proxy.Port{{
			Protocol: proxy.UDP, Port: 53, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr("10.96.0.10")}},
			Endpoints: []proxy.Endpoint{{AddrPort: endpoint, Hairpin: true}}, // as of no known node
		}}}
		if failures, err := w.Program([]dataplane.Change{{Name: svc.Name, Service: svc}}); err != nil || len(failures) > 0 {
			t.Fatal(failures, err)
		}
	}

	program(false)
	if p := port(); p.Connections != nil || p.Endpoints[0].Connections != nil {
		t.Errorf("without counters there are counts: %+v", p)
	}
	program(true)
	if p := port(); p.Connections == nil || *p.Connections != 0 || p.Endpoints[0].Connections == nil {
		t.Errorf("before any connection the counts are %v", p.Connections)
	}
	const flows = 7
	for range flows {
		if _, err := client.Ask("udp", netip.MustParseAddrPort("10.96.0.10:53"), 3*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if p := port(); *p.Connections != flows || *p.Endpoints[0].Connections != flows {
		t.Errorf("%d connections to the port and %d to its endpoint are counted, want %d", *p.Connections, *p.Endpoints[0].Connections, flows)
	}
	text := explained("wide")
	for _, want := range []string{"has counted 7 connections", "CONNECTIONS"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}
