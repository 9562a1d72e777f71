package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// model builds a Service with this spec from slices, each without its metadata,
// and gives it and its problems as lines.
func model(t *testing.T, spec string, texts ...string) (string, string) {
	t.Helper()
	svc, problems := proxy.Build(service(t, spec), endpointSlices(t, texts...), here)
	return lines(svc), problemLines(problems)
}

func service(t *testing.T, spec string) *corev1.Service {
	t.Helper()
	return decode[corev1.Service](t, "metadata: {name: web, namespace: ns}\nspec: {"+spec+"}")
}

func endpointSlices(t *testing.T, texts ...string) []*discoveryv1.EndpointSlice {
	t.Helper()
	var list []*discoveryv1.EndpointSlice
	for i, text := range texts {
		list = append(list, decode[discoveryv1.EndpointSlice](t, fmt.Sprintf("metadata: {name: web-%d, namespace: ns}\n%s", i, text)))
	}
	return list
}

func problemLines(problems []proxy.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		if p.Warning {
			b.WriteString("warning: ")
		}
		fmt.Fprintf(&b, "%s %s\n", p.Reason, p)
	}
	return b.String()
}

func TestServiceModel(t *testing.T) {
	const one = "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]"
	v4 := func(ports, endpoints string) string {
		return "addressType: IPv4\nports: [" + ports + "]\nendpoints: [" + endpoints + "]"
	}
	v6 := func(ports, endpoints string) string {
		return "addressType: IPv6\nports: [" + ports + "]\nendpoints: [" + endpoints + "]"
	}
	http := func(endpoints string) string { return v4("{name: http, port: 8080}", endpoints) }
	for _, tc := range []struct {
		name, spec string
		slices     []string
		want       string
	}{
		{
			"TCP, UDP and SCTP at one number are three ports",
			"clusterIP: 10.96.0.1, ports: [{name: t, port: 53, protocol: TCP}, {name: u, port: 53, protocol: UDP}, {name: s, port: 53, protocol: SCTP}]",
			[]string{v4("{name: t, port: 1, protocol: TCP}, {name: u, port: 2, protocol: UDP}, {name: s, port: 3, protocol: SCTP}", "{addresses: [10.0.0.1]}")}, `
cluster 10.96.0.1:53/tcp -> 10.0.0.1:1
cluster 10.96.0.1:53/udp -> 10.0.0.1:2
cluster 10.96.0.1:53/sctp -> 10.0.0.1:3
`,
		},
		{
			"a slice's port of the same name and another protocol is another port; none is TCP",
			"clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]",
			[]string{v4("{name: http, port: 1, protocol: UDP}, {name: http, port: 2}", "{addresses: [10.0.0.1]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:2\n",
		},
		{
			"dual stack: a port for each family, IPv4 first however they are listed",
			"clusterIP: 'fd00:96::1', clusterIPs: ['fd00:96::1', 10.96.0.1], ports: [{name: http, port: 80}, {name: more, port: 81}]",
			[]string{
				v6("{name: http, port: 8080}, {name: more, port: 8081}", "{addresses: ['fd00::1']}"),
				v4("{name: http, port: 8080}", "{addresses: [10.0.0.1]}"),
			}, `
cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080
cluster [fd00:96::1]:80/tcp -> [fd00::1]:8080
cluster 10.96.0.1:81/tcp -> none
cluster [fd00:96::1]:81/tcp -> [fd00::1]:8081
`,
		},
		{
			"endpoints of a family that the Service lacks are not for it", one,
			[]string{v6("{name: http, port: 8080}", "{addresses: ['fd00::1']}")},
			"\ncluster 10.96.0.1:80/tcp -> none\n",
		},
		{
			"one address of ways in that has no family of the Service's is not reached",
			"clusterIP: 10.96.0.1, externalIPs: ['fd00:1::1', 192.0.2.1], ports: [{name: http, port: 80}]", nil, `
cluster 10.96.0.1:80/tcp -> none
external 192.0.2.1:80/tcp -> none
`,
		},
		{
			"a port without a name is that of the slice without one, given or not",
			"clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: 1234}]",
			[]string{v4("{port: 8080}", "{addresses: [10.0.0.1]}"), v4("{name: '', port: 8081}", "{addresses: [10.0.0.2]}"), v4("{name: http, port: 8082}", "{addresses: [10.0.0.3]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8081\n",
		},
		{
			"a named target port has a number of its own in each slice", one,
			[]string{http("{addresses: [10.0.0.1]}"), v4("{name: http, port: 9090}", "{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.1:9090 10.0.0.2:9090\n",
		},
		{
			"a slice's port without a number is any port, which no Service has", one,
			[]string{v4("{name: http}", "{addresses: [10.0.0.1]}")},
			"\ncluster 10.96.0.1:80/tcp -> none\n",
		},
		{
			"a slice that lists its port twice has its endpoints once", one,
			[]string{v4("{name: http, port: 8080}, {name: http, port: 8080}", "{addresses: [10.0.0.1]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080\n",
		},
		{
			"endpoints are in the order of their texts, as kube-proxy has them", one,
			[]string{http("{addresses: [10.0.0.9]}, {addresses: [10.0.0.10]}, {addresses: [10.0.0.1]}"), v4("{name: http, port: 90}", "{addresses: [10.0.0.9]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.10:8080 10.0.0.1:8080 10.0.0.9:8080 10.0.0.9:90\n",
		},
		{
			"IPv6 endpoints too, with their brackets",
			"clusterIP: 'fd00:96::1', ports: [{name: http, port: 80}]",
			[]string{v6("{name: http, port: 80}", "{addresses: ['fd00::9']}, {addresses: ['fd00::10']}, {addresses: ['fd00::']}")},
			// ']' comes after the digits.
			"\ncluster [fd00:96::1]:80/tcp -> [fd00::10]:80 [fd00::9]:80 [fd00::]:80\n",
		},
		{
			"an endpoint is here by the name of its node; one without by the node's addresses", one,
			[]string{http("{addresses: [10.0.0.1], nodeName: node-a}, {addresses: [10.0.0.2], nodeName: node-b}, {addresses: [10.0.0.3]}, {addresses: [10.240.0.11]}, {addresses: [10.240.0.12], nodeName: ''}")},
			"\ncluster 10.96.0.1:80/tcp -> *10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080 *10.240.0.11:8080 10.240.0.12:8080\n",
		},
		{
			"the name of another node counts, whatever the address", one,
			[]string{http("{addresses: [10.240.0.11], nodeName: node-b}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.240.0.11:8080\n",
		},
		{
			"the first of several addresses counts", one,
			[]string{http("{addresses: [10.0.0.2, 10.0.0.1, x]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.2:8080\n",
		},
		{
			"names are no addresses", one,
			[]string{"addressType: FQDN\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [a.example]}]"},
			"\ncluster 10.96.0.1:80/tcp -> none\n",
		},
		{
			"without conditions an endpoint is ready", one,
			[]string{http("{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {}}, {addresses: [10.0.0.3], conditions: {ready: true, serving: false}}, {addresses: [10.0.0.4], conditions: {ready: false}}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080\n",
		},
		{
			"with none ready, those that are stopping and still serve; serving is the default", one,
			[]string{http("{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}, {addresses: [10.0.0.2], conditions: {ready: false, terminating: true}}, {addresses: [10.0.0.3], conditions: {ready: false, serving: false, terminating: true}}, {addresses: [10.0.0.4], conditions: {ready: false, serving: true, terminating: false}}, {addresses: [10.0.0.5], conditions: {ready: false, serving: true}}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080\n",
		},
		{
			"with one ready, none of those", one,
			[]string{http("{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}, {addresses: [10.0.0.2]}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.2:8080\n",
		},
		{
			"each port falls back by itself",
			"clusterIP: 10.96.0.1, ports: [{name: http, port: 80}, {name: more, port: 81}]",
			[]string{
				v4("{name: http, port: 1}, {name: more, port: 2}", "{addresses: [10.0.0.1], conditions: {ready: false, terminating: true}}"),
				v4("{name: more, port: 2}", "{addresses: [10.0.0.2]}"),
			}, `
cluster 10.96.0.1:80/tcp -> 10.0.0.1:1
cluster 10.96.0.1:81/tcp -> 10.0.0.2:2
`,
		},
		{
			"an endpoint in two slices is in the best state of the two, on the node that this one names", one,
			[]string{
				http("{addresses: [10.0.0.1], conditions: {ready: false}}, {addresses: [10.0.0.2], nodeName: node-a, conditions: {ready: false}}, {addresses: [10.0.0.3]}"),
				http("{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}, {addresses: [10.0.0.3], nodeName: node-a}"),
			},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080 *10.0.0.3:8080\n",
		},
		{
			"stopping and serving is better than stopped", one,
			[]string{http("{addresses: [10.0.0.1], conditions: {ready: false, serving: false, terminating: true}}"), http("{addresses: [10.0.0.1], conditions: {ready: false, terminating: true}}")},
			"\ncluster 10.96.0.1:80/tcp -> 10.0.0.1:8080\n",
		},
		{
			"a pod that is not ready has the address of one that is stopping: nobody answers there", one,
			[]string{
				http("{addresses: [10.0.0.1], conditions: {ready: false}}, {addresses: [10.0.0.2], conditions: {ready: false, terminating: true}}, {addresses: [10.0.0.3], conditions: {ready: false}}"),
				http("{addresses: [10.0.0.1], conditions: {ready: false, terminating: true}}, {addresses: [10.0.0.2], conditions: {ready: false}}, {addresses: [10.0.0.3], conditions: {ready: true, terminating: true}}"),
			},
			"\ncluster 10.96.0.1:80/tcp -> none\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, problems := model(t, tc.spec, tc.slices...)
			if problems != "" {
				t.Errorf("problems:\n%s", problems)
			}
			if "\n"+got != tc.want {
				t.Errorf("the model is\n%swant%s", got, tc.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	const one = "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]"
	at := func(address string) string {
		return "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['" + address + "']}, {addresses: [10.0.0.1]}]"
	}
	const rest = "cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080\n"
	const none = "cluster 10.96.0.1:80/tcp -> none\n"
	const first = "endpointslice ns/web-0: endpoints[0].addresses[0]: "
	for _, tc := range []struct {
		name, spec, slice string
		problems, want    string
	}{
		{"leading zeros", one, at("010.0.0.020"), "warning: InvalidAddress " + first + `"010.0.0.020" is taken as 10.0.0.20; write it so` + "\n", "cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.20:8080\n"},
		{"IPv4-mapped", one, at("::ffff:10.0.0.2"), "warning: InvalidAddress " + first + `"::ffff:10.0.0.2" is taken as 10.0.0.2; write it so` + "\n", "cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080\n"},
		{"a zone", one, at("fe80::1%eth0"), "InvalidAddress " + first + `"fe80::1%eth0" is not an IP address; the endpoint is left out; write it as in 10.96.0.10 or fd00:10:96::a` + "\n", rest},
		{"a name", one, at("localhost"), "InvalidAddress " + first + `"localhost" is not an IP address; the endpoint is left out; write it as in 10.96.0.10 or fd00:10:96::a` + "\n", rest},
		{"an empty address", one, at(""), "InvalidAddress " + first + `"" is not an IP address; the endpoint is left out; write it as in 10.96.0.10 or fd00:10:96::a` + "\n", rest},
		{"unspecified", one, at("0.0.0.0"), "InvalidAddress " + first + "0.0.0.0 is the unspecified address, which can't be an endpoint's; the endpoint is left out\n", rest},
		{"loopback", one, at("127.0.0.53"), "InvalidAddress " + first + "127.0.0.53 is a loopback address, which can't be an endpoint's; the endpoint is left out\n", rest},
		{"multicast", one, at("224.0.0.1"), "InvalidAddress " + first + "224.0.0.1 is a multicast address, which can't be an endpoint's; the endpoint is left out\n", rest},
		{"link-local", one, at("169.254.169.254"), "InvalidAddress " + first + "169.254.169.254 is a link-local address, which can't be an endpoint's; the endpoint is left out\n", rest},
		{"the other family", one, at("fd00::1"), "FamilyMismatch " + first + "fd00::1 is IPv6 in a slice of IPv4 addresses; the endpoint is left out\n", rest},
		{"an IPv4 address mapped into a slice of IPv6", one, "addressType: IPv6\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['::ffff:10.0.0.1']}]", "FamilyMismatch " + first + "::ffff:10.0.0.1 is IPv4 in a slice of IPv6 addresses; the endpoint is left out\n", none},
		{"no address", one, "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: []}, {addresses: [10.0.0.1]}]", "InvalidAddress endpointslice ns/web-0: endpoints[0].addresses: there is none; the endpoint is left out\n", rest},
		{"no type of address", one, "ports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]", "UnknownAddressType endpointslice ns/web-0: addressType: \"\" is not IPv4, IPv6 or FQDN; the slice is left out\n", none},
		{"a slice's port 0", one, "addressType: IPv4\nports: [{name: http, port: 0}]\nendpoints: [{addresses: [10.0.0.1]}]", "InvalidPort endpointslice ns/web-0: ports[0].port: 0 is not a port number from 1 to 65535; the port is left out\n", none},
		{"a slice's port 65536", one, "addressType: IPv4\nports: [{name: more, port: 1}, {name: http, port: 65536}]\nendpoints: [{addresses: [10.0.0.1]}]", "InvalidPort endpointslice ns/web-0: ports[1].port: 65536 is not a port number from 1 to 65535; the port is left out\n", none},
		{"a slice's negative port", one, "addressType: IPv4\nports: [{name: http, port: -1}, {name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]", "InvalidPort endpointslice ns/web-0: ports[0].port: -1 is not a port number from 1 to 65535; the port is left out\n", rest},
		{"a slice's unknown protocol", one, "addressType: IPv4\nports: [{name: http, port: 8080, protocol: tcp}]\nendpoints: [{addresses: [10.0.0.1]}]", "UnknownProtocol endpointslice ns/web-0: ports[0].protocol: \"tcp\" is not TCP, UDP or SCTP; the port is left out\n", none},

		{"a Service's ports out of range", "clusterIP: 10.96.0.1, ports: [{name: a, port: 0}, {name: b, port: 65536}, {name: c, port: -80}, {name: http, port: 80}, {name: d, port: 65535}, {name: e, port: 1}]", at("10.0.0.2"),
			"InvalidPort service ns/web: spec.ports[0].port: 0 is not a port number from 1 to 65535; the port is left out\n" +
				"InvalidPort service ns/web: spec.ports[1].port: 65536 is not a port number from 1 to 65535; the port is left out\n" +
				"InvalidPort service ns/web: spec.ports[2].port: -80 is not a port number from 1 to 65535; the port is left out\n",
			"cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080\ncluster 10.96.0.1:65535/tcp -> none\ncluster 10.96.0.1:1/tcp -> none\n"},
		{"a Service's unknown protocol", "clusterIP: 10.96.0.1, ports: [{name: a, port: 1, protocol: ICMP}, {name: http, port: 80}]", at("10.0.0.1"), "UnknownProtocol service ns/web: spec.ports[0].protocol: \"ICMP\" is not TCP, UDP or SCTP; the port is left out\n", rest},
		{"a Service's port twice, once with the protocol left to the default", "clusterIP: 10.96.0.1, ports: [{name: http, port: 80, protocol: TCP}, {name: u, port: 80, protocol: UDP}, {name: b, port: 80}]", at("10.0.0.1"),
			"DuplicatePort service ns/web: spec.ports[2]: TCP port 80 is spec.ports[0] already, which stays; remove one of them\n", rest + "cluster 10.96.0.1:80/udp -> none\n"},
		{"no ClusterIP", "ports: [{name: http, port: 80}]", at("10.0.0.1"), "NoClusterIP service ns/web: spec.clusterIP: there is none: the API server allocates it; in a manifest without an API server, write one\n", ""},
		{"a ClusterIP that is none", "clusterIP: ten, ports: [{name: http, port: 80}]", at("10.0.0.1"), "InvalidAddress service ns/web: spec.clusterIP: \"ten\" is not an IP address; write it as in 10.96.0.10 or fd00:10:96::a\n", ""},
		{"a ClusterIP that can't be one", "clusterIPs: [127.0.0.1, 10.96.0.1], ports: [{name: http, port: 80}]", at("10.0.0.1"), "InvalidAddress service ns/web: spec.clusterIPs[0]: 127.0.0.1 is a loopback address, which can't be a Service's; write it as in 10.96.0.10 or fd00:10:96::a\n", rest},
		{"a second ClusterIP of a family", "clusterIPs: [10.96.0.1, 10.96.0.2], ports: [{name: http, port: 80}]", at("10.0.0.1"), "FamilyMismatch service ns/web: spec.clusterIPs[1]: 10.96.0.2 is the second IPv4 address; a Service has one of each family, the first stays\n", rest},
		{"a ClusterIP not as it should be written", "clusterIP: 10.096.0.01, ports: [{name: http, port: 80}]", at("10.0.0.1"), "warning: InvalidAddress service ns/web: spec.clusterIP: \"10.096.0.01\" is taken as 10.96.0.1; write it so\n", rest},
		{"clusterIP and clusterIPs that differ", "clusterIP: 10.96.0.2, clusterIPs: [10.96.0.1], ports: [{name: http, port: 80}]", at("10.0.0.1"), "warning: InvalidAddress service ns/web: spec.clusterIP: says 10.96.0.2, but spec.clusterIPs[0] is 10.96.0.1, which counts\n", rest},
		{"families that do not fit the addresses", "clusterIPs: [10.96.0.1], ipFamilies: [IPv6], ports: [{name: http, port: 80}]", at("10.0.0.1"), "warning: FamilyMismatch service ns/web: spec.ipFamilies[0]: says IPv6, but the address is 10.96.0.1; the address counts\n", rest},
		{"a load balancer's address, by its place", "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: 1.2.3}]}", at("10.0.0.1"), "InvalidAddress service ns/web: status.loadBalancer.ingress[1].ip: \"1.2.3\" is not an IP address; write it as in 10.96.0.10 or fd00:10:96::a\n", rest + "balancer 192.0.2.1:80/tcp -> 10.0.0.1:8080\n"},
		{"a health check's port", "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 65536, clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]", at("10.0.0.1"), "InvalidPort service ns/web: spec.healthCheckNodePort: 65536 is not a port number from 1 to 65535; load balancers get no answer\n", rest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc, list := proxy.Build(service(t, tc.spec), endpointSlices(t, tc.slice), here)
			if got := problemLines(list); got != tc.problems {
				t.Errorf("the problems are\n%swant\n%s", got, tc.problems)
			}
			if got := lines(svc); got != tc.want {
				t.Errorf("the model is\n%swant\n%s", got, tc.want)
			}
			// What was programmed stays of a Service's part that can't be read, not of one
			// that can and is of no use, nor of endpoints, of which the rest goes on.
			want := unreadable.MatchString(tc.problems)
			if got := svc.Unread != nil; got != want {
				t.Errorf("a part can't be understood: %t, want %t", got, want)
			}
			for _, p := range list {
				if p.Error() != p.String() {
					t.Errorf("the error is %q", p.Error())
				}
			}
		})
	}
}

// unreadable are the problems by which a part of a Service can't be understood.
var unreadable = regexp.MustCompile(`(?m) service .*(is not an IP address|spec.ports.* is not |there is none: the API server)`)

func TestHandles(t *testing.T) {
	for _, tc := range []struct {
		text     string
		want     bool // in the scopes shadow and all
		labelled bool
	}{
		{"spec: {clusterIP: 10.96.0.1}", true, false},
		{"spec: {type: NodePort, clusterIP: 10.96.0.1}", true, false},
		{"spec: {}", true, false}, // a manifest's mistake, to be named
		{"spec: {clusterIP: None}", false, false},
		{"spec: {type: ExternalName, externalName: a.example}", false, false},
		// Left from before it became one.
		{"spec: {type: ExternalName, clusterIP: 10.96.0.1}", false, false},
		{"metadata: {labels: {service.kubernetes.io/service-proxy-name: other}}\nspec: {clusterIP: 10.96.0.1}", false, false},
		{"metadata: {labels: {service.kubernetes.io/service-proxy-name: ''}}\nspec: {clusterIP: 10.96.0.1}", false, false},
		{"metadata: {labels: {service.kubernetes.io/service-proxy-name: kube-verdict}}\nspec: {clusterIP: 10.96.0.1}", true, true},
		{"metadata: {labels: {service.kubernetes.io/service-proxy-name: kube-verdict}}\nspec: {clusterIP: None}", false, false},
		{"metadata: {labels: {kubeverdict.io/serve: 'true'}}\nspec: {clusterIP: 10.96.0.1}", true, true},
		{"metadata: {labels: {kubeverdict.io/serve: 'false'}}\nspec: {clusterIP: 10.96.0.1}", true, false},
		{"metadata: {labels: {kubeverdict.io/serve: 'true'}}\nspec: {clusterIP: None}", false, false},
		{"metadata: {labels: {kubeverdict.io/serve: 'true', service.kubernetes.io/service-proxy-name: other}}\nspec: {clusterIP: 10.96.0.1}", false, false},
		{"metadata: {labels: {service.kubernetes.io/headless: ''}}\nspec: {clusterIP: 10.96.0.1}", true, false},
	} {
		svc := decode[corev1.Service](t, tc.text)
		for _, scope := range proxy.Scopes() {
			want := tc.want
			if scope == proxy.ScopeLabelled {
				want = tc.labelled
			}
			if got := proxy.Handles(svc, scope); got != want {
				t.Errorf("in the scope %s, Handles is %t of\n%s", scope, got, tc.text)
			}
		}
	}
}

// What one sees twice must be the same twice, or every restart rewrites slots.
func TestBuildTakesSlicesInAnyOrderAndLeavesThemAlone(t *testing.T) {
	svc := service(t, "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, clusterIPs: [10.96.0.1, 'fd00:96::1'], externalIPs: [' x', 192.0.2.1], ports: [{name: http, port: 80}, {name: more, port: 81}]")
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	for round := range 50 {
		var texts []string
		for range 8 {
			var endpoints []string
			for range random.IntN(6) {
				endpoints = append(endpoints, fmt.Sprintf("{addresses: [%s.0.0.%d], %s hints: {%s%s}, conditions: {%s}}", pick("10", "10", "010", "0"), random.IntN(5),
					pick("", "nodeName: node-a,", "nodeName: node-b,"),
					pick("", "forZones: [{name: a}],", "forZones: [{name: b}],"), pick("", "forNodes: [{name: node-a}]", "forNodes: [{name: node-b}]"),
					pick("", "", "", "ready: false", "ready: false, terminating: true")))
			}
			texts = append(texts, "addressType: IPv4\nports: [{name: http, port: 8080}, {name: "+pick("more", "less")+", port: "+pick("8080", "8081")+"}]\nendpoints: ["+strings.Join(endpoints, ", ")+"]")
		}
		list := endpointSlices(t, texts...)
		before := make([]*discoveryv1.EndpointSlice, len(list))
		for i, s := range list {
			before[i] = s.DeepCopy()
		}
		service := svc.DeepCopy()
		first, problems := proxy.Build(svc, list, here)
		if !reflect.DeepEqual(list, before) || !reflect.DeepEqual(svc, service) {
			t.Fatalf("round %d: Build changed what it was given", round)
		}
		for range 5 {
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			again, others := proxy.Build(svc, list, here)
			if !again.Equal(first) {
				t.Fatalf("round %d: the model is\n%sand with the slices in another order\n%s", round, lines(first), lines(again))
			}
			// Problems that only change places would be told again and again.
			if !slices.Equal(others, problems) {
				t.Fatalf("round %d: the problems are\n%sand with the slices in another order\n%s", round, problemLines(problems), problemLines(others))
			}
		}
	}
}

// A pod has the address of one that is still being stopped on another node. What
// counts is taken whole: the state of one with the node or the hints of the other is
// no endpoint that there is.
func TestAddressOfTwoEndpoints(t *testing.T) {
	const local = "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], ports: [{name: http, port: 80}]"
	slice := func(endpoints string) string {
		return "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [" + endpoints + "]"
	}
	end := func(node, conditions, hints string) string {
		return "{addresses: [10.0.0.1], nodeName: " + node + ", conditions: {" + conditions + "}, hints: {" + hints + "}}"
	}
	const stopped, stopping, ready = "ready: false, serving: false, terminating: true", "ready: false, serving: true, terminating: true", "ready: true"
	for _, tc := range []struct{ name, one, other, want string }{
		{"stopped here, ready elsewhere", end("node-a", stopped, ""), end("node-b", ready, ""), `
cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080
external 192.0.2.1:80/tcp -> 10.0.0.1:8080 | none
health check 30001: 0 -1
`},
		{"serving while it stops here, ready elsewhere", end("node-a", stopping, ""), end("node-b", ready, ""), `
cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080
external 192.0.2.1:80/tcp -> 10.0.0.1:8080 | none
health check 30001: 0 -1
`},
		{"serving while it stops here, not ready yet elsewhere", end("node-a", stopping, ""), end("node-b", "ready: false, serving: false", ""), `
cluster 10.96.0.1:80/tcp -> none
external 192.0.2.1:80/tcp -> none | none
health check 30001: 0 -1
`},
		{"stopped elsewhere, ready here", end("node-b", stopped, ""), end("node-a", ready, ""), `
cluster 10.96.0.1:80/tcp -> *10.0.0.1:8080
external 192.0.2.1:80/tcp -> *10.0.0.1:8080 | *10.0.0.1:8080
health check 30001: 1 -1
`},
		{"stopped for our zone, ready for another", end("node-b", stopped, "forZones: [{name: a}]") + ", {addresses: [10.0.0.2], hints: {forZones: [{name: a}]}}",
			end("node-b", ready, "forZones: [{name: b}]"), `
cluster 10.96.0.1:80/tcp -> 10.0.0.2:8080
external 192.0.2.1:80/tcp -> 10.0.0.2:8080 | none
health check 30001: 0 -1
`},
	} {
		for _, texts := range [][]string{{slice(tc.one), slice(tc.other)}, {slice(tc.other), slice(tc.one)}, {slice(tc.one + ", " + tc.other)}, {slice(tc.other + ", " + tc.one)}} {
			if got, _ := model(t, local, texts...); got != tc.want[1:] {
				t.Errorf("%s: the model is\n%swant\n%s", tc.name, got, tc.want[1:])
			}
		}
	}
}

// An endpoint that is moving from one slice to another is in both, and the new
// slice's hints are newer; neither order may take it from those of its zone.
func TestHintsOfAnEndpointInTwoSlices(t *testing.T) {
	slice := func(hints string) string {
		return "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1], hints: {" + hints + "}}, {addresses: [10.0.0.2], hints: {forZones: [{name: b}]}}]"
	}
	with, without := slice("forZones: [{name: a}]"), slice("")
	for _, texts := range [][]string{{with, without}, {without, with}} {
		if got, _ := model(t, "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]", texts...); got != "cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080\n" {
			t.Errorf("the model is\n%s", got)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	const n, told = 250_000, 16
	slice := func(address string) *discoveryv1.EndpointSlice {
		s := endpointSlices(t, "addressType: IPv4\nports: [{name: http, port: 8080}]")[0]
		s.Endpoints = make([]discoveryv1.Endpoint, n)
		for i := range s.Endpoints {
			s.Endpoints[i].Addresses = []string{address}
		}
		return s
	}
	svc := service(t, "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]")
	_, list := proxy.Build(svc, []*discoveryv1.EndpointSlice{slice("x")}, here)
	if len(list) != told+1 {
		t.Fatalf("%d problems are told", len(list))
	}
	if got, want := problemLines(list[told:]), fmt.Sprintf("MoreProblems endpointslice ns/web-0: endpoints: %d more problems like these\n", n-told); got != want {
		t.Errorf("the last one is\n%swant\n%s", got, want)
	}
	// Each object has its own bound: one slice does not hide what is wrong with
	// another. What is only a warning stays one when it is not told.
	other := endpointSlices(t, "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [z9]}]")[0]
	_, list = proxy.Build(svc, []*discoveryv1.EndpointSlice{slice("010.0.0.1"), other}, here)
	if len(list) != told+2 || !list[told].Warning || list[told+1].Warning || !strings.Contains(list[told+1].Message, `"z9"`) {
		t.Errorf("the problems are\n%s", problemLines(list))
	}
	// As many as are told need no last line.
	s := slice("x")
	s.Endpoints = s.Endpoints[:told]
	if _, list = proxy.Build(svc, []*discoveryv1.EndpointSlice{s}, here); len(list) != told {
		t.Errorf("of %d problems %d are told", told, len(list))
	}
	// An error behind many warnings is an error all the same.
	s = slice("010.0.0.1")
	s.Endpoints[n-1].Addresses = nil
	if _, list = proxy.Build(svc, []*discoveryv1.EndpointSlice{s}, here); list[told].Warning {
		t.Errorf("the last one is\n%s", problemLines(list[told:]))
	}
}

func TestServiceCIDRs(t *testing.T) {
	objects := []*networkingv1.ServiceCIDR{
		decode[networkingv1.ServiceCIDR](t, "metadata: {name: b}\nspec: {cidrs: ['fd00:96::1/112', 10.97.3.4/16]}"),
		decode[networkingv1.ServiceCIDR](t, "metadata: {name: a}\nspec: {cidrs: [10.97.0.0/16, 10.96.0.0]}"),
	}
	got, problems := proxy.ServiceCIDRs(objects)
	if text := fmt.Sprint(got); text != "[10.97.0.0/16 fd00:96::/112]" {
		t.Errorf("the networks are %s", text)
	}
	if text := problemLines(problems); text != "InvalidAddress servicecidr a: spec.cidrs[1]: \"10.96.0.0\" is not a CIDR such as 10.96.0.0/16; it is left out\n" {
		t.Errorf("the problems are\n%s", text)
	}
	// What is something else's is never taken for ClusterIPs', and pods' networks may be
	// told larger than they are.
	taken := proxy.Node{Addresses: here.Addresses}.Taken([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/9"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00:254::/64")})
	for cidr, by := range map[string]string{
		"0.0.0.0/0": "loopback (127.0.0.0/8)", "::/0": "loopback (::1/128)", "127.0.0.0/16": "loopback (127.0.0.0/8)",
		"169.254.1.0/24": "link-local addresses (169.254.0.0/16)", "224.0.0.0/24": "multicast (224.0.0.0/4)",
		"fe80::/64": "link-local addresses (fe80::/10)", "ff00::/8": "multicast (ff00::/8)", "128.0.0.0/1": "link-local addresses (169.254.0.0/16)",
		"10.240.0.0/16": "this node (10.240.0.11/32)", "fd00:240::/32": "this node (fd00:240::11/128)",
		"10.0.0.0/9": "pods (10.0.0.0/9)", "fd00:200::/24": "this node (fd00:240::11/128)", "fd00:254::/60": "pods (fd00:254::/64)",
		"10.96.0.0/12": "", "10.128.0.0/12": "", "fd00:254::/112": "", "192.0.2.0/24": "",
	} {
		cidrs, problems := proxy.ServiceCIDRs([]*networkingv1.ServiceCIDR{{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr}}}}, taken...)
		switch {
		case by == "" && (len(cidrs) != 1 || len(problems) > 0):
			t.Errorf("%s is left out: %s", cidr, problemLines(problems))
		case by != "" && (len(cidrs) > 0 || len(problems) != 1 || problems[0].Reason != proxy.ReasonNotForClusterIPs || !strings.Contains(problems[0].Message, "has addresses of "+by+",")):
			t.Errorf("%s is taken as %v with %s, want it left out for %s", cidr, cidrs, problemLines(problems), by)
		}
	}
	objects[0].Spec.CIDRs = slices.Repeat([]string{"x"}, 20)
	if _, problems = proxy.ServiceCIDRs(objects[:1]); len(problems) != 17 || problems[16].Message != "4 more problems like these" {
		t.Errorf("the problems are\n%s", problemLines(problems))
	}
}

// A node without a name or a zone must not take hints or endpoints that name
// none for its own.
func TestNodeWithoutName(t *testing.T) {
	slice := "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1], nodeName: ''}, {addresses: [10.0.0.2], nodeName: node-a}]"
	svc, _ := proxy.Build(service(t, "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]"), endpointSlices(t, slice), proxy.Node{})
	if got := lines(svc); got != "cluster 10.96.0.1:80/tcp -> 10.0.0.1:8080 10.0.0.2:8080\n" {
		t.Errorf("the model is\n%s", got)
	}
}

// This Service was in a report of kube-proxy's rules, whose order it has to have.
func TestDNSExample(t *testing.T) {
	text, err := os.ReadFile("../examples/dns-default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, second, ok := strings.Cut(string(text), "\n---\n")
	if !ok {
		t.Fatal("the example is not two documents")
	}
	var svc corev1.Service
	var slice discoveryv1.EndpointSlice
	if err := yaml.UnmarshalStrict([]byte(first), &svc); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(second), &slice); err != nil {
		t.Fatal(err)
	}
	got, problems := proxy.Build(&svc, []*discoveryv1.EndpointSlice{&slice}, here)
	endpoints := func(port int) string {
		var all []string
		for _, a := range []string{"10.254.0.92", "10.254.1.115", "10.254.2.131", "10.254.3.114", "10.254.4.74", "10.254.6.95"} {
			all = append(all, fmt.Sprintf("%s:%d", a, port))
		}
		return strings.Join(all, " ")
	}
	want := "cluster 172.30.0.10:53/udp -> " + endpoints(5353) + "\ncluster 172.30.0.10:53/tcp -> " + endpoints(5353) + "\ncluster 172.30.0.10:9153/tcp -> " + endpoints(9153) + "\n"
	if lines(got) != want || len(problems) > 0 {
		t.Errorf("the model is\n%swant\n%s%s", lines(got), want, problemLines(problems))
	}
}

func TestTexts(t *testing.T) {
	name := proxy.Name{Namespace: "ns", Name: "web"}
	for got, want := range map[string]string{
		name.String():                           "ns/web",
		proxy.Name{Name: "node"}.String():       "node",
		proxy.Port{}.FullName(name):             "ns/web",
		proxy.Port{Name: "http"}.FullName(name): "ns/web:http",
		proxy.TCP.String() + proxy.UDP.String(): "tcpudp",
		proxy.SCTP.String():                     "sctp",
		proxy.Protocol(1).String():              "unknown",
		fmt.Sprint((&proxy.Port{}).External()):  "false",
		proxy.Conflict{
			Frontend: proxy.Frontend{Addr: netip.MustParseAddr("fd00::1")}, Protocol: proxy.UDP, Port: 53, Owner: name,
		}.String(): "[fd00::1]:53 udp belongs to the older Service ns/web, so that this one does not get it; change one of the two",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
