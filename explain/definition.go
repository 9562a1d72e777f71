package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// definition is the Service's spec.
func definition(svc *corev1.Service) Definition {
	spec := &svc.Spec
	d := Definition{
		Type: string(cmp.Or(spec.Type, corev1.ServiceTypeClusterIP)), ClusterIPs: spec.ClusterIPs, ExternalIPs: spec.ExternalIPs,
		SourceRanges: spec.LoadBalancerSourceRanges, InternalTrafficPolicy: string(corev1.ServiceInternalTrafficPolicyCluster),
		ExternalTrafficPolicy: string(spec.ExternalTrafficPolicy), SessionAffinity: string(cmp.Or(spec.SessionAffinity, corev1.ServiceAffinityNone)),
		HealthCheckNodePort: int(spec.HealthCheckNodePort), Ports: []DefinedPort{},
	}
	if len(d.ClusterIPs) == 0 {
		d.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.InternalTrafficPolicy != nil {
		d.InternalTrafficPolicy = string(*spec.InternalTrafficPolicy)
	}
	if spec.TrafficDistribution != nil {
		d.TrafficDistribution = *spec.TrafficDistribution
	}
	if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		d.AffinitySeconds = int(*c.ClientIP.TimeoutSeconds)
	}
	for _, i := range svc.Status.LoadBalancer.Ingress {
		if i.IP != "" {
			d.LoadBalancerIPs = append(d.LoadBalancerIPs, i.IP)
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		d.Ports = append(d.Ports, DefinedPort{
			Name: p.Name, Protocol: string(cmp.Or(p.Protocol, corev1.ProtocolTCP)), Port: int(p.Port), NodePort: int(p.NodePort), TargetPort: targetPort(p),
		})
	}
	return d
}

// targetPort is the port's at the pods; as the Service's own where none is named.
func targetPort(p *corev1.ServicePort) string {
	if text := p.TargetPort.String(); text != "0" && text != "" {
		return text
	}
	return fmt.Sprint(p.Port)
}

// pods are the endpoints of all slices, each address once, by address.
func (b *builder) pods() []Pod {
	pods := []Pod{}
	seen := map[string]bool{}
	for _, slice := range b.input.Slices {
		for i := range slice.Endpoints {
			p := b.pod(proxy.Origin{Slice: slice, Index: i})
			if key := p.Address + " " + p.Name; !seen[key] {
				seen[key] = true
				pods = append(pods, p)
			}
		}
	}
	slices.SortStableFunc(pods, func(a, b Pod) int { return compareAddresses(a.Address, b.Address) })
	return pods
}

// compareAddresses orders by address, what is none after those.
func compareAddresses(a, b string) int {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX != nil || errY != nil {
		return cmp.Or(cmp.Compare(btoi(errX != nil), btoi(errY != nil)), cmp.Compare(a, b))
	}
	return x.Compare(y)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (b *builder) pod(o proxy.Origin) Pod {
	e := o.Object()
	p := Pod{State: state(e.Conditions), Slice: o.Slice.Name, ForNodes: nodesOf(e.Hints), ForZones: zonesOf(e.Hints)}
	if len(e.Addresses) > 0 {
		p.Address = e.Addresses[0]
	}
	if e.TargetRef != nil {
		p.Name = e.TargetRef.Name
	}
	if e.NodeName != nil {
		p.NodeName = *e.NodeName
	}
	p.Here = p.NodeName == b.node.Name && p.NodeName != ""
	if e.Zone != nil {
		p.Zone = *e.Zone
	}
	return p
}
