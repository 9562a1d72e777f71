package manifests_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/manifests"
)

// A v1 Endpoints counts where its Service has no EndpointSlice, one slice for a family.
func TestEndpoints(t *testing.T) {
	const old = `apiVersion: v1
kind: Endpoints
metadata: {name: b, namespace: a}
subsets:
- addresses: [{ip: 10.1.1.1, nodeName: n1}, {ip: "fd00::1"}]
  notReadyAddresses: [{ip: 10.1.1.2}]
  ports: [{name: p, port: 80}]
`
	want(t, "Endpoints", read(old), "slice a/b-ipv4-0 of a/b\nslice a/b-ipv6-0 of a/b\n")
	const slice = `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b-1, namespace: a, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
endpoints: []
`
	want(t, "Endpoints beside a slice", read(old+slice), "slice a/b-1 of a/b\npassed over: 1 Endpoints\n")
	got := manifests.Read(t.Context(), []string{"-"}, strings.NewReader(old)).Slices[types.NamespacedName{Namespace: "a", Name: "b"}]
	if len(got) != 2 || len(got[0].Endpoints) != 2 || !*got[0].Endpoints[0].Conditions.Ready || *got[0].Endpoints[1].Conditions.Ready ||
		*got[0].Endpoints[0].NodeName != "n1" || *got[0].Ports[0].Port != 80 || *got[0].Ports[0].Protocol != "TCP" || got[1].AddressType != "IPv6" {
		t.Errorf("%+v", got)
	}
}
