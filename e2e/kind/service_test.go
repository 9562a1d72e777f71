package kind

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// service is of both families and both protocols, for the servers of the app that has
// its name. It is not created yet.
func (s *scene) service(name string) *corev1.Service {
	policy := corev1.IPFamilyPolicyRequireDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Selector:       map[string]string{"app": name},
			IPFamilyPolicy: &policy,
			Ports: []corev1.ServicePort{
				{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)},
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)},
			},
		},
	}
}

// balanced is a service of the type LoadBalancer.
func (s *scene) balanced(name string) *corev1.Service {
	svc := s.service(name)
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	return svc
}

// spares is how many spare addresses a scene has.
const spares = 8

// spare is an address of each family on the nodes' network that nobody has, and no
// scene before had: its namespace may still be there, and the older Service would have
// the address. What is sent there, and no node takes, ends on that network.
func (s *scene) spare(number int) (both []netip.Addr) {
	for _, subnet := range s.control.subnets {
		b := subnet.Addr().AsSlice()
		for i := subnet.Bits(); i < len(b)*8; i++ {
			b[i/8] |= 0x80 >> (i % 8)
		}
		a, _ := netip.AddrFromSlice(b)
		for range s.number*spares + number + 1 {
			a = a.Prev()
		}
		both = append(both, a)
	}
	return both
}

// balance does what a load balancer's controller would: it gives a Service addresses,
// and has the outside send what is for them to a node.
//
// These addresses are behind the link that the outside is on as well, of which the node
// tells it by redirects (ICMP) that it ignores. Linux lets one limit stand for these and
// for refusals, so that the outside is not told of refusals any more after the ninth
// (ip_rt_send_redirect and icmpv4_xrlim_allow): the node sends no redirects.
func (s *scene) balance(svc *corev1.Service, number int, n *node) {
	s.t.Helper()
	_, err := n.run("sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0")
	s.must(err)
	before := svc.DeepCopy()
	svc.Status.LoadBalancer.Ingress = nil
	for _, a := range s.spare(number) {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
		s.route(a, n)
	}
	s.must(s.Status().Patch(s.ctx, svc, client.MergeFrom(before)))
}

// frontend is an address and port of a Service.
type frontend struct {
	what string
	at   netip.AddrPort
}

// clusterIPs are those of a Service, at port 80.
func clusterIPs(svc *corev1.Service) (list []frontend) {
	for _, ip := range svc.Spec.ClusterIPs {
		list = append(list, frontend{svc.Name + "'s cluster IP", netip.AddrPortFrom(netip.MustParseAddr(ip), 80)})
	}
	return list
}

// externals are a Service's addresses for those outside of the cluster.
func externals(svc *corev1.Service) (list []frontend) {
	for _, ip := range svc.Spec.ExternalIPs {
		list = append(list, frontend{svc.Name + "'s external IP", netip.AddrPortFrom(netip.MustParseAddr(ip), 80)})
	}
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		list = append(list, frontend{svc.Name + "'s load balancer", netip.AddrPortFrom(netip.MustParseAddr(ingress.IP), 80)})
	}
	return list
}

// nodePorts are a Service's at nodes, for a protocol.
func nodePorts(svc *corev1.Service, protocol string, nodes ...*node) (list []frontend) {
	for _, n := range nodes {
		for _, subnet := range n.subnets {
			for _, port := range svc.Spec.Ports {
				if port.Name == protocol {
					list = append(list, frontend{svc.Name + "'s node port at " + n.name, netip.AddrPortFrom(subnet.Addr(), uint16(port.NodePort))})
				}
			}
		}
	}
	return list
}
