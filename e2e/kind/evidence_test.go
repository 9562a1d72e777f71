package kind

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// keepEvidence writes what tells why a test has failed into E2E_LOGS.
func (s *scene) keepEvidence() {
	s.t.Helper()
	dir := filepath.Join(os.Getenv("E2E_LOGS"), filepath.FromSlash(s.t.Name()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Error(err)
		return
	}
	const agents = " -n kube-system -l app.kubernetes.io/name=kube-verdict --prefix --tail=-1"
	evidence := map[string]string{
		"pods":             "kubectl get pods -A -o wide",
		"pods.yaml":        "kubectl get pods -A -o yaml",
		"services.yaml":    "kubectl get services,endpointslices -A -o yaml",
		"daemonsets.yaml":  "kubectl get daemonsets,configmaps -n kube-system -o yaml",
		"nodes":            "kubectl describe nodes",
		"events":           "kubectl get events -A --sort-by=.metadata.creationTimestamp",
		"agents.log":       "kubectl logs" + agents,
		"agents-before":    "kubectl logs --previous" + agents,
		"kube-proxies.log": "kubectl logs -n kube-system -l k8s-app=kube-proxy --prefix --tail=-1",
		"helm":             "helm list -A --all; helm history kube-verdict -n kube-system",
	}
	for _, n := range s.nodes() {
		for what, command := range map[string]string{
			"ruleset":     "nft list ruleset",
			"iptables":    "iptables-save",
			"routes":      "ip route; ip -6 route",
			"kubelet.log": "journalctl --unit=kubelet --no-pager --lines=500",
		} {
			evidence[n.name+"-"+what] = "docker exec " + n.name + " sh -c '" + command + "'"
		}
	}
	for file, command := range evidence {
		ctx, stop := context.WithTimeout(s.ctx, limit)
		out, err := s.cluster.shell(ctx, command)
		stop()
		if err != nil {
			out += "\n" + err.Error() // an agent that has never restarted has no log from before
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.TrimLeft(out, "\n")), 0o644); err != nil {
			s.t.Error(err)
		}
	}
	s.t.Logf("what the cluster was like is in %s", dir)
}
