package cli

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const dns = `
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-1, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: "", port: 5353, protocol: UDP}]
endpoints: [{addresses: [%s]}]
`

// A client that goes on sending from one UDP port gets to the new endpoint as
// soon as the old one is gone from the manifests.
func TestAFlowFollowsTheManifests(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"))
	from := netip.MustParseAddrPort("10.254.0.9:4000")
	client, err := node.AddPod("client", from.Addr())
	if err != nil {
		t.Fatal(err)
	}
	apply := func(endpoint string) {
		t.Helper()
		var out bytes.Buffer
		err := node.Do(func() error {
			root := newRoot()
			root.SetArgs([]string{"apply", "-f", "-", "--pod-cidrs", "10.254.0.0/16"})
			root.SetIn(strings.NewReader(fmt.Sprintf(dns, endpoint)))
			root.SetOut(&out)
			root.SetErr(&out)
			return root.Execute()
		})
		if err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
	}
	for _, endpoint := range []string{"10.254.0.1", "10.254.0.2"} {
		pod, err := node.AddPod("pod-"+endpoint, netip.MustParseAddr(endpoint))
		if err != nil {
			t.Fatal(err)
		}
		server, err := pod.Serve("udp", netip.AddrPortFrom(netip.MustParseAddr(endpoint), 5353))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
	}
	for _, endpoint := range []string{"10.254.0.1", "10.254.0.2"} {
		apply(endpoint)
		err := client.Clients(1, func(c *testbed.Client) error {
			c.From = from
			answer, err := c.Ask("udp", netip.MustParseAddrPort("10.96.0.10:53"), 3*time.Second)
			if err == nil && answer.Server.Addr().String() != endpoint {
				err = fmt.Errorf("the flow goes to %s, want %s", answer.Server, endpoint)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
