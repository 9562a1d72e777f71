package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/explain"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/proxy"
)

const cart = `
apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {addresses: [{type: InternalIP, address: 10.240.0.11}, {type: InternalIP, address: "fd00:10:240::11"}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, "fd00:10:96::10"], loadBalancerSourceRanges: [192.0.2.0/24],
  ports: [{name: http, port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 198.18.9.1}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-4, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.254.0.1], nodeName: node-a}, {addresses: [10.254.0.2], nodeName: node-a}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-6, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["fd00:10:254::1"], nodeName: node-a}]
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: 10.96.0.11, ports: [{name: http, port: 80}]}
`

// shop is a node that serves cart, and who asks it.
type shop struct {
	*testing.T
	node         *testbed.Node
	pod, outside *testbed.Host
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{T: t, node: testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:10:240::11"))}
	t.Setenv(programVariable, "true")
	t.Setenv("NODE_NAME", "node-a")
	must := func(h *testbed.Host, err error) *testbed.Host {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for i := range 2 {
		v4, v6 := netip.AddrFrom4([4]byte{10, 254, 0, byte(i + 1)}), netip.MustParseAddr(fmt.Sprintf("fd00:10:254::%d", i+1))
		pod := must(s.node.AddPod(fmt.Sprintf("cart-%d", i), v4, v6))
		for _, a := range []netip.Addr{v4, v6} {
			server, err := pod.Serve("tcp", netip.AddrPortFrom(a, 8080))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
		}
	}
	s.pod = must(s.node.AddPod("client", netip.MustParseAddr("10.254.0.9"), netip.MustParseAddr("fd00:10:254::9")))
	s.outside = must(s.node.AddClient("outside", netip.MustParseAddr("198.18.7.2")))
	s.apply("added")
	return s
}

// In the layout of chains a packet comes by those of its Service port and endpoint.
func TestTraceInChains(t *testing.T) {
	s := newShop(t)
	s.apply("added", "--layout", "chains")
	p := s.trace("shop/cart", "--count", "2", "--duration", "1m", "-o", "json")
	answers := map[string]testbed.Answer{}
	for _, to := range []string{"10.96.0.10:80", "10.240.0.11:30080"} {
		a := s.ask(s.pod.Namespace, to)
		answers[a.Local.String()] = a
	}
	for _, one := range s.sightings(p) {
		if one.Endpoint != answers[one.From].Server.String() || one.Service != "shop/cart:http" {
			t.Errorf("seen is %+v, but %+v was asked", one, answers[one.From])
		}
		sep := iptables.EndpointChain("shop/cart:http", proxy.TCP, netip.MustParseAddrPort(one.Endpoint))
		if !slices.ContainsFunc(one.Steps, func(step explain.Step) bool {
			return step.Chain == sep && strings.Contains(step.Text, "dnat to "+one.Endpoint)
		}) {
			t.Errorf("it did not come by %s: %+v", sep, one.Steps)
		}
	}
}

// apply programs the manifests, and wants to see this.
func (s *shop) apply(want string, flags ...string) {
	s.Helper()
	var out strings.Builder
	err := s.node.Do(func() error {
		root := newRoot()
		root.SetArgs(append([]string{"apply", "-f", "-", "--pod-cidrs", "10.254.0.0/16,fd00:10:254::/48"}, flags...))
		root.SetIn(strings.NewReader(cart))
		root.SetOut(&out)
		root.SetErr(&out)
		return root.Execute()
	})
	if err != nil || !strings.Contains(out.String(), want) {
		s.Fatalf("%v: %s", err, out.String())
	}
}

// trace starts kube-verdict trace and waits until it looks.
func (s *shop) trace(args ...string) *testbed.Process {
	s.Helper()
	self, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	p, err := s.node.Start(self, append([]string{"trace"}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Kill)
	err = testbed.Wait(time.Minute, "the trace to begin", func() error {
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %s", p.Output())
		default:
			return s.marked()
		}
	})
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// marked says whether there are tables that mark packets.
func (s *shop) marked() error {
	out, err := s.node.Run("nft", "list", "tables")
	if err == nil && !strings.Contains(out, "kube-verdict-trace") {
		err = errors.New("no table marks packets")
	}
	return err
}

// unmarked waits until there are none.
func (s *shop) unmarked() {
	s.Helper()
	err := testbed.Wait(time.Minute, "the trace's tables to go", func() error {
		if s.marked() == nil {
			return errors.New("they are still there")
		}
		return nil
	})
	if err != nil {
		s.Error(err)
	}
	out, err := s.node.Run("nft", "list", "tables")
	if want := "table ip kube-verdict\ntable ip6 kube-verdict\n"; err != nil || out != want {
		s.Errorf("%v: left are %q, want %q", err, out, want)
	}
}

// ask opens a connection and says who answered, and from which port it was asked.
func (s *shop) ask(from *testbed.Namespace, to string) (answer testbed.Answer) {
	s.Helper()
	err := from.Clients(1, func(c *testbed.Client) (err error) {
		answer, err = c.Ask("tcp", netip.MustParseAddrPort(to), 2*time.Second)
		return err
	})
	if err != nil && !errors.Is(err, testbed.ErrRefused) && !errors.Is(err, testbed.ErrTimeout) {
		s.Fatal(err)
	}
	return answer
}

// sightings are what a trace with -o json has printed.
func (s *shop) sightings(p *testbed.Process) (all []explain.Sighting) {
	s.Helper()
	if err := p.Wait(time.Minute); err != nil {
		s.Fatalf("%v: %s", err, p.Output())
	}
	for line := range strings.Lines(p.Output()) {
		if strings.HasPrefix(line, "{") {
			var one explain.Sighting
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				s.Fatalf("%v in %s", err, line)
			}
			all = append(all, one)
		}
	}
	return all
}

// rules are the chains and numbers of the rules that a packet came by.
func rules(s *explain.Sighting) string {
	var all []string
	for _, step := range s.Steps {
		all = append(all, fmt.Sprintf("%s:%d", step.Chain, step.Rule))
	}
	return strings.Join(all, " ")
}

// What the trace says of each connection is what the client sees of it.
func TestTraceTellsWhoGotAConnection(t *testing.T) {
	s := newShop(t)
	const n = 12
	p := s.trace("shop/cart", "--count", fmt.Sprint(n), "--rate", "1000", "--duration", "1m", "-o", "json")
	answers := map[string]testbed.Answer{}
	for i := range n {
		from, to := s.pod.Namespace, "10.96.0.10:80"
		switch i % 4 {
		case 1:
			from, to = s.outside.Namespace, "10.240.0.11:30080"
		case 2:
			to = "[fd00:10:96::10]:80"
		case 3:
			from = s.node.Namespace
		}
		a := s.ask(from, to)
		answers[a.Local.String()] = a
	}
	seen := s.sightings(p)
	if len(seen) != n {
		t.Fatalf("%d packets, want %d: %s", len(seen), n, p.Output())
	}
	for _, one := range seen {
		a, ok := answers[one.From]
		delete(answers, one.From)
		masqueraded := a.Client.Addr() != a.Local.Addr() || strings.HasPrefix(one.From, "10.240.0.11:")
		if !ok || one.Endpoint != a.Server.String() || one.Masqueraded != masqueraded || one.Fate != "forwarded" || one.Service != "shop/cart:http" {
			t.Errorf("seen is %+v, but %s was asked by %s, seen as %s", one, a.Server, a.Local, a.Client)
		}
		want := map[string]string{
			"10.96.0.10:80":        "nat-prerouting:1 services:1 cluster-2:2 nat-postrouting:1",
			"10.240.0.11:30080":    "nat-prerouting:1 services:1 external-2:1 external-2:2 cluster-2:1 cluster-2:2 nat-postrouting:1 masquerading:1",
			"[fd00:10:96::10]:80":  "nat-prerouting:1 services:1 cluster-1:2 nat-postrouting:1",
			"10.96.0.10:80 itself": "nat-output:1 services:1 cluster-2:1 cluster-2:2 nat-postrouting:1 masquerading:1",
		}
		to := one.To
		if one.In == "" {
			to += " itself"
		}
		if got := rules(&one); got != want[to] {
			t.Errorf("a packet to %s came by\n%s\nwant\n%s", to, got, want[to])
		}
	}
	s.unmarked()
	s.apply("nothing to change") // our tables are as they were
}

// Connections that get nowhere are told, too, in words.
func TestTraceTellsWhyNobodyAnswers(t *testing.T) {
	s := newShop(t)
	p := s.trace("--count", "2", "--duration", "1m")
	s.ask(s.pod.Namespace, "10.96.0.11:80")
	if err := testbed.Wait(time.Minute, "the first packet to be told", func() error {
		if !strings.Contains(p.Output(), "=> ") {
			return errors.New(p.Output())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.ask(s.outside.Namespace, "198.18.9.1:80")
	if err := p.Wait(time.Minute); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
	for _, want := range []string{
		" -> 10.96.0.11:80, in by ", ": shop/empty:http\n",
		`      iptables: filter KUBE-SERVICES -d 10.96.0.11/32 -p tcp --dport 80 --comment "shop/empty:http has no endpoints" -j REJECT`,
		"=> rejected: the client is told at once that nobody listens there\n",
		" -> 198.18.9.1:80, in by eth0: shop/cart:http\n",
		"    check-source, rule 1: ip daddr . meta l4proto . th dport . ip saddr != @source-ranges drop\n",
		`      iptables: filter KUBE-PROXY-FIREWALL -d 198.18.9.1/32 -p tcp --dport 80 --comment "shop/cart:http traffic not accepted by KUBE-FW-`,
		"=> dropped: the client gets no answer\n",
		"2 packets seen\n",
	} {
		if !strings.Contains(p.Output(), want) {
			t.Errorf("%q is missing in\n%s", want, p.Output())
		}
	}
}

// Somebody else's firewall is named.
func TestTraceTellsWhoElseDrops(t *testing.T) {
	s := newShop(t)
	for _, command := range []string{
		"add table inet firewall", "add chain inet firewall forward { type filter hook forward priority 0; }",
		"add rule inet firewall forward tcp dport 8080 drop",
	} {
		if _, err := s.node.RunInput(strings.NewReader(command), "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	p := s.trace("shop/cart", "--count", "1", "--duration", "1m")
	s.ask(s.outside.Namespace, "10.240.0.11:30080")
	if err := p.Wait(time.Minute); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
	for _, want := range []string{
		"    external-2, rule 2: goto cluster-2\n",
		"    table inet firewall, forward, rule with handle 2: drop\n",
		"=> dropped by somebody else: the rule with handle 2 of chain forward in table inet firewall\n",
	} {
		if !strings.Contains(p.Output(), want) {
			t.Errorf("%q is missing in\n%s", want, p.Output())
		}
	}
}

// A trace that is killed leaves nothing behind, and one that goes on keeps others
// out.
func TestATraceThatIsKilledLeavesNothing(t *testing.T) {
	s := newShop(t)
	p := s.trace("--duration", "1h")
	var out strings.Builder
	err := s.node.Do(func() error {
		root := newRoot()
		root.SetArgs([]string{"trace", "shop/cart"})
		root.SetOut(&out)
		root.SetErr(&out)
		return root.Execute()
	})
	if err == nil || !strings.Contains(err.Error(), "another trace is running in this network namespace") {
		t.Errorf("a second trace: %v: %s", err, out.String())
	}
	if err := p.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	s.unmarked()
	s.apply("nothing to change")
	if a := s.ask(s.pod.Namespace, "10.96.0.10:80"); !a.Server.IsValid() {
		t.Error("nobody answers")
	}
	// Ended by a signal, and by its time.
	p = s.trace("--duration", "1h")
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(time.Minute); err != nil || !strings.Contains(p.Output(), "0 packets seen") {
		t.Errorf("interrupted: %v: %s", err, p.Output())
	}
	s.unmarked()
	p = s.trace("--duration", "500ms")
	if err := p.Wait(time.Minute); err != nil {
		t.Errorf("its time was over: %v: %s", err, p.Output())
	}
	s.unmarked()
}

// However many packets come, only so many are looked at, and only those of the
// Service that is asked for.
func TestATraceIsBounded(t *testing.T) {
	s := newShop(t)
	p := s.trace("shop/empty", "--duration", "1h", "--rate", "1", "-o", "json")
	before := time.Now()
	for range 100 {
		s.ask(s.pod.Namespace, "10.96.0.11:80")
	}
	s.ask(s.pod.Namespace, "10.96.0.10:80")
	most := 2 + int(time.Since(before)/time.Second)
	if err := testbed.Wait(time.Minute, "a packet to be told", func() error {
		if !strings.Contains(p.Output(), "{") {
			return errors.New("none was")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	seen := s.sightings(p)
	if len(seen) < 1 || len(seen) > most {
		t.Errorf("%d packets, want 1 to %d", len(seen), most)
	}
	for _, one := range seen {
		if one.Service != "shop/empty:http" || one.Fate != "rejected" {
			t.Errorf("seen is %+v", one)
		}
	}
}
