package proxy_test

import (
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// What can't be understood of a Service is kept as it was; what its spec plainly
// dropped is not, whatever else is wrong with it.
func TestWhatIsDroppedIsNotKept(t *testing.T) {
	const (
		was      = "type: LoadBalancer, clusterIPs: [10.96.0.1, 'fd00:96::1'], externalIPs: [192.0.2.1], ports: [{name: http, port: 80, nodePort: 30080}, {name: more, port: 81, nodePort: 30081}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}"
		families = "clusterIPs: [10.96.0.1, 'fd00:96::1'], "
		both     = "ports: [{name: http, port: 80, nodePort: 30080}, {name: more, port: 81, nodePort: 30081}]"
		first    = "ports: [{name: http, port: 80, nodePort: 30080}]"
		balancer = "}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}"
	)
	for _, tc := range []struct {
		name, spec string
		want       map[string]bool // frontends, and whether they are there
	}{
		{
			"an address of no use, a port dropped", "type: LoadBalancer, " + families + first + "}\nstatus: {loadBalancer: {ingress: [{ip: 127.0.0.1}, {ip: 169.254.1.1}, {ip: 224.0.0.1}]}",
			map[string]bool{"node 10.240.0.11:30080": true, "node 10.240.0.11:30081": false, "10.96.0.1:81": false, "192.0.2.9:80": false, "192.0.2.1:80": false},
		},
		{
			"an address that can't be read, a port dropped", "type: LoadBalancer, " + families + "externalIPs: [x], " + first + balancer,
			map[string]bool{"external 192.0.2.1:80": true, "192.0.2.1:81": false, "node 10.240.0.11:30081": false, "balancer 192.0.2.9:80": true, "192.0.2.9:81": false},
		},
		{
			"a port that can't be read, an address dropped", "type: LoadBalancer, " + families + "ports: [{name: http, port: 80, nodePort: 30080}, {name: more, port: 99999, nodePort: 30081}]" + balancer,
			map[string]bool{"cluster 10.96.0.1:81": true, "balancer 192.0.2.9:81": true, "192.0.2.1": false, "node 10.240.0.11:30081": true},
		},
		{
			"ranges that can't be read, an address and a port dropped", "type: LoadBalancer, loadBalancerSourceRanges: [x], " + families + first + "}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.8}]}",
			map[string]bool{"192.0.2.9": false, "192.0.2.8": false, "10.96.0.1:81": false},
		},
		{
			"ranges that can't be read", "type: LoadBalancer, loadBalancerSourceRanges: [x], " + families + both + balancer,
			map[string]bool{"balancer 192.0.2.9:80": true, "balancer 192.0.2.9:81": true, "192.0.2.1": false},
		},
		{
			"a ClusterIP that can't be read", "type: NodePort, clusterIPs: [10.96.0.1, fd00], " + first,
			map[string]bool{"cluster [fd00:96::1]:80": true, "[fd00:96::1]:81": false, "10.96.0.1:81": false, "node [fd00:240::11]:30080": true, "192.0.2.9": false},
		},
		{
			"a NodePort that can't be read", "type: NodePort, " + families + "ports: [{name: http, port: 80, nodePort: 30080}, {name: more, port: 81, nodePort: 99999}]",
			map[string]bool{"node 10.240.0.11:30081": true, "cluster 10.96.0.1:81": true, "192.0.2.9": false},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxy.NewCluster()
			c.Set(claiming(t, "a", 2020, was, "10.0.0.1"))
			c.Set(claiming(t, "a", 2020, tc.spec, "10.0.0.1"))
			svc, _ := c.Granted(named("a"))
			got := lines(svc)
			for frontend, there := range tc.want {
				if strings.Contains(got, frontend) != there {
					t.Errorf("%s is there: %t, want %t, in\n%s", frontend, !there, there, got)
				}
			}
		})
	}
}
