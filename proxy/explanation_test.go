package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// reasons are an explanation's lines: "PORT/PROTOCOL FAMILY [hints]", then
// "ADDRESS: REASON | REASON" for its endpoints under the policies Cluster and Local.
func reasons(e proxy.Explanation) string {
	var b strings.Builder
	one := func(x proxy.EndpointExplanation) {
		address := "no address"
		if len(x.Object().Addresses) > 0 {
			address = x.Object().Addresses[0]
		}
		fmt.Fprintf(&b, "  %s of %s", address, x.Slice.Name)
		if x.AddrPort.IsValid() {
			fmt.Fprintf(&b, " = %s", x.AddrPort)
		}
		fmt.Fprintf(&b, ": %s", x.Cluster)
		if x.Local != x.Cluster {
			fmt.Fprintf(&b, " | %s", x.Local)
		}
		if x.Detail != "" {
			fmt.Fprintf(&b, " (%s)", x.Detail)
		}
		b.WriteByte('\n')
	}
	for _, p := range e.Ports {
		family := map[bool]string{true: "IPv4", false: "IPv6"}[p.IPv4]
		fmt.Fprintf(&b, "%s %d/%s %s", p.Name, p.Port, p.Protocol, family)
		if p.NodePort != 0 {
			fmt.Fprintf(&b, " node port %d", p.NodePort)
		}
		if p.ByNode {
			b.WriteString(" by node")
		}
		if p.ByZone {
			b.WriteString(" by zone")
		}
		b.WriteByte('\n')
		for _, x := range p.Endpoints {
			one(x)
		}
	}
	if e.LeftOut != nil {
		b.WriteString("left out\n")
	}
	for _, x := range e.LeftOut {
		one(x)
	}
	return b.String()
}

func TestReasons(t *testing.T) {
	const (
		spec = "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]"
		http = "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: ["
	)
	for _, tc := range []struct {
		name, spec string
		slices     []string
		want       string
	}{
		{"conditions, with one that is ready", spec, []string{http + `
			{addresses: [10.254.0.1], nodeName: node-b}, {addresses: [10.254.0.2], nodeName: node-a, conditions: {ready: false}},
			{addresses: [10.254.0.3], nodeName: node-a, conditions: {ready: false, serving: true, terminating: true}},
			{addresses: [10.254.0.4], nodeName: node-a, conditions: {ready: false, serving: false, terminating: true}},
			{addresses: [10.254.0.5], nodeName: node-a, conditions: {ready: true, serving: true, terminating: true}}]`}, `
http 80/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready | OnOtherNode
  10.254.0.2 of web-0 = 10.254.0.2:8080: NotReady
  10.254.0.3 of web-0 = 10.254.0.3:8080: Terminating
  10.254.0.4 of web-0 = 10.254.0.4:8080: Stopped
  10.254.0.5 of web-0 = 10.254.0.5:8080: Ready
`},
		{"being stopped here while the ready one is elsewhere", spec, []string{http + `
			{addresses: [10.254.0.1], nodeName: node-b},
			{addresses: [10.254.0.2], nodeName: node-a, conditions: {ready: false, serving: true, terminating: true}}]`}, `
http 80/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready | OnOtherNode
  10.254.0.2 of web-0 = 10.254.0.2:8080: Terminating | LastServing
`},
		{"none is ready", spec, []string{http + `
			{addresses: [10.254.0.1], nodeName: node-b, conditions: {ready: false, serving: true, terminating: true}},
			{addresses: [10.254.0.2], nodeName: node-a, conditions: {ready: false, serving: false, terminating: true}}]`}, `
http 80/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:8080: LastServing | OnOtherNode
  10.254.0.2 of web-0 = 10.254.0.2:8080: Stopped
`},
		{"hints for zones", spec, []string{http + `
			{addresses: [10.254.0.1], nodeName: node-a, hints: {forZones: [{name: a}]}},
			{addresses: [10.254.0.2], nodeName: node-a, hints: {forZones: [{name: b}]}},
			{addresses: [10.254.0.3], conditions: {ready: false}}]`}, `
http 80/tcp IPv4 by zone
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready
  10.254.0.2 of web-0 = 10.254.0.2:8080: ForOtherZones | Ready
  10.254.0.3 of web-0 = 10.254.0.3:8080: NotReady | OnOtherNode
`},
		{"hints for nodes come before those for zones", spec, []string{http + `
			{addresses: [10.254.0.1], nodeName: node-b, hints: {forZones: [{name: a}], forNodes: [{name: node-b}]}},
			{addresses: [10.254.0.2], nodeName: node-a, hints: {forZones: [{name: b}], forNodes: [{name: node-a}]}}]`}, `
http 80/tcp IPv4 by node
  10.254.0.1 of web-0 = 10.254.0.1:8080: ForOtherNodes | OnOtherNode
  10.254.0.2 of web-0 = 10.254.0.2:8080: Ready
`},
		{"hints that one endpoint lacks count for nothing", spec, []string{http + `
			{addresses: [10.254.0.1], nodeName: node-a, hints: {forZones: [{name: b}]}}, {addresses: [10.254.0.2], nodeName: node-a}]`}, `
http 80/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready
  10.254.0.2 of web-0 = 10.254.0.2:8080: Ready
`},
		{"what can't be an endpoint", spec + ", clusterIPs: [10.96.0.1]", []string{
			http + `{addresses: [10.254.0.1], nodeName: node-a}, {addresses: [10.254.0.300]}, {addresses: [127.0.0.1]}, {addresses: []}, {addresses: ["fd00::1"]}]`,
			"addressType: FQDN\nports: []\nendpoints: [{addresses: [web.example.com]}]",
			"addressType: IPv6\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['fd00::2']}]",
			"addressType: Carrier\nports: []\nendpoints: [{addresses: [pigeon]}]",
		}, `
http 80/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready
left out
  10.254.0.300 of web-0: Invalid ("10.254.0.300" is not an IP address; the endpoint is left out; write it as in 10.96.0.10 or fd00:10:96::a)
  127.0.0.1 of web-0: Invalid (127.0.0.1 is a loopback address, which can't be an endpoint's; the endpoint is left out)
  no address of web-0: Invalid (there is none; the endpoint is left out)
  fd00::1 of web-0: Invalid (fd00::1 is IPv6 in a slice of IPv4 addresses; the endpoint is left out)
  web.example.com of web-1: NoAddress (FQDN)
  pigeon of web-3: NoAddress (Carrier)
  fd00::2 of web-2: OtherFamily (IPv6)
`},
		{"twice: a pod has the address of one that is being stopped", spec, []string{
			http + `{addresses: [10.254.0.1], conditions: {ready: false, serving: true, terminating: true}}, {addresses: [010.254.0.01]}]`,
			http + `{addresses: [10.254.0.1], conditions: {ready: false}}]`,
		}, `
http 80/tcp IPv4
  010.254.0.01 of web-0 = 10.254.0.1:8080: Ready | OnOtherNode
  10.254.0.1 of web-0 = 10.254.0.1:8080: Twice
  10.254.0.1 of web-1 = 10.254.0.1:8080: Twice
`},
		{"a slice without the port", "type: NodePort, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, nodePort: 30080}, {name: more, port: 81}]",
			[]string{http + "{addresses: [10.254.0.1], nodeName: node-a}]"}, `
http 80/tcp IPv4 node port 30080
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready
more 81/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:0: OtherPort
`},
		{"two families", "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: http, port: 80}]", []string{
			http + "{addresses: [10.254.0.1], nodeName: node-a}]", "addressType: IPv6\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['fd00::2'], nodeName: node-a}]"}, `
http 80/tcp IPv4
  10.254.0.1 of web-0 = 10.254.0.1:8080: Ready
http 80/tcp IPv6
  fd00::2 of web-1 = [fd00::2]:8080: Ready
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, explanation, _ := proxy.Explain(service(t, tc.spec), endpointSlices(t, tc.slices...), here)
			if got := reasons(explanation); got != tc.want[1:] {
				t.Errorf("got\n%swant\n%s", got, tc.want[1:])
			}
		})
	}
}

// What is explained is what is built: the same model, and the endpoints that get
// traffic are those with a reason to.
func TestTheExplanationIsThatOfTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	for round := range 500 {
		var texts []string
		for range 1 + random.IntN(3) {
			var endpoints []string
			for range random.IntN(6) {
				endpoints = append(endpoints, fmt.Sprintf("{addresses: [10.0.0.%d], %s hints: {%s}, conditions: {%s}}", random.IntN(9),
					pick("nodeName: node-a,", "nodeName: node-b,"), pick("", "forZones: [{name: a}]", "forZones: [{name: b}], forNodes: [{name: node-a}]"),
					pick("", "", "ready: false", "ready: false, terminating: true", "ready: false, serving: false, terminating: true")))
			}
			texts = append(texts, "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: ["+strings.Join(endpoints, ", ")+"]")
		}
		svc := service(t, "type: NodePort, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{name: http, port: 80, nodePort: 30080}]")
		list := endpointSlices(t, texts...)
		model, explanation, problems := proxy.Explain(svc, list, here)
		built, others := proxy.Build(svc, list, here)
		if !model.Equal(built) || !slices.Equal(problems, others) {
			t.Fatalf("round %d: explained is\n%sbut built\n%s", round, lines(model), lines(built))
		}
		var cluster, local []proxy.Endpoint
		all := 0
		for _, e := range explanation.Ports[0].Endpoints {
			if e.Cluster.In() {
				cluster = append(cluster, e.Endpoint)
			}
			if e.Local.In() {
				local = append(local, e.Endpoint)
			}
			all++
		}
		given := 0
		for _, s := range list {
			given += len(s.Endpoints)
		}
		port := model.Ports[len(model.Ports)-1] // by NodePort
		if !slices.Equal(cluster, port.Endpoints) || !slices.Equal(local, port.LocalEndpoints) || all != given {
			t.Fatalf("round %d: %d endpoints, explained as\n%sbut the model is\n%s", round, given, reasons(explanation), lines(model))
		}
	}
}
