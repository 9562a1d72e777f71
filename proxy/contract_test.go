package proxy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// here is the node of these tests: node-a in zone a.
var here = proxy.Node{
	Name: "node-a", Zone: "a",
	Addresses: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:240::11")},
	NodePorts: []netip.Addr{netip.MustParseAddr("10.240.0.11"), netip.MustParseAddr("fd00:240::11")},
}

// pods are endpoints by letter: a, b and c run on node-a, node-b and node-c, in
// zones a, b and b.
const pods = `{addresses: [10.254.0.1], nodeName: node-a, zone: a}, {addresses: [10.254.1.1], nodeName: node-b, zone: b}, {addresses: [10.254.2.1], nodeName: node-c, zone: b}`

// lines is a model as text, a line for each frontend:
//
//	KIND ADDRESS/PROTOCOL -> ENDPOINTS [| LOCAL ENDPOINTS] [conditions]
//
// with "*" before endpoints on this node.
func lines(svc proxy.Service) string {
	kinds := map[proxy.FrontendKind]string{proxy.ClusterIP: "cluster", proxy.ExternalIP: "external", proxy.LoadBalancerIP: "balancer", proxy.NodePort: "node"}
	list := func(endpoints []proxy.Endpoint) string {
		var texts []string
		for _, e := range endpoints {
			text := e.String()
			if e.Local {
				text = "*" + text
			}
			texts = append(texts, text)
		}
		if texts == nil {
			return "none"
		}
		return strings.Join(texts, " ")
	}
	var b strings.Builder
	for _, p := range svc.Ports {
		for _, f := range p.Frontends {
			fmt.Fprintf(&b, "%s %s/%s -> %s", kinds[f.Kind], netip.AddrPortFrom(f.Addr, p.Port), p.Protocol, list(p.Endpoints))
			if p.LocalOnly {
				fmt.Fprintf(&b, " | %s", list(p.LocalEndpoints))
			}
			if p.InternalLocal {
				b.WriteString(" (only here)")
			}
			if p.Elsewhere {
				b.WriteString(" elsewhere")
			}
			if p.SourceRanges != nil {
				fmt.Fprintf(&b, " from %v", p.SourceRanges)
			}
			if p.Lingering != nil {
				fmt.Fprintf(&b, " lingering %v", p.Lingering)
			}
			if p.Affinity > 0 {
				fmt.Fprintf(&b, " sticky %s", p.Affinity)
			}
			b.WriteByte('\n')
		}
	}
	if h := svc.HealthCheck; h.Port > 0 {
		fmt.Fprintf(&b, "health check %d: %d %d\n", h.Port, h.IPv4, h.IPv6)
	}
	return b.String()
}

func decode[T any](t *testing.T, text string) *T {
	t.Helper()
	object := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return object
}

// build makes the model of a Service with this spec (and status) and these
// endpoints, all of port 8080.
func build(t *testing.T, spec, endpoints string) (proxy.Service, []proxy.Problem) {
	t.Helper()
	svc := decode[corev1.Service](t, "metadata: {name: web, namespace: ns}\n"+spec)
	slice := decode[discoveryv1.EndpointSlice](t, "metadata: {name: web-1, namespace: ns}\naddressType: IPv4\nports: [{name: http, port: 8080}, {name: http, port: 8080, protocol: UDP}]\nendpoints: ["+endpoints+"]")
	return proxy.Build(svc, []*discoveryv1.EndpointSlice{slice}, here)
}

func TestWaysIntoAService(t *testing.T) {
	const all = "*10.254.0.1:8080 10.254.1.1:8080 10.254.2.1:8080"
	for _, tc := range []struct {
		name, spec, endpoints, want string
	}{
		{
			"a NodePort is a frontend at the node's addresses, in the families of the Service",
			"spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, nodePort: 30080}]}", pods, `
cluster 10.96.0.1:80/tcp -> ` + all + `
node 10.240.0.11:30080/tcp -> ` + all + `
`,
		},
		{
			"external IPs and load balancers, of which one opens connections itself",
			"spec: {type: LoadBalancer, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2, ipMode: VIP}, {ip: 192.0.2.3, ipMode: Proxy}, {hostname: lb}, {ip: 192.0.2.4}]}}", pods, `
cluster 10.96.0.1:80/tcp -> ` + all + `
balancer 192.0.2.2:80/tcp -> ` + all + `
balancer 192.0.2.4:80/tcp -> ` + all + `
external 192.0.2.1:80/tcp -> ` + all + `
`,
		},
		{
			"an address that is there twice is reached in one way",
			"spec: {type: LoadBalancer, clusterIP: 10.96.0.1, externalIPs: [192.0.2.2, 10.96.0.1, 192.0.2.2], ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}", pods, `
cluster 10.96.0.1:80/tcp -> ` + all + `
balancer 192.0.2.2:80/tcp -> ` + all + `
`,
		},
		{
			"source ranges guard load balancers alone; this node may reach what it holds itself",
			"spec: {type: LoadBalancer, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], loadBalancerSourceRanges: [' 10.240.0.0/24', 198.18.0.0/15], ports: [{name: http, port: 80, nodePort: 30080}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}", pods, `
cluster 10.96.0.1:80/tcp -> ` + all + `
balancer 192.0.2.2:80/tcp -> ` + all + ` from [10.240.0.0/24 198.18.0.0/15 192.0.2.2/32]
external 192.0.2.1:80/tcp -> ` + all + `
node 10.240.0.11:30080/tcp -> ` + all + `
`,
		},
		{
			"a range that is everything is as good as none",
			"spec: {type: LoadBalancer, clusterIP: 10.96.0.1, loadBalancerSourceRanges: [198.18.0.0/15, 0.0.0.0/0], ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}", pods, `
cluster 10.96.0.1:80/tcp -> ` + all + `
balancer 192.0.2.2:80/tcp -> ` + all + `
`,
		},
		{
			"external policy Local: clients from outside stay here, and load balancers ask who has endpoints",
			"spec: {type: LoadBalancer, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, healthCheckNodePort: 30001, ports: [{name: http, port: 80, nodePort: 30080}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}", pods, `
cluster 10.96.0.1:80/tcp -> ` + all + `
balancer 192.0.2.2:80/tcp -> ` + all + ` | *10.254.0.1:8080
node 10.240.0.11:30080/tcp -> ` + all + ` | *10.254.0.1:8080
health check 30001: 1 -1
`,
		},
		{
			"external policy Local with endpoints on other nodes only",
			"spec: {type: NodePort, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{name: http, port: 80, nodePort: 30080}]}",
			"{addresses: [10.254.1.1], nodeName: node-b}", `
cluster 10.96.0.1:80/tcp -> 10.254.1.1:8080
node 10.240.0.11:30080/tcp -> 10.254.1.1:8080 | none
`,
		},
		{
			"external policy Local falls back to an endpoint here that is being stopped",
			"spec: {type: NodePort, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{name: http, port: 80, nodePort: 30080}]}",
			"{addresses: [10.254.0.1], nodeName: node-a, conditions: {ready: false, serving: true, terminating: true}}, {addresses: [10.254.1.1], nodeName: node-b}", `
cluster 10.96.0.1:80/tcp -> 10.254.1.1:8080
node 10.240.0.11:30080/tcp -> 10.254.1.1:8080 | *10.254.0.1:8080
`,
		},
		{
			"the external policy of a Service that nothing reaches from outside means nothing",
			"spec: {type: ClusterIP, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{name: http, port: 80}]}", pods,
			"\ncluster 10.96.0.1:80/tcp -> " + all + "\n",
		},
		{
			"internal policy Local",
			"spec: {clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}", pods,
			"\ncluster 10.96.0.1:80/tcp -> *10.254.0.1:8080 (only here)\n",
		},
		{
			"internal policy Local with endpoints on other nodes only",
			"spec: {clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}",
			"{addresses: [10.254.1.1], nodeName: node-b}",
			"\ncluster 10.96.0.1:80/tcp -> none (only here) elsewhere\n",
		},
		{
			"internal policy Local with endpoints nowhere",
			"spec: {clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}", "",
			"\ncluster 10.96.0.1:80/tcp -> none (only here)\n",
		},
		{
			"UDP flows may stay where they are while that serves",
			"spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80, protocol: UDP}]}",
			"{addresses: [10.254.1.1]}, {addresses: [10.254.1.2], conditions: {ready: false, serving: true, terminating: true}}, {addresses: [10.254.1.3], conditions: {ready: false, serving: false}}",
			"\ncluster 10.96.0.1:80/udp -> 10.254.1.1:8080 lingering [10.254.1.2:8080]\n",
		},
		{
			"session affinity, with the API's default time",
			"spec: {clusterIP: 10.96.0.1, sessionAffinity: ClientIP, ports: [{name: http, port: 80}]}", pods,
			"\ncluster 10.96.0.1:80/tcp -> " + all + " sticky 3h0m0s\n",
		},
		{
			"session affinity, with a time of its own",
			"spec: {clusterIP: 10.96.0.1, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 7}}, ports: [{name: http, port: 80}]}", pods,
			"\ncluster 10.96.0.1:80/tcp -> " + all + " sticky 7s\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc, problems := build(t, tc.spec, tc.endpoints)
			if len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
			if got := "\n" + lines(svc); got != tc.want {
				t.Errorf("the model is%s\nwant%s", got, tc.want)
			}
		})
	}
}

func TestHints(t *testing.T) {
	endpoint := func(n int, node, zone, conditions string) string {
		hints := ""
		if node != "" {
			hints += fmt.Sprintf("forNodes: [{name: %s}], ", node)
		}
		if zone != "" {
			hints += fmt.Sprintf("forZones: [{name: %s}]", zone)
		}
		return fmt.Sprintf("{addresses: [10.254.%d.1], nodeName: node-x, hints: {%s}, conditions: {%s}}", n, hints, conditions)
	}
	for _, tc := range []struct {
		name      string
		endpoints []string
		want      string
	}{
		{"those for this zone", []string{endpoint(0, "", "a", ""), endpoint(1, "", "b", ""), endpoint(2, "", "a", "")}, "10.254.0.1:8080 10.254.2.1:8080"},
		{"none for this zone: all", []string{endpoint(0, "", "b", ""), endpoint(1, "", "c", "")}, "10.254.0.1:8080 10.254.1.1:8080"},
		{"one without a hint: all", []string{endpoint(0, "", "a", ""), endpoint(1, "", "", "")}, "10.254.0.1:8080 10.254.1.1:8080"},
		{"one that is not ready needs no hint", []string{endpoint(0, "", "a", ""), endpoint(1, "", "b", ""), endpoint(2, "", "", "ready: false")}, "10.254.0.1:8080"},
		{"those for this node before those for its zone", []string{endpoint(0, "node-a", "a", ""), endpoint(1, "node-b", "a", "")}, "10.254.0.1:8080"},
		{"none for this node: those for its zone", []string{endpoint(0, "node-b", "a", ""), endpoint(1, "node-c", "b", "")}, "10.254.0.1:8080"},
		{"one without a hint for a node: those for the zone", []string{endpoint(0, "node-a", "b", ""), endpoint(1, "", "a", "")}, "10.254.1.1:8080"},
		{"those that are being stopped, whatever their hints", []string{endpoint(0, "", "a", "ready: false, serving: true, terminating: true"), endpoint(1, "", "b", "ready: false, serving: true, terminating: true")}, "10.254.0.1:8080 10.254.1.1:8080"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc, _ := build(t, "spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}", strings.Join(tc.endpoints, ", "))
			if got, want := lines(svc), "cluster 10.96.0.1:80/tcp -> "+tc.want+"\n"; got != want {
				t.Errorf("the model is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestBadWaysAreNamedAndLeftOut(t *testing.T) {
	for _, tc := range []struct{ spec, problem, want string }{
		{
			"spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, nodePort: 70000}]}",
			"service ns/web: spec.ports[0].nodePort: 70000 is not a port number from 1 to 65535; the NodePort is left out",
			"cluster 10.96.0.1:80/tcp -> none\n",
		},
		{
			"spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, nodePort: 30080}, {name: more, port: 81, nodePort: 30080}]}",
			"service ns/web: spec.ports[1].nodePort: tcp NodePort 30080 is that of spec.ports[0] already, which stays; change one of them",
			"cluster 10.96.0.1:80/tcp -> none\nnode 10.240.0.11:30080/tcp -> none\ncluster 10.96.0.1:81/tcp -> none\n",
		},
		{
			"spec: {clusterIP: 10.96.0.1, externalIPs: [127.0.0.1, 192.0.2.1, x], ports: [{name: http, port: 80}]}",
			"service ns/web: spec.externalIPs[0]: 127.0.0.1 is a loopback address, which can't be a Service's; write it as in 10.96.0.10 or fd00:10:96::a",
			"cluster 10.96.0.1:80/tcp -> none\nexternal 192.0.2.1:80/tcp -> none\n",
		},
		{
			"spec: {type: LoadBalancer, clusterIP: 10.96.0.1, loadBalancerSourceRanges: [198.18.0.0/15, 10.0.0.0/33], ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}",
			`service ns/web: spec.loadBalancerSourceRanges[1]: "10.0.0.0/33" is not a CIDR such as 192.168.0.0/16; the load balancer's addresses are left out`,
			"cluster 10.96.0.1:80/tcp -> none\n",
		},
		{
			"spec: {clusterIP: 10.96.0.1, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}, ports: [{name: http, port: 80}]}",
			"service ns/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not from 1 to 86400; 10800 is taken",
			"cluster 10.96.0.1:80/tcp -> none sticky 3h0m0s\n",
		},
	} {
		svc, problems := build(t, tc.spec, "")
		if len(problems) == 0 || problems[0].String() != tc.problem {
			t.Errorf("problems of %s are\n%v\nwant first\n%s", tc.spec, problems, tc.problem)
		}
		if got := lines(svc); got != tc.want {
			t.Errorf("%s: the model is\n%s\nwant\n%s", tc.spec, got, tc.want)
		}
	}
}

// Of 100 000 names, a few have the same hash, and numbers of their own all the
// same.
func TestNumbersAreUnique(t *testing.T) {
	c := proxy.NewCluster()
	seen := map[uint32]proxy.Name{}
	for i := range 100_000 {
		name := named(fmt.Sprintf("svc-%d", i))
		c.Set(proxy.Service{Name: name, Ports: []proxy.Port{{Affinity: 1}}})
		svc, _ := c.Granted(name)
		id := svc.Ports[0].ID
		if other, taken := seen[id]; taken {
			t.Fatalf("%s and %s have the number %d", name, other, id)
		}
		seen[id] = name
	}
}

// Service ports with session affinity have numbers of their own, which stay.
func TestNumbersOfServicePorts(t *testing.T) {
	c := proxy.NewCluster()
	set := func(name, affinity string) {
		svc := decode[corev1.Service](t, fmt.Sprintf("metadata: {name: %s, namespace: ns}\nspec: {type: NodePort, clusterIP: 10.96.0.1, sessionAffinity: %s, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81}]}", name, affinity))
		model, _ := proxy.Build(svc, nil, here)
		c.Set(model)
	}
	ids := func(name string) map[string]uint32 {
		t.Helper()
		all := map[string]uint32{}
		svc, _ := c.Granted(proxy.Name{Namespace: "ns", Name: name})
		for _, p := range svc.Ports {
			if before, ok := all[p.Name]; ok && before != p.ID {
				t.Errorf("port %s has the numbers %d and %d", p.Name, before, p.ID)
			}
			all[p.Name] = p.ID
		}
		return all
	}
	set("x", "ClientIP")
	first := ids("x")
	if first["a"] == 0 || first["a"] == first["b"] || first["a"]%2 == 1 || first["b"]%2 == 1 {
		t.Errorf("the numbers are %v, want two even ones", first)
	}
	set("x", "None")
	if none := ids("x"); none["a"] != 0 {
		t.Errorf("without affinity the numbers are %v", none)
	}
	set("x", "ClientIP")
	if again := ids("x"); again["a"] != first["a"] || again["b"] != first["b"] {
		t.Errorf("the numbers went from %v to %v", first, again)
	}
}
