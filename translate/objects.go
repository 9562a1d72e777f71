package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// elsewhere is the node of endpoints that are not on ours: which, rules don't say.
const elsewhere = "another-node"

// Objects are the Services that the model is of, with their EndpointSlices, as far
// as a node's rules tell. Endpoints that are on this node have its name. The texts
// say what of a Service has no place in objects, or can't be told.
func Objects(services []proxy.Service, node string) (objects []runtime.Object, lost []string) {
	for i := range services {
		b := objectBuilder{svc: &services[i], node: node}
		objects = append(objects, b.service())
		objects = append(objects, b.slices()...)
		for _, text := range b.lost {
			lost = append(lost, fmt.Sprintf("service %s: %s", services[i].Name, text))
		}
	}
	return objects, lost
}

type objectBuilder struct {
	svc  *proxy.Service
	node string
	lost []string
	// ports are those of the Service, each once.
	ports []*servicePort
}

func (b *objectBuilder) lose(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.lost, text) {
		b.lost = append(b.lost, text)
	}
}

// servicePort is a port of the Service, with the endpoints of each family.
type servicePort struct {
	name     string
	protocol proxy.Protocol
	spec     corev1.ServicePort
	// endpoints are those of IPv4 and of IPv6.
	endpoints [2][]proxy.Endpoint
	// anyClient are those that the traffic policy Cluster has, where it is in use.
	anyClient map[netip.AddrPort]bool
}

func (b *objectBuilder) port(p *proxy.Port) *servicePort {
	for _, have := range b.ports {
		if have.name == p.Name && have.protocol == p.Protocol {
			return have
		}
	}
	made := &servicePort{name: p.Name, protocol: p.Protocol, anyClient: map[netip.AddrPort]bool{}}
	made.spec = corev1.ServicePort{Name: p.Name, Protocol: corev1.Protocol(strings.ToUpper(p.Protocol.String()))}
	b.ports = append(b.ports, made)
	return made
}

func (b *objectBuilder) service() *corev1.Service {
	svc := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: b.svc.Name.Namespace, Name: b.svc.Name.Name},
	}
	spec := &svc.Spec
	spec.Type = corev1.ServiceTypeClusterIP
	internal, external := corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyCluster
	for i := range b.svc.Ports {
		p := &b.svc.Ports[i]
		at := b.port(p)
		at.add(p)
		if p.InternalLocal {
			internal = corev1.ServiceInternalTrafficPolicyLocal
		}
		if p.LocalOnly {
			external = corev1.ServiceExternalTrafficPolicyLocal
		}
		if p.Elsewhere {
			b.lose("port %s has endpoints, but none on this node; which, rules do not tell: connections will be refused, and not dropped", at.text())
		}
		b.affinity(spec, p.Affinity)
		for _, f := range p.Frontends {
			b.frontend(svc, at, p, f)
		}
	}
	if spec.Type != corev1.ServiceTypeClusterIP || len(spec.ExternalIPs) > 0 {
		spec.ExternalTrafficPolicy = external
	}
	spec.InternalTrafficPolicy = &internal
	if b.svc.HealthCheck.Port != 0 {
		spec.Type, spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, int32(b.svc.HealthCheck.Port)
	}
	b.families(spec)
	for _, at := range b.ports {
		if at.spec.Port == 0 {
			at.spec.Port = at.spec.NodePort
			b.lose("port %s has a NodePort, but what its own number is, rules do not tell; %d is taken", at.text(), at.spec.Port)
		}
		at.spec.TargetPort = at.target()
		spec.Ports = append(spec.Ports, at.spec)
	}
	return svc
}

func (b *objectBuilder) affinity(spec *corev1.ServiceSpec, kept time.Duration) {
	if kept == 0 {
		if spec.SessionAffinity == "" {
			spec.SessionAffinity = corev1.ServiceAffinityNone
		}
		return
	}
	seconds := int32(kept / time.Second)
	if had := spec.SessionAffinityConfig; had != nil && *had.ClientIP.TimeoutSeconds != seconds {
		b.lose("clients keep endpoints for %d s at one port and for %d s at another; a Service has one time for all", *had.ClientIP.TimeoutSeconds, seconds)
	}
	spec.SessionAffinity = corev1.ServiceAffinityClientIP
	spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
}

// frontend adds an address to the Service.
func (b *objectBuilder) frontend(svc *corev1.Service, at *servicePort, p *proxy.Port, f proxy.Frontend) {
	spec, text := &svc.Spec, f.Addr.String()
	if f.Kind == proxy.NodePort {
		at.spec.NodePort = int32(p.Port)
		if spec.Type == corev1.ServiceTypeClusterIP {
			spec.Type = corev1.ServiceTypeNodePort
		}
		return
	}
	if at.spec.Port != 0 && at.spec.Port != int32(p.Port) {
		b.lose("port %s has two numbers, %d and %d; the first is taken", at.text(), at.spec.Port, p.Port)
	} else {
		at.spec.Port = int32(p.Port)
	}
	switch f.Kind {
	case proxy.ClusterIP:
		if !slices.Contains(spec.ClusterIPs, text) {
			spec.ClusterIPs = append(spec.ClusterIPs, text)
		}
	case proxy.ExternalIP:
		if !slices.Contains(spec.ExternalIPs, text) {
			spec.ExternalIPs = append(spec.ExternalIPs, text)
		}
	case proxy.LoadBalancerIP:
		spec.Type = corev1.ServiceTypeLoadBalancer
		mode := corev1.LoadBalancerIPModeVIP
		ingress := corev1.LoadBalancerIngress{IP: text, IPMode: &mode}
		if !slices.ContainsFunc(svc.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool { return i.IP == text }) {
			svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, ingress)
		}
		for _, r := range p.SourceRanges {
			if text := r.String(); !slices.Contains(spec.LoadBalancerSourceRanges, text) {
				spec.LoadBalancerSourceRanges = append(spec.LoadBalancerSourceRanges, text)
			}
		}
	}
}

// families says which IP families the ClusterIPs are of, IPv4 first.
func (b *objectBuilder) families(spec *corev1.ServiceSpec) {
	if len(spec.ClusterIPs) == 0 {
		b.lose("its ClusterIP is not among the rules; write one")
		return
	}
	slices.SortStableFunc(spec.ClusterIPs, func(a, b string) int {
		return strings.Count(a, ":") - strings.Count(b, ":")
	})
	spec.ClusterIP = spec.ClusterIPs[0]
	policy := corev1.IPFamilyPolicySingleStack
	for _, text := range spec.ClusterIPs {
		family := corev1.IPv4Protocol
		if strings.Contains(text, ":") {
			family = corev1.IPv6Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, family)
	}
	if len(spec.ClusterIPs) > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	spec.IPFamilyPolicy = &policy
}

// add takes the endpoints of one way to the port: all of them, wherever they serve.
func (p *servicePort) add(way *proxy.Port) {
	if !way.InternalLocal {
		for _, e := range way.Endpoints {
			p.anyClient[e.AddrPort] = true
		}
	}
	for _, list := range [][]proxy.Endpoint{way.LocalEndpoints, way.Endpoints} {
		for _, e := range list {
			family := &p.endpoints[1]
			if e.Addr().Is4() {
				family = &p.endpoints[0]
			}
			i := slices.IndexFunc(*family, func(have proxy.Endpoint) bool { return have.AddrPort == e.AddrPort })
			if i < 0 {
				*family = append(*family, e)
			} else if e.Local {
				(*family)[i].Local = true
			}
		}
	}
}

// target is the endpoints' port number, or the port's name if they have several.
func (p *servicePort) target() intstr.IntOrString {
	number := p.spec.Port
	for i, e := range slices.Concat(p.endpoints[0], p.endpoints[1]) {
		if i > 0 && int32(e.Port()) != number {
			return intstr.FromString(p.name)
		}
		number = int32(e.Port())
	}
	return intstr.FromInt32(number)
}

func (p *servicePort) text() string {
	if p.name == "" {
		return fmt.Sprintf("%d/%s", p.spec.Port, p.protocol)
	}
	return p.name
}

// slices are the EndpointSlices: ports that have the same endpoints share one.
func (b *objectBuilder) slices() []runtime.Object {
	var all []runtime.Object
	local := b.localAddrs()
	for family, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		groups := map[string]*discoveryv1.EndpointSlice{}
		for _, p := range b.ports {
			for number, addrs := range byNumber(p.endpoints[family]) {
				hints := p.hints(family, number, addrs, b.node)
				key := fmt.Sprint(addrs, hints)
				slice := groups[key]
				if slice == nil || slices.ContainsFunc(slice.Ports, func(have discoveryv1.EndpointPort) bool { return *have.Name == p.name }) {
					slice = b.slice(kind, len(all)+1, addrs, local, hints)
					groups[key] = slice
					all = append(all, slice)
				}
				name, protocol, port := p.name, p.spec.Protocol, int32(number)
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port})
			}
		}
	}
	return all
}

// hints keep endpoints that only the policy Local has from other clients: they are
// meant for another node, which that policy does not heed. There are none where
// there is no such endpoint.
func (p *servicePort) hints(family int, number uint16, addrs []netip.Addr, node string) []string {
	all := true
	for _, e := range p.endpoints[family] {
		all = all && p.anyClient[e.AddrPort]
	}
	if all || len(p.anyClient) == 0 {
		return nil
	}
	nodes := make([]string, len(addrs))
	for i, a := range addrs {
		nodes[i] = elsewhere
		if p.anyClient[netip.AddrPortFrom(a, number)] {
			nodes[i] = node
		}
	}
	return nodes
}

// byNumber goes through the endpoints' port numbers, lowest first, and gives the
// addresses that have each.
func byNumber(endpoints []proxy.Endpoint) func(yield func(uint16, []netip.Addr) bool) {
	return func(yield func(uint16, []netip.Addr) bool) {
		var numbers []uint16
		addrs := map[uint16][]netip.Addr{}
		for _, e := range endpoints {
			if addrs[e.Port()] == nil {
				numbers = append(numbers, e.Port())
			}
			addrs[e.Port()] = append(addrs[e.Port()], e.Addr())
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			slices.SortFunc(addrs[n], netip.Addr.Compare)
			if !yield(n, addrs[n]) {
				return
			}
		}
	}
}

// localAddrs are the endpoints of which it is known where they are: on this node,
// or, where the policy Local tells them apart, elsewhere.
func (b *objectBuilder) localAddrs() map[netip.Addr]string {
	nodes := map[netip.Addr]string{}
	for i := range b.svc.Ports {
		p := &b.svc.Ports[i]
		for _, e := range slices.Concat(p.Endpoints, p.LocalEndpoints) {
			switch {
			case e.Local:
				nodes[e.Addr()] = b.node
			case p.LocalOnly && nodes[e.Addr()] == "":
				nodes[e.Addr()] = elsewhere
			}
		}
	}
	return nodes
}

func (b *objectBuilder) slice(kind discoveryv1.AddressType, number int, addrs []netip.Addr, nodes map[netip.Addr]string, hints []string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.svc.Name.Namespace, Name: fmt.Sprintf("%s-%d", b.svc.Name.Name, number),
			Labels: map[string]string{discoveryv1.LabelServiceName: b.svc.Name.Name},
		},
		AddressType: kind,
	}
	yes := true
	for i, a := range addrs {
		e := discoveryv1.Endpoint{Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}
		if node := nodes[a]; node != "" {
			e.NodeName = &node
		}
		if hints != nil {
			e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: hints[i]}}}
		}
		slice.Endpoints = append(slice.Endpoints, e)
	}
	return slice
}
