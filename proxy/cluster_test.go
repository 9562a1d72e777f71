package proxy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

func named(name string) proxy.Name { return proxy.Name{Namespace: "ns", Name: name} }

// claiming is the model of a Service made in this year, with this spec.
func claiming(t *testing.T, name string, year int, spec string, endpoints ...string) proxy.Service {
	t.Helper()
	svc := decode[corev1.Service](t, fmt.Sprintf("metadata: {name: %s, namespace: ns, creationTimestamp: '%d-01-01T00:00:00Z'}\nspec: {%s}", name, year, spec))
	var list []*discoveryv1.EndpointSlice
	for _, e := range endpoints {
		list = append(list, endpointSlices(t, "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ["+e+"]}]")...)
	}
	model, _ := proxy.Build(svc, list, here)
	return model
}

// granted is all that a Cluster grants and all that it doesn't, as lines.
func granted(c *proxy.Cluster) string {
	var b strings.Builder
	for svc := range c.All() {
		for line := range strings.Lines(lines(svc)) {
			fmt.Fprintf(&b, "%s: %s", svc.Name.Name, line)
		}
		for _, conflict := range c.Conflicts(svc.Name) {
			fmt.Fprintf(&b, "%s: not %s/%s, %s's\n", svc.Name.Name, netip.AddrPortFrom(conflict.Frontend.Addr, conflict.Port), conflict.Protocol, conflict.Owner.Name)
		}
	}
	return b.String()
}

func wantNames(t *testing.T, what string, got []proxy.Name, want ...string) {
	t.Helper()
	var texts []string
	for _, n := range got {
		texts = append(texts, n.Name)
	}
	if !slices.Equal(texts, want) {
		t.Errorf("%s: affected are %v, want %v", what, texts, want)
	}
}

func wantGranted(t *testing.T, what string, c *proxy.Cluster, want string) {
	t.Helper()
	if got := granted(c); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("%s:\n%swant%s", what, got, want)
	}
}

const port80, port81 = "{name: http, port: 80}", "{name: more, port: 81}"

func TestOldestServiceWins(t *testing.T) {
	spec := func(ports ...string) string {
		return "clusterIP: 10.96.0.1, ports: [" + strings.Join(ports, ", ") + "]"
	}
	c := proxy.NewCluster()
	wantNames(t, "the first", c.Set(claiming(t, "young", 2022, spec(port80))), "young")
	wantNames(t, "an older one takes it", c.Set(claiming(t, "old", 2020, spec(port80, port81))), "old", "young")
	wantNames(t, "one in between gets nothing", c.Set(claiming(t, "middle", 2021, spec(port80))), "middle")
	wantGranted(t, "three", c, `
middle: not 10.96.0.1:80/tcp, old's
old: cluster 10.96.0.1:80/tcp -> none
old: cluster 10.96.0.1:81/tcp -> none
young: not 10.96.0.1:80/tcp, old's
`)
	wantNames(t, "endpoints are no one else's business", c.Set(claiming(t, "old", 2020, spec(port80, port81), "10.0.0.1")), "old")
	wantNames(t, "nothing changed", c.Set(claiming(t, "old", 2020, spec(port80, port81), "10.0.0.1")))
	wantNames(t, "the owner drops the port", c.Set(claiming(t, "old", 2020, spec(port81))), "middle", "old")
	wantNames(t, "and takes it back", c.Set(claiming(t, "old", 2020, spec(port80, port81))), "middle", "old")
	wantNames(t, "the owner goes", c.Delete(named("old")), "middle", "old")
	wantNames(t, "one that gets nothing goes", c.Delete(named("young")), "young")
	wantNames(t, "one that is gone goes", c.Delete(named("young")))
	wantGranted(t, "one", c, "\nmiddle: cluster 10.96.0.1:80/tcp -> none\n")
	c.Delete(named("middle"))
	if c.Len() != 0 || len(c.Conflicts(named("middle"))) > 0 {
		t.Errorf("%d Services are left", c.Len())
	}
	if _, ok := c.Granted(named("middle")); ok {
		t.Error("a Service that is gone is granted something")
	}
}

// A Service that was deleted and made again under its name is young.
func TestServiceMadeAgainIsYoung(t *testing.T) {
	const spec = "clusterIP: 10.96.0.1, ports: [" + port80 + "]"
	c := proxy.NewCluster()
	c.Set(claiming(t, "a", 2020, spec))
	c.Set(claiming(t, "b", 2021, spec))
	wantNames(t, "it is younger", c.Set(claiming(t, "a", 2022, spec)), "a", "b")
	wantGranted(t, "the other", c, `
a: not 10.96.0.1:80/tcp, b's
b: cluster 10.96.0.1:80/tcp -> none
`)
	wantNames(t, "it is older", c.Set(claiming(t, "a", 2019, spec)), "a", "b")
}

func TestServicesOfOneAgeGoByName(t *testing.T) {
	const spec = "clusterIP: 10.96.0.1, ports: [" + port80 + "]"
	for _, order := range [][]string{{"a", "b", "c"}, {"c", "b", "a"}, {"b", "c", "a"}} {
		c := proxy.NewCluster()
		for _, name := range order {
			c.Set(claiming(t, name, 2020, spec))
		}
		for _, name := range []string{"a", "b", "c"} {
			if svc, _ := c.Granted(named(name)); len(svc.Ports) != 1 {
				t.Errorf("made in the order %v, %s is not next", order, name)
			}
			c.Delete(named(name))
		}
	}
	// The namespace counts first.
	c := proxy.NewCluster()
	x, y := claiming(t, "a", 2020, spec), claiming(t, "z", 2020, spec)
	x.Name.Namespace, y.Name.Namespace = "ns-2", "ns-1"
	c.Set(x)
	c.Set(y)
	if svc, _ := c.Granted(y.Name); len(svc.Ports) != 1 {
		t.Error("ns-1/z does not come before ns-2/a")
	}
}

// A frontend is an address, a protocol and a port: only that is contended, and
// the rest of a Service stays its own.
func TestOnlyTheSameFrontendIsContended(t *testing.T) {
	c := proxy.NewCluster()
	c.Set(claiming(t, "a", 2020, "type: NodePort, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], ports: [{name: http, port: 80, nodePort: 30080}]"))
	c.Set(claiming(t, "b", 2021, "clusterIP: 10.96.0.2, externalIPs: [192.0.2.2, 192.0.2.1, 10.96.0.1], ports: [{name: http, port: 80}, {name: u, port: 80, protocol: UDP}, "+port81+"]"))
	c.Set(claiming(t, "c", 2022, "type: NodePort, clusterIP: 10.96.0.3, ports: [{name: http, port: 80, nodePort: 30080}]"))
	wantGranted(t, "all", c, `
a: cluster 10.96.0.1:80/tcp -> none
a: external 192.0.2.1:80/tcp -> none
a: node 10.240.0.11:30080/tcp -> none
b: cluster 10.96.0.2:80/tcp -> none
b: external 192.0.2.2:80/tcp -> none
b: cluster 10.96.0.2:80/udp -> none
b: external 192.0.2.2:80/udp -> none
b: external 192.0.2.1:80/udp -> none
b: external 10.96.0.1:80/udp -> none
b: cluster 10.96.0.2:81/tcp -> none
b: external 192.0.2.2:81/tcp -> none
b: external 192.0.2.1:81/tcp -> none
b: external 10.96.0.1:81/tcp -> none
b: not 192.0.2.1:80/tcp, a's
b: not 10.96.0.1:80/tcp, a's
c: cluster 10.96.0.3:80/tcp -> none
c: not 10.240.0.11:30080/tcp, a's
`)
	wantNames(t, "two get theirs", c.Delete(named("a")), "a", "b", "c")
	if svc, _ := c.Granted(named("c")); !strings.Contains(lines(svc), "10.240.0.11:30080") {
		t.Errorf("c is granted\n%s", lines(svc))
	}
}

// A Service that can't be understood keeps what it had: a mistake must not take
// traffic away.
func TestPartialServiceKeepsWhatItHad(t *testing.T) {
	c := proxy.NewCluster()
	c.Set(claiming(t, "a", 2020, "clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], ports: ["+port80+", "+port81+"]", "10.0.0.1"))
	c.Set(claiming(t, "b", 2021, "clusterIP: 10.96.0.1, ports: ["+port81+"]"))
	// Port 81 is a mistake now, as is the external IP.
	wantNames(t, "a mistake", c.Set(claiming(t, "a", 2020, "clusterIP: 10.96.0.1, externalIPs: [192.0.2], ports: ["+port80+", {name: more, port: 99999}]", "10.0.0.2")), "a")
	const kept = `
a: cluster 10.96.0.1:80/tcp -> 10.0.0.2:8080
a: external 192.0.2.1:80/tcp -> 10.0.0.1:8080
a: cluster 10.96.0.1:81/tcp -> none
a: external 192.0.2.1:81/tcp -> none
b: not 10.96.0.1:81/tcp, a's
`
	wantGranted(t, "kept", c, kept)
	// The same mistake again: what was kept is kept on.
	wantNames(t, "again", c.Set(claiming(t, "a", 2020, "clusterIP: 10.96.0.1, externalIPs: [192.0.2], ports: ["+port80+", {name: more, port: 99999}]", "10.0.0.2")))
	wantGranted(t, "still kept", c, kept)
	// Nothing at all could be read, as when its slices are among what can't be.
	wantNames(t, "nothing", c.Set(proxy.NothingRead(named("a"))), "a")
	wantGranted(t, "kept with nothing", c, kept)
	// Nor does it grow older by it.
	wantNames(t, "nothing of the other", c.Set(proxy.NothingRead(named("b"))), "b")
	wantGranted(t, "both kept", c, kept)
	c.Set(claiming(t, "b", 2021, "clusterIP: 10.96.0.1, ports: ["+port81+"]"))
	wantNames(t, "corrected", c.Set(claiming(t, "a", 2020, "clusterIP: 10.96.0.1, ports: ["+port80+"]")), "a", "b")
	wantGranted(t, "corrected", c, "\na: cluster 10.96.0.1:80/tcp -> none\nb: cluster 10.96.0.1:81/tcp -> none\n")
	// One that was never understood has nothing to keep.
	c.Set(claiming(t, "c", 2022, "clusterIP: x, ports: ["+port80+"]"))
	if svc, ok := c.Granted(named("c")); !ok || len(svc.Ports) > 0 {
		t.Errorf("c is granted %v, %t", svc, ok)
	}
	c.Delete(named("c"))
}

func TestAllStopsWhenAsked(t *testing.T) {
	c := proxy.NewCluster()
	for _, name := range []string{"b", "a"} {
		c.Set(claiming(t, name, 2020, "clusterIP: 10.96.0.1, ports: ["+port80+"]"))
	}
	for svc := range c.All() {
		if svc.Name.Name != "a" {
			t.Errorf("the first is %s", svc.Name)
		}
		break
	}
}

// Whatever comes in whatever order, what is granted is what the Services at hand
// say, and those that something changed for are told of.
func TestRandomChanges(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		c, now := proxy.NewCluster(), map[proxy.Name]proxy.Service{}
		before := map[proxy.Name]proxy.Service{}
		contended := 0
		for step := range 300 {
			name := named(string(rune('a' + random.IntN(6))))
			var affected []proxy.Name
			was, had := now[name]
			if random.IntN(4) == 0 {
				affected = c.Delete(name)
				delete(now, name)
			} else {
				svc := randomService(random, name)
				affected = c.Set(svc)
				if had && svc.Unread != nil {
					svc = keep(svc, was)
				}
				now[name] = svc
			}
			if !slices.IsSortedFunc(affected, func(a, b proxy.Name) int { return strings.Compare(a.Name, b.Name) }) || len(slices.Compact(slices.Clone(affected))) != len(affected) {
				t.Fatalf("seed %d, step %d: affected are %v", seed, step, affected)
			}
			after := recompute(now)
			if c.Len() != len(now) {
				t.Fatalf("seed %d, step %d: there are %d Services, want %d", seed, step, c.Len(), len(now))
			}
			names := maps.Clone(before)
			maps.Copy(names, after)
			for n := range names {
				got, ok := c.Granted(n)
				want, exists := after[n]
				if ok != exists || !got.Equal(want) {
					t.Fatalf("seed %d, step %d: %s is granted\n%swant\n%s", seed, step, n, lines(got), lines(want))
				}
				old, existed := before[n]
				changed := existed != exists || !old.Equal(want)
				told := slices.Contains(affected, n)
				if changed && !told {
					t.Fatalf("seed %d, step %d: %s went from\n%sto\n%sbut affected are %v", seed, step, n, lines(old), lines(want), affected)
				}
				// The Service itself may have changed in what it isn't granted.
				if told && !changed && n != name {
					t.Fatalf("seed %d, step %d: %s is said to be affected by %s", seed, step, n, name)
				}
				contended += len(c.Conflicts(n))
			}
			before = after
		}
		if contended == 0 {
			t.Fatalf("seed %d: nothing was contended", seed)
		}
	}
}

// randomService claims some of a few frontends.
func randomService(random *rand.Rand, name proxy.Name) proxy.Service {
	svc := proxy.Service{Name: name, Created: time.Unix(int64(random.IntN(3)), 0)}
	if random.IntN(5) == 0 {
		return proxy.NothingRead(name)
	}
	for number := range uint16(2) {
		for _, protocol := range []proxy.Protocol{proxy.TCP, proxy.UDP} {
			p := proxy.Port{Protocol: protocol, Port: number + 1}
			for host := range byte(3) {
				if random.IntN(3) == 0 {
					p.Frontends = append(p.Frontends, proxy.Frontend{Addr: netip.AddrFrom4([4]byte{10, 96, 0, host}), Kind: proxy.ExternalIP})
				}
			}
			if random.IntN(2) == 0 {
				p.Endpoints = []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort("10.0.0.1:1")}}
			}
			if len(p.Frontends) > 0 {
				svc.Ports = append(svc.Ports, p)
			}
		}
	}
	return svc
}

type frontend struct {
	addr     netip.Addr
	protocol proxy.Protocol
	port     uint16
}

// keep is a Service of which nothing could be read, with what it was.
func keep(svc, was proxy.Service) proxy.Service {
	was.Unread = svc.Unread
	return was
}

func without(p proxy.Port, gone func(frontend) bool) proxy.Port {
	var left []proxy.Frontend
	for _, f := range p.Frontends {
		if !gone(frontend{f.Addr, p.Protocol, p.Port}) {
			left = append(left, f)
		}
	}
	p.Frontends = left
	return p
}

// recompute grants each frontend anew, Services in order of age.
func recompute(now map[proxy.Name]proxy.Service) map[proxy.Name]proxy.Service {
	order := slices.SortedFunc(maps.Values(now), func(a, b proxy.Service) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Name.String(), b.Name.String())
	})
	taken := map[frontend]proxy.Name{}
	all := map[proxy.Name]proxy.Service{}
	for _, svc := range order {
		var ports []proxy.Port
		for _, p := range svc.Ports {
			p := without(p, func(f frontend) bool {
				owner, ok := taken[f]
				if !ok {
					taken[f], owner = svc.Name, svc.Name
				}
				return owner != svc.Name
			})
			if len(p.Frontends) > 0 {
				ports = append(ports, p)
			}
		}
		svc.Ports = ports
		all[svc.Name] = svc
	}
	return all
}
