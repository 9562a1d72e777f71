package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	namespace = "bench"
	nodeName  = "bench-node"
	// probes are Services whose endpoints are changed to see how long it takes.
	probes = 4
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// cluster is the objects that all proxies are measured on: one API server, so many
// Services, and an EndpointSlice for each.
type cluster struct {
	api     *testbed.ControlPlane
	outside *testbed.Node // where the API server is
	clients *kubernetes.Clientset
	size
	// others are the frontends and endpoints of other Services: the probes', and
	// the API server's own.
	others size
}

func newCluster(ctx context.Context) (*cluster, error) {
	outside, err := testbed.NewNode(addr("10.240.0.1"))
	if err != nil {
		return nil, err
	}
	c := &cluster{outside: outside}
	if err := c.start(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context) error {
	host, err := c.outside.AddClient("control-plane", addr("198.18.0.2"))
	if err != nil {
		return err
	}
	if c.api, err = testbed.StartControlPlane(testbed.ControlPlaneOptions{Host: host, NoControllers: true}); err != nil {
		return err
	}
	config := rest.CopyConfig(c.api.Config)
	config.ContentType = runtime.ContentTypeProtobuf
	if c.clients, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if err := c.api.Namespace(ctx, namespace); err != nil {
		return err
	}
	if _, err := c.api.Node(ctx, nodeName, nil, nodeAddr); err != nil {
		return err
	}
	for i := range probes {
		if err := c.create(ctx, c.service(mostServices+i), c.probe(i, 0)); err != nil {
			return err
		}
	}
	c.others = size{probes + 1, probes + 1}
	return nil
}

func (c *cluster) close() {
	if c.api != nil {
		c.api.Stop()
	}
	c.outside.Close()
}

// frontends and allEndpoints are how many a proxy has to program.
func (c *cluster) frontends() int    { return c.services + c.others.services }
func (c *cluster) allEndpoints() int { return c.total() + c.others.endpoints }

// becomes makes the cluster one of another size.
func (c *cluster) becomes(ctx context.Context, s size, progress func(done, of int)) error {
	var done atomic.Int64
	work := c.parallel()
	all := max(c.services, s.services)
	const together = 40
	for from := 0; from < all; from += together {
		work.Go(func() error {
			var objects []testbed.Stored
			for i := from; i < min(from+together, all); i++ {
				switch {
				case i >= s.services:
					if err := c.delete(ctx, c.service(i).Name, sliceName(i)); err != nil {
						return err
					}
				case i >= c.services:
					objects = append(objects, stored(c.service(i), c.slice(i, s.endpoints))...)
				case c.endpoints != s.endpoints:
					if err := c.update(ctx, c.slice(i, s.endpoints)); err != nil {
						return err
					}
				}
				progress(int(done.Add(1)), all)
			}
			return c.api.Store(ctx, objects...)
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	c.size = s
	return c.known(ctx)
}

// known waits until the API server has heard of all Services and slices from etcd.
func (c *cluster) known(ctx context.Context) error {
	return testbed.Wait(time.Minute, "the API server to know all Services", func() error {
		cached := metav1.ListOptions{ResourceVersion: "0"}
		services, err := c.clients.CoreV1().Services(namespace).List(ctx, cached)
		if err != nil {
			return err
		}
		slices, err := c.clients.DiscoveryV1().EndpointSlices(namespace).List(ctx, cached)
		if err != nil {
			return err
		}
		if want := c.services + probes; len(services.Items) != want || len(slices.Items) != want {
			return fmt.Errorf("it knows %d Services and %d EndpointSlices of %d", len(services.Items), len(slices.Items), want)
		}
		return nil
	})
}

// stored are a Service, its slice and its address as the API server stores them.
func stored(service *corev1.Service, slice *discoveryv1.EndpointSlice) []testbed.Stored {
	ip := service.Spec.ClusterIP
	single, cluster := corev1.IPFamilyPolicySingleStack, corev1.ServiceInternalTrafficPolicyCluster
	spec := &service.Spec
	spec.Type, spec.ClusterIPs, spec.IPFamilies, spec.IPFamilyPolicy = corev1.ServiceTypeClusterIP, []string{ip}, []corev1.IPFamily{corev1.IPv4Protocol}, &single
	spec.SessionAffinity, spec.InternalTrafficPolicy = corev1.ServiceAffinityNone, &cluster
	spec.Ports[0].Protocol, spec.Ports[0].TargetPort = corev1.ProtocolTCP, intstr.FromInt32(spec.Ports[0].Port)
	tcp := corev1.ProtocolTCP
	slice.Ports[0].Protocol = &tcp
	address := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(corev1.IPv4Protocol),
			networkingv1.LabelManagedBy:       "ipallocator.k8s.io",
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: service.Name}},
	}
	now := metav1.Now()
	for _, meta := range []*metav1.ObjectMeta{&service.ObjectMeta, &slice.ObjectMeta, &address.ObjectMeta} {
		meta.UID, meta.CreationTimestamp, meta.Generation = uuid.NewUUID(), now, 1
	}
	service.Namespace, slice.Namespace = namespace, namespace
	return []testbed.Stored{
		{Key: "/registry/ipaddresses/" + ip, Version: networkingv1.SchemeGroupVersion, Object: address},
		{Key: "/registry/services/specs/" + namespace + "/" + service.Name, Version: corev1.SchemeGroupVersion, Object: service},
		{Key: "/registry/endpointslices/" + namespace + "/" + slice.Name, Version: discoveryv1.SchemeGroupVersion, Object: slice},
	}
}

// restore gives Services back the endpoints that they had before a benchmark.
func (c *cluster) restore(ctx context.Context, services []int) error {
	work := c.parallel()
	for _, i := range services {
		work.Go(func() error { return c.update(ctx, c.slice(i, c.endpoints)) })
	}
	for i := range probes {
		work.Go(func() error { return c.update(ctx, c.probe(i, 0)) })
	}
	return work.Wait()
}

// parallel has so many clients that the API server is what work waits for.
func (c *cluster) parallel() *errgroup.Group {
	var group errgroup.Group
	group.SetLimit(32)
	return &group
}

func serviceName(i int) string { return fmt.Sprintf("svc-%d", i) }
func sliceName(i int) string   { return serviceName(i) + "-a" }

// clusterIP is that of the i-th Service. To say it is quicker than to have the API
// server find one.
func clusterIP(i int) netip.Addr { return addrOf(10<<24 | 96<<16 + 256 + uint32(i)) }

// frontend is where the i-th Service is reached.
func frontend(i int) netip.AddrPort { return netip.AddrPortFrom(clusterIP(i), 80) }

// endpointAddr is that of the j-th endpoint of the i-th Service, in the
// first of podNetworks.
func endpointAddr(i, j int) netip.Addr { return addrOf(10<<24 | 128<<16 + uint32(i*mostEndpoints+j)) }

// service is the i-th Service, and others have a number of their own.
func (c *cluster) service(i int) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName(i)},
		Spec: corev1.ServiceSpec{
			ClusterIP: clusterIP(i).String(),
			Ports:     []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
}

func (c *cluster) slice(i, endpoints int) *discoveryv1.EndpointSlice {
	var addrs []netip.Addr
	for j := range endpoints {
		addrs = append(addrs, endpointAddr(i, j))
	}
	return newSlice(serviceName(i), sliceName(i), addrs)
}

// newSlice is a slice with what a controller writes of each endpoint.
func newSlice(service, name string, addrs []netip.Addr) *discoveryv1.EndpointSlice {
	http, port, yes, no := "http", int32(8080), true, false
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &http, Port: &port}},
	}
	for _, a := range addrs {
		raw := a.As4()
		node := fmt.Sprintf("worker-%d", raw[3])
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{a.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			NodeName:   &node,
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("pod-%d-%d-%d", raw[1], raw[2], raw[3])},
		})
	}
	return slice
}

// probe is a probe's slice in one of its states: one endpoint, another one, or two
// others.
func (c *cluster) probe(i, state int) *discoveryv1.EndpointSlice {
	n := mostServices + i
	addrs := probeStates(i)[state]
	return newSlice(serviceName(n), sliceName(n), addrs)
}

// probeStates are the endpoints that a probe has in each of its states.
func probeStates(i int) [3][]netip.Addr {
	n := mostServices + i
	return [3][]netip.Addr{{endpointAddr(n, 0)}, {endpointAddr(n, 1)}, {endpointAddr(n, 2), endpointAddr(n, 3)}}
}

func (c *cluster) create(ctx context.Context, service *corev1.Service, slices ...*discoveryv1.EndpointSlice) error {
	if _, err := c.clients.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, slice := range slices {
		if err := c.createSlice(ctx, slice); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) createSlice(ctx context.Context, slice *discoveryv1.EndpointSlice) error {
	_, err := c.clients.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	return err
}

func (c *cluster) update(ctx context.Context, slice *discoveryv1.EndpointSlice) error {
	_, err := c.clients.DiscoveryV1().EndpointSlices(namespace).Update(ctx, slice, metav1.UpdateOptions{})
	return err
}

func (c *cluster) delete(ctx context.Context, service string, slices ...string) error {
	if err := c.clients.CoreV1().Services(namespace).Delete(ctx, service, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	for _, slice := range slices {
		if err := c.clients.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, slice, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
