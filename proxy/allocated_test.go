package proxy_test

import (
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// What the API server allocated to a Service is that Service's, however old another one
// is that writes the same address, and in whatever order the two come. The other one gets
// it when the first is gone.
func TestWhatIsAllocatedComesFirst(t *testing.T) {
	const plain, port = "ports: [{name: http, port: 80}]", "ports: [{name: http, port: 80, nodePort: 30080}]"
	for _, tc := range []struct{ name, allocated, written, at string }{
		{"a ClusterIP and an external IP", "clusterIP: 10.96.0.71, " + plain, "clusterIP: 10.96.0.1, externalIPs: [10.96.0.71], " + plain, "10.96.0.71:80/tcp"},
		{"a ClusterIP and a load balancer", "clusterIP: 10.96.0.71, " + plain, "type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 10.96.0.71}]}", "10.96.0.71:80/tcp"},
		{"a ClusterIP and a NodePort", "clusterIP: 10.240.0.11, ports: [{name: http, port: 30080}]", "type: NodePort, clusterIP: 10.96.0.1, " + port, "10.240.0.11:30080/tcp"},
		{"a ClusterIP of IPv6 and an external IP", "clusterIP: 'fd00::71', " + plain, "clusterIPs: [10.96.0.1, 'fd00::1'], externalIPs: ['fd00::71'], " + plain, "[fd00::71]:80/tcp"},
		{"a NodePort and an external IP", "type: NodePort, clusterIP: 10.96.0.71, " + port, "clusterIP: 10.96.0.1, externalIPs: [10.240.0.11], ports: [{name: http, port: 30080}]", "10.240.0.11:30080/tcp"},
		{"a NodePort and a load balancer", "type: NodePort, clusterIP: 10.96.0.71, " + port, "type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{name: http, port: 30080}]}\nstatus: {loadBalancer: {ingress: [{ip: 10.240.0.11}]}", "10.240.0.11:30080/tcp"},
		{"a health check node port and an external IP", "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000, clusterIP: 10.96.0.71, ports: [{name: http, port: 80}]", "clusterIP: 10.96.0.1, externalIPs: [10.240.0.11], ports: [{name: http, port: 32000}]", "10.240.0.11:32000/tcp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			allocated, written := claiming(t, "new", 2024, tc.allocated, "10.0.0.1"), claiming(t, "squat", 2020, tc.written, "10.0.0.2")
			for _, order := range [][]proxy.Service{{allocated, written}, {written, allocated}, {written, allocated, written}, {allocated, written, allocated}} {
				c := proxy.NewCluster()
				for _, svc := range order {
					c.Set(svc)
				}
				squat, _ := c.Granted(written.Name)
				lost := c.Conflicts(written.Name)
				if strings.Contains(lines(squat), tc.at) || len(lost) != 1 || !strings.Contains(lost[0].String(), "was allocated to Service ns/new") {
					t.Errorf("the one that writes the address is granted\n%sand told %v", lines(squat), lost)
				}
				if lost := c.Conflicts(allocated.Name); len(lost) > 0 {
					t.Errorf("the one that it is allocated to does not get it: %v", lost)
				}
				wantNames(t, "the allocated one goes", c.Delete(allocated.Name), "new", "squat")
				if squat, _ = c.Granted(written.Name); !strings.Contains(lines(squat), tc.at) || len(c.Conflicts(written.Name)) > 0 {
					t.Errorf("with the other gone, it is granted\n%s", lines(squat))
				}
			}
		})
	}
}

// The addresses of API servers are those of default/kubernetes: nodes reach them there.
// With the API server's slice they come and go.
func TestAddressesOfTheAPIServer(t *testing.T) {
	const written = "clusterIP: 10.96.0.71, externalIPs: [10.240.0.5], ports: [{name: http, port: 8080}]"
	squat := claiming(t, "squat", 2010, written, "10.0.0.2")
	for _, tc := range []struct {
		name     proxy.Name
		endpoint string
		lost     int
	}{
		{proxy.Name{Namespace: "default", Name: "kubernetes"}, "10.240.0.5", 1},
		{proxy.Name{Namespace: "default", Name: "kubernetes"}, "10.240.0.6", 0},
		{proxy.Name{Namespace: "ns", Name: "kubernetes"}, "10.240.0.5", 0},
	} {
		server := claiming(t, "kubernetes", 2020, "clusterIP: 10.96.0.1, ports: [{name: http, port: 443}]", tc.endpoint)
		server.Name = tc.name
		for _, order := range [][]proxy.Service{{server, squat}, {squat, server}} {
			c := proxy.NewCluster()
			for _, svc := range order {
				c.Set(svc)
			}
			if lost := c.Conflicts(squat.Name); len(lost) != tc.lost {
				t.Errorf("%s at %s: the other Service loses %v", tc.name, tc.endpoint, lost)
			}
			if lost := c.Conflicts(server.Name); len(lost) != 0 {
				t.Errorf("%s at %s loses %v", tc.name, tc.endpoint, lost)
			}
			c.Delete(server.Name)
			if lost := c.Conflicts(squat.Name); len(lost) != 0 {
				t.Errorf("with %s gone, the other Service loses %v", tc.name, lost)
			}
		}
	}
}
