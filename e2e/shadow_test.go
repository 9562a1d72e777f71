package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// In the scope shadow, kube-proxy's rules are compared with what we would do, in each
// of its modes: a fault in them shows at its Service and goes with it, and a Service
// that changes shows none.
func TestShadow(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables", "iptables-legacy"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			w.backend("a", 1)
			w.backend("b", 2)
			one := w.everyWay("one", 1)
			two := w.service("two")
			two.Spec.Type = corev1.ServiceTypeNodePort
			two.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			two.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			w.create(two)
			empty := w.service("empty")
			empty.Spec.Type = corev1.ServiceTypeNodePort
			empty.Spec.Selector = map[string]string{"app": "none"}
			w.create(empty)
			w.sliced(one)
			w.sliced(two)
			w.kubeProxy(w.node, mode)
			agent := w.startReady("--scope=shadow", "--shadow-period=1s")

			const prefix = "kube_verdict_shadow_"
			of := func(svc *corev1.Service) string {
				return fmt.Sprintf("%sdifferences{namespace=%q,service=%q}", prefix, svc.Namespace, svc.Name)
			}
			// compared waits for two looks more, of which the last shows just this.
			compared := func(what string, differ ...*corev1.Service) {
				t.Helper()
				before := agent.metric(prefix + "comparison_duration_seconds_count")
				w.eventually(what, func() error {
					series := agent.series()
					if series[prefix+"comparison_duration_seconds_count"] < before+2 {
						return fmt.Errorf("no two looks yet; %v failures", series[prefix+"comparison_failures_total"])
					}
					// Before kube-proxy has written its rules, nothing differs.
					if n := series[prefix+"frontends"]; n == 0 {
						return fmt.Errorf("%v frontends were compared; %v failures", n, series[prefix+"comparison_failures_total"])
					}
					if n := series[prefix+"different_services"]; int(n) != len(differ) {
						_, body, _ := w.get(agent.metrics, "/metrics")
						return fmt.Errorf("%v Services differ of %v frontends:\n%s", n, series[prefix+"frontends"], grep(body, prefix+"differences"))
					}
					for _, svc := range differ {
						if series[of(svc)] == 0 {
							return fmt.Errorf("%s does not differ", svc.Name)
						}
					}
					return nil
				})
			}
			compared("kube-proxy to do what we would")
			if n := agent.metric(prefix + "frontends"); n < 10 {
				t.Errorf("%v frontends were compared", n)
			}
			diff := func(args ...string) (string, error) {
				return w.node.Run(program, append([]string{"diff", "--kubeconfig", w.api.Kubeconfig()}, w.flags(args)...)...)
			}
			for _, sources := range [][]string{{"desired", "kube-proxy"}, {"kernel", "kube-proxy"}, {"kube-proxy", "desired"}, {"desired", "kernel"}} {
				if out, err := diff(sources...); err != nil || out != "" {
					t.Errorf("diff %v: %v\n%s", sources, err, out)
				}
			}

			break1, mend := fault(w, mode, one)
			break1()
			compared("the fault to be seen", one)
			out, err := diff("desired", "kube-proxy")
			if err == nil || !strings.HasPrefix(out, one.Namespace+"/one\n") || strings.Count(out, "\n") != 2 {
				t.Errorf("diff: %v\n%s", err, out)
			}
			mend()
			compared("the fault to be gone")

			w.change(two, func() { two.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })
			w.change(one, func() { one.Spec.Ports[0].TargetPort = intstr.FromInt32(8081) })
			w.must(w.api.Client.Delete(w.ctx, empty))
			compared("kube-proxy to follow")
		})
	}
}

func grep(text, word string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// fault makes kube-proxy's rules forget a Service's ClusterIP over IPv4, and mends
// them.
func fault(w *world, mode string, svc *corev1.Service) (forget, mend func()) {
	w.t.Helper()
	run := func(command string) func() {
		return func() {
			w.t.Helper()
			_, err := w.node.Run("sh", "-c", command)
			w.must(err)
		}
	}
	find := func(text string, words ...string) string {
		w.t.Helper()
	lines:
		for line := range strings.Lines(text) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return strings.TrimSpace(line)
		}
		w.t.Fatalf("%v are not in a line of\n%s", words, text)
		return ""
	}
	ip := svc.Spec.ClusterIPs[0]
	if mode == "nftables" {
		text, err := w.node.Run("nft", "list", "map", "ip", "kube-proxy", "service-ips")
		w.must(err)
		element := strings.TrimRight(strings.TrimPrefix(find(text, ip+" . tcp . 80"), "elements = { "), " ,}")
		key, _, _ := strings.Cut(element, " : ")
		return run("nft 'delete element ip kube-proxy service-ips { " + key + " }'"), run("nft 'add element ip kube-proxy service-ips { " + element + " }'")
	}
	program := "iptables-nft"
	if mode == "iptables-legacy" {
		program = mode
	}
	text, err := w.node.Run(program+"-save", "-t", "nat")
	w.must(err)
	_, rule, _ := strings.Cut(find(text, "-A KUBE-SERVICES", ip+"/32", "-p tcp"), "-A ")
	chain, rest, _ := strings.Cut(rule, " ")
	return run(program + " -t nat -D " + rule), run(program + " -t nat -I " + chain + " " + rest)
}
