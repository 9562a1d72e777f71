package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Somebody asks on the node why a Service works, with the API server's objects and
// the kernel's tables; as an administrator, and as one who may see only this
// Service.
func TestExplainAsksTheAPIServer(t *testing.T) {
	w := newWorld(t)
	agent := w.startReady()
	a, b := w.backend("web-a", 1), w.backend("web-b", 2)
	svc := w.service("web")
	w.create(svc)
	w.serviceLeadsTo(svc, a, b)

	admin := w.explain(w.api.Kubeconfig(), w.namespace+"/web")
	w.contains(admin,
		"Service "+w.namespace+"/web, seen from node "+w.name,
		"kubectl get pods -n "+w.namespace+" -l app=web",
		"web-a  10.244.0.1 ", w.name+" (this one)",
		"The kernel agrees: it has ",
		"1     0.50000000000  1             1/2 x 1 = 1/2  KUBE-SEP-",
		"Every endpoint is in: ready.",
	)
	_, unseen, some := strings.Cut(admin, "What could not be seen")
	if some != w.before(33) || some && !strings.Contains(unseen, "which addresses ClusterIPs are allocated from: ") {
		t.Errorf("of what is not there before Kubernetes 1.33:\n%s", admin)
	}

	// An endpoint that is out, and why. It may take a moment until its slice says so.
	w.must(w.api.SetReady(w.ctx, b.Pod, false))
	w.serviceLeadsTo(svc, a)
	w.tidy() // what a has no more is swept
	w.contains(w.explain(w.api.Kubeconfig(), w.namespace+"/web"), "10.244.0.2:8080  web-b  out: not ready", "1 endpoint more: in, ready.", "The kernel agrees")

	// Which way a packet goes needs no API server.
	way := w.explain("/nonexistent", "--from", w.client.Addrs[0].String(), "--to", netip.AddrPortFrom(addr(svc.Spec.ClusterIPs[0]), 80).String())
	w.contains(way, "by the rules that the kernel holds", "=> to 10.244.0.1:8080, which sees 10.244.9.9 (the client itself)")

	// By name of its own namespace there is none.
	_, err := w.node.Run(program, "explain", "--kubeconfig", w.api.Kubeconfig(), "--node-name", w.name, w.namespace+"/wep")
	if err == nil || !strings.Contains(err.Error(), "there is no Service "+w.namespace+"/wep; there is "+w.namespace+"/web") {
		t.Errorf("of a Service that is none: %v", err)
	}

	// Who may see little is told what is missing.
	viewer := w.viewer("web")
	w.contains(w.explain(viewer, w.namespace+"/web"),
		"The kernel agrees", "10.244.0.2:8080  web-b  out: not ready",
		"What could not be seen",
		"other Services, which may have the same addresses: services is forbidden",
		"the Node "+w.name+", so that its zone is not known and its addresses are this machine's",
		"which addresses ClusterIPs are allocated from: servicecidrs",
	)
	agent.terminate()
}

func (w *world) explain(kubeconfig string, args ...string) string {
	w.t.Helper()
	out, err := w.node.Run(program, append([]string{"explain", "--kubeconfig", kubeconfig, "--node-name", w.name}, args...)...)
	w.must(err)
	return out
}

func (w *world) contains(text string, parts ...string) {
	w.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			w.t.Errorf("%q is not in\n%s", p, text)
		}
	}
}

// viewer is a kubeconfig of one who may get this Service and list EndpointSlices
// in the test's namespace, and nothing else.
func (w *world) viewer(service string) string {
	w.t.Helper()
	rules := fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: viewer, namespace: %[1]s}
rules:
- {apiGroups: [""], resources: [services], resourceNames: [%[2]s], verbs: [get]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewer, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: viewer}
subjects: [{kind: User, name: viewer, apiGroup: rbac.authorization.k8s.io}]
`, w.namespace, service)
	kubectl, err := testbed.Tool("kubectl")
	w.must(err)
	_, err = w.node.RunInput(strings.NewReader(rules), kubectl, "--kubeconfig", w.api.Kubeconfig(), "create", "-f", "-")
	w.must(err)
	config, err := clientcmd.LoadFromFile(w.api.Kubeconfig())
	w.must(err)
	for name, user := range config.AuthInfos {
		config.AuthInfos[name] = &api.AuthInfo{Token: user.Token, Impersonate: "viewer"}
	}
	path := filepath.Join(w.t.TempDir(), "viewer")
	w.must(clientcmd.WriteToFile(*config, path))
	w.must(os.Chmod(path, 0o600))
	return path
}
