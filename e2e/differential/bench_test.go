package differential

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// BenchmarkFirstPacket is the time that a pod's first packet of a UDP flow takes
// through the node, to a Service with 1 000 endpoints, with and without session
// affinity, beside kube-proxy in the same run; "no Service" is the same way without
// any translation.
//
//	go test -run '^$' -bench FirstPacket ./e2e/differential
func BenchmarkFirstPacket(b *testing.B) {
	const endpoints = 1000
	suite := newTestSuite(b, options{})
	plain, sticky := bigService(b, suite, "plain", endpoints, false), bigService(b, suite, "sticky", endpoints, true)
	if err := suite.settle(context.Background()); err != nil {
		b.Fatal(err)
	}
	for _, to := range []struct {
		what string
		ip   string
	}{{"no Service", "10.245.0.1"}, {"Service", plain}, {"Service with affinity", sticky}} {
		for _, side := range []*side{suite.theirs, suite.ours} {
			b.Run(fmt.Sprintf("%s/%s", to.what, side.name), func(b *testing.B) {
				if _, err := side.node.Run("conntrack", "-F"); err != nil {
					b.Fatal(err)
				}
				err := side.hosts["pod"].Do(func() error { return firstPackets(b, netip.MustParseAddr(to.ip)) })
				if err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// firstPackets sends b.N packets, each the first of its flow. On the veth between
// pod and node, a packet is through the node when its send returns.
func firstPackets(b *testing.B, to netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	dst := &unix.SockaddrInet4{Addr: to.As4()}
	// A UDP header: source port, destination port 53, length, no checksum.
	packet := []byte{0, 0, 0, 53, 0, 12, 0, 0, 'p', 'i', 'n', 'g'}
	port := uint16(1024)
	for b.Loop() {
		if port++; port == 0 {
			port = 1024
		}
		packet[0], packet[1] = byte(port>>8), byte(port)
		if err := unix.Sendto(fd, packet, 0, dst); err != nil {
			return err
		}
	}
	return nil
}

// bigService makes a UDP Service whose endpoints are addresses of a network behind
// the node's link where nobody answers.
func bigService(b *testing.B, s *Suite, name string, endpoints int, sticky bool) string {
	b.Helper()
	service := named("v1", "Service", name, object{"marker": "true"})
	spec := object{"ports": []any{object{"name": "p", "protocol": "UDP", "port": int64(53)}}}
	if sticky {
		spec["sessionAffinity"] = "ClientIP"
	}
	service["spec"] = spec
	made := &unstructured.Unstructured{Object: service}
	if err := s.api.Client.Create(context.Background(), made); err != nil {
		b.Fatal(err)
	}
	slice := named("discovery.k8s.io/v1", "EndpointSlice", name, object{"marker": "true", "kubernetes.io/service-name": name})
	slice["addressType"] = "IPv4"
	slice["ports"] = []any{object{"name": "p", "protocol": "UDP", "port": int64(53)}}
	var list []any
	for i := range endpoints {
		list = append(list, object{"addresses": []any{fmt.Sprintf("10.245.%d.%d", 1+i/250, 1+i%250)}})
	}
	slice["endpoints"] = list
	if err := s.api.Client.Create(context.Background(), &unstructured.Unstructured{Object: slice}); err != nil {
		b.Fatal(err)
	}
	ip, _, _ := unstructured.NestedString(made.Object, "spec", "clusterIP")
	return ip
}
