package dataplane_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// An endpoint that asks its own Service gets its own answer, wherever its slice says that
// it runs: here, nowhere, or, where pods of other nodes come with their own address,
// elsewhere.
func TestAnEndpointReachesItself(t *testing.T) { eachLayout(t, testAnEndpointReachesItself) }

func testAnEndpointReachesItself(t *testing.T, layout layoutOf) {
	w := newWorld(t, layout)
	const here, elsewhere = "node-a", "node-b"
	node := proxy.Node{Name: here, Addresses: nodeAddrs, NodePorts: nodeAddrs}
	external := [2]netip.Addr{addr("192.0.2.7"), addr("2001:db8::7")}
	for _, tc := range []struct {
		name     string
		pod      int // another where another answer is due: what was programmed goes late
		nodeName *string
		local    bool // the external traffic policy
		internal bool // whether it is asked by ClusterIP, too
	}{
		{"on this node", 0, ptr.To(here), false, true},
		{"on this node, with the policy Local", 0, ptr.To(here), true, true},
		{"on no node that its slice names", 1, nil, false, true},
		{"on no node that its slice names, with the policy Local", 1, nil, true, true},
		{"on a node without a name", 1, ptr.To(""), false, true},
		// Its own node translates what it sends to a ClusterIP.
		{"on another node", 2, ptr.To(elsewhere), false, false},
		{"on another node, with the policy Local", 2, ptr.To(elsewhere), true, false},
	} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "self"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIPs: []string{vip4, vip6}, ExternalIPs: []string{external[0].String(), external[1].String()},
			Ports: []corev1.ServicePort{{Name: "t", Protocol: "TCP", Port: 80, NodePort: 30080}, {Name: "u", Protocol: "UDP", Port: 80, NodePort: 30080}},
		}}
		if tc.local {
			svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
		pod := w.pods[tc.pod]
		var slices []*discoveryv1.EndpointSlice
		for i, a := range pod.Addrs {
			slices = append(slices, &discoveryv1.EndpointSlice{
				AddressType: []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}[i],
				Ports: []discoveryv1.EndpointPort{
					{Name: ptr.To("t"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](8080)},
					{Name: ptr.To("u"), Protocol: ptr.To(corev1.ProtocolUDP), Port: ptr.To[int32](8080)},
				},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{a.String()}, NodeName: tc.nodeName}},
			})
		}
		model, problems := proxy.Build(svc, slices, node)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		w.program(model)
		for i, vip := range []string{vip4, vip6} {
			ways := []netip.AddrPort{netip.AddrPortFrom(external[i], 80), netip.AddrPortFrom(nodeAddrs[i], 30080)}
			if tc.internal {
				ways = append(ways, netip.AddrPortFrom(addr(vip), 80))
			}
			for _, to := range ways {
				for _, protocol := range []string{"tcp", "udp"} {
					answer, err := pod.Ask(protocol, to, patience)
					switch {
					case err != nil:
						t.Errorf("%s: %s to %s: %v", tc.name, protocol, to, err)
					case answer.Server.Addr() != pod.Addrs[i] || answer.Client.Addr() != nodeAddrs[i]:
						t.Errorf("%s: %s to %s: %s answers, and sees %s", tc.name, protocol, to, answer.Server, answer.Client)
					}
				}
			}
		}
	}
}
