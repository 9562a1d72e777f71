package controllers_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// slimmed is what the cache keeps of an object.
func slimmed[T client.Object](t *testing.T, object T) T {
	t.Helper()
	options, err := controllers.CacheOptions("node-a", proxy.ScopeAll, func(proxy.Name, time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	for kind, o := range options.ByObject {
		if _, ok := kind.(T); !ok {
			continue
		}
		kept, err := o.Transform(object.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		// A transformation may meet its own result.
		if kept, err = o.Transform(kept); err != nil {
			t.Fatal(err)
		}
		return kept.(T)
	}
	t.Fatalf("no transformation of %T", object)
	panic("unreachable")
}

// unpacked is what the model is built from, of an EndpointSlice that went through the
// cache.
func unpacked(t *testing.T, slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	t.Helper()
	packed, err := controllers.Pack(slice)
	if err != nil {
		t.Fatal(err)
	}
	out, err := slimmed(t, packed).Unpack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What the cache keeps of Services and EndpointSlices makes the same model, with
// the same problems, as the whole objects do. It fails when the model begins to
// use a field that slimming drops: all fields are set in some of the objects.
func TestSlimObjectsMakeTheSameModel(t *testing.T) {
	node := theNode()
	node.Zone, node.NodePorts = "text", node.Addresses // as in the hints of objects with all fields set
	for _, svc := range services() {
		small := slimmed(t, svc)
		if got, want := proxy.Handles(small, proxy.ScopeAll), proxy.Handles(svc, proxy.ScopeAll); got != want {
			t.Errorf("%s: whether it is ours is %t, of the whole object %t", svc.Name, got, want)
			continue
		}
		if !proxy.Handles(svc, proxy.ScopeAll) {
			continue
		}
		for _, slices := range sliceSets() {
			var kept []*discoveryv1.EndpointSlice
			for _, s := range slices {
				kept = append(kept, unpacked(t, s))
			}
			want, wantProblems := proxy.Build(svc, slices, node)
			got, problems := proxy.Build(small, kept, node)
			if !got.Equal(want) || !got.Created.Equal(want.Created) {
				t.Errorf("%s with %d slices: slim objects make\n%+v, whole ones\n%+v", svc.Name, len(slices), got, want)
			}
			if !reflect.DeepEqual(problems, wantProblems) {
				t.Errorf("%s with %d slices: slim objects have the problems %v, whole ones %v", svc.Name, len(slices), problems, wantProblems)
			}
		}
	}
}

// What no packet depends on is not kept.
func TestSlimObjectsAreSmall(t *testing.T) {
	for _, svc := range services() {
		small := slimmed(t, svc)
		want := &corev1.Service{ObjectMeta: identity(svc)}
		if name, ok := svc.Labels[proxy.LabelProxyName]; ok {
			want.Labels = map[string]string{proxy.LabelProxyName: name}
		}
		if proxy.Handles(svc, proxy.ScopeAll) {
			want.Spec = svc.Spec
			want.Spec.Selector = nil
			for _, b := range svc.Status.LoadBalancer.Ingress {
				want.Status.LoadBalancer.Ingress = append(want.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: b.IP, IPMode: b.IPMode})
			}
		} else {
			want.Spec = corev1.ServiceSpec{Type: svc.Spec.Type, ClusterIP: svc.Spec.ClusterIP}
		}
		if !reflect.DeepEqual(small, want) {
			t.Errorf("of Service %s this is kept:\n%+v\nwant\n%+v", svc.Name, small, want)
		}
	}
	for _, slices := range sliceSets() {
		for _, slice := range slices {
			small := unpacked(t, slice)
			want := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: slice.Namespace, Name: slice.Name, ResourceVersion: slice.ResourceVersion}, AddressType: slice.AddressType, Ports: slice.Ports, Endpoints: []discoveryv1.Endpoint{}}
			if name, ok := slice.Labels[discoveryv1.LabelServiceName]; ok {
				want.Labels = map[string]string{discoveryv1.LabelServiceName: name}
			}
			for _, e := range slice.Endpoints {
				want.Endpoints = append(want.Endpoints, discoveryv1.Endpoint{
					Addresses: e.Addresses[:min(1, len(e.Addresses))], Conditions: e.Conditions, NodeName: e.NodeName, Hints: e.Hints,
				})
			}
			if !reflect.DeepEqual(small, want) {
				t.Errorf("of EndpointSlice %s this is kept:\n%+v\nwant\n%+v", slice.Name, small, want)
			}
		}
	}
}

// identity is what is kept of every object's metadata.
func identity(o client.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		CreationTimestamp: o.GetCreationTimestamp(),
	}
}

// services are Services with all fields set and with none but what matters, ours
// and others', good and bad.
func services() []*corev1.Service {
	var all []*corev1.Service
	add := func(name string, change func(*corev1.Service)) {
		for _, everything := range []bool{true, false} {
			svc := &corev1.Service{}
			if everything {
				fill(reflect.ValueOf(svc).Elem())
				name += "-filled"
			}
			svc.TypeMeta, svc.Namespace, svc.Name = metav1.TypeMeta{}, "ns", name
			svc.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0))
			svc.Spec.Type = corev1.ServiceTypeClusterIP
			svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "10.96.0.10", []string{"10.96.0.10", "fd00:10:96::a"}
			svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
			for i, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
				var port corev1.ServicePort
				if everything {
					fill(reflect.ValueOf(&port).Elem())
				}
				port.Name, port.Protocol, port.Port = fmt.Sprintf("port-%d", i), protocol, int32(80+i)
				svc.Spec.Ports = append(svc.Spec.Ports[:i:i], port)
			}
			if change != nil {
				change(svc)
			}
			all = append(all, svc)
		}
	}
	add("plain", nil)
	add("load-balancer", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 30001
		s.Spec.LoadBalancerSourceRanges, s.Spec.ExternalIPs = []string{"198.18.0.0/15"}, []string{"192.0.2.9"}
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "192.0.2.2", IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)}}
	})
	add("internal-local", func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	})
	add("node-port", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	add("external-name", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeExternalName, "", nil
	})
	add("headless", func(s *corev1.Service) {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	})
	add("foreign", func(s *corev1.Service) { s.Labels = map[string]string{proxy.LabelProxyName: "another"} })
	add("named", func(s *corev1.Service) { s.Labels = map[string]string{proxy.LabelProxyName: proxy.ProxyName} })
	add("old", func(s *corev1.Service) { s.Spec.ClusterIPs = nil })
	add("bad", func(s *corev1.Service) {
		s.Spec.ClusterIPs = []string{"nowhere", "10.96.0.010"}
		s.Spec.Ports[1].Protocol, s.Spec.Ports[2].Port = "none", 0
	})
	return all
}

// sliceSets are sets of slices of one Service.
func sliceSets() [][]*discoveryv1.EndpointSlice {
	yes, no := ptr.To(true), ptr.To(false)
	states := []discoveryv1.EndpointConditions{
		{}, {Ready: yes}, {Ready: no}, {Ready: no, Serving: yes, Terminating: yes}, {Ready: no, Serving: no, Terminating: yes}, {Ready: yes, Serving: yes, Terminating: no},
	}
	slice := func(name string, everything bool, kind discoveryv1.AddressType, addresses ...string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{}
		if everything {
			fill(reflect.ValueOf(s).Elem())
		}
		s.TypeMeta, s.Namespace, s.Name, s.AddressType = metav1.TypeMeta{}, "ns", name, kind
		s.Labels = map[string]string{discoveryv1.LabelServiceName: "web", "other": "label"}
		s.Ports, s.Endpoints = nil, nil
		for i, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(fmt.Sprintf("port-%d", i)), Protocol: &protocol, Port: ptr.To(int32(8080 + i))})
		}
		for i, a := range addresses {
			var e discoveryv1.Endpoint
			if everything {
				fill(reflect.ValueOf(&e).Elem())
			}
			e.Addresses = []string{a, "192.0.2.1"}
			e.Conditions = states[i%len(states)]
			e.NodeName = []*string{nil, ptr.To("node-a"), ptr.To("node-b")}[i%3]
			s.Endpoints = append(s.Endpoints, e)
		}
		return s
	}
	var sets [][]*discoveryv1.EndpointSlice
	for _, everything := range []bool{true, false} {
		four := slice("four", everything, discoveryv1.AddressTypeIPv4, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.240.0.11")
		six := slice("six", everything, discoveryv1.AddressTypeIPv6, "fd00::1", "fd00::2")
		down := slice("down", everything, discoveryv1.AddressTypeIPv4, "10.0.1.1", "10.0.1.2", "10.0.1.3")
		for i := range down.Endpoints {
			down.Endpoints[i].Conditions = states[2+i]
		}
		bad := slice("bad", everything, discoveryv1.AddressTypeIPv4, "nowhere", "fd00::3", "10.0.0.07")
		bad.Endpoints = append(bad.Endpoints, discoveryv1.Endpoint{})
		names := slice("names", everything, discoveryv1.AddressTypeFQDN, "example.com")
		sets = append(sets, nil, []*discoveryv1.EndpointSlice{four}, []*discoveryv1.EndpointSlice{four, six, names}, []*discoveryv1.EndpointSlice{down}, []*discoveryv1.EndpointSlice{four, bad})
	}
	return sets
}

// fill sets every field to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("text")
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint32:
		if v.CanInt() {
			v.SetInt(7)
		} else {
			v.SetUint(7)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[metav1.Time]() {
			v.Set(reflect.ValueOf(metav1.NewTime(time.Unix(2e9, 0))))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic(fmt.Sprintf("%s is of a kind that no API object has", v.Type()))
	}
}
