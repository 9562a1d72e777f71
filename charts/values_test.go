package charts_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/cli"
)

func TestValuesReachTheAgent(t *testing.T) {
	i := chart(t, `
image: {repository: registry.example.com/kube-verdict, tag: v1, pullPolicy: Always}
scope: labelled
featureGates: {ConnectionCounters: true}
healthPort: 10256
podCIDRs: [10.244.0.0/16, "fd00:10:244::/56"]
nodePortAddresses: [192.168.0.0/16]
configuration: {masqueradeAll: true, conntrack: {maxPerCore: 0, min: 2097152}, detectLocal: {podInterface: cni0}, logging: {format: text}}
kubernetesServiceHost: 192.0.2.10
verbosity: 1
extraArgs: [--masquerade-bit=13]
extraEnv: [{name: GOMEMLIMIT, value: 200MiB}]
metrics: {address: "fd00:10:240::11", port: 9100}
priorityClassName: system-cluster-critical
nodeSelector: {example.com/pool: edge}
tolerations: [{key: example.com/edge, operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: example.com/zone, operator: In, values: [a]}]}]}}}
updateStrategy: {type: OnDelete, rollingUpdate: null}
podLabels: {team: network}
podAnnotations: {example.com/note: "1"}
resources: {limits: {memory: 1Gi}}
`)
	want := config.Default()
	want.FeatureGates = map[string]bool{"ConnectionCounters": true}
	want.DetectLocal.PodCIDRs, want.NodePortAddresses = []string{"10.244.0.0/16", "fd00:10:244::/56"}, []string{"192.168.0.0/16"}
	want.Conntrack.Min, want.DetectLocal.PodInterface, want.Logging.Format = 2097152, "cni0", config.FormatText
	want.MasqueradeAll, want.Conntrack.MaxPerCore, want.Logging.Verbosity = true, 0, 1
	if got := i.configuration(t); !reflect.DeepEqual(got, want) {
		t.Errorf("the configuration is\n%+v, want\n%+v", got, want)
	}
	container := i.container()
	if want := []string{"run", "--config=" + mounted, "--scope=labelled", "--health-probe-bind-address=:10256", "--metrics-bind-address=[fd00:10:240::11]:9100", "--masquerade-bit=13"}; !slices.Equal(container.Args, want) {
		t.Errorf("the arguments are %q, want %q", container.Args, want)
	}
	if port := container.Ports[0]; port.Name != "health" || port.ContainerPort != 10256 {
		t.Errorf("the kubelet asks at port %+v", port)
	}
	if got := port(i, "metrics"); got != 9100 {
		t.Errorf("Prometheus asks at port %d", got)
	}
	if container.Image != "registry.example.com/kube-verdict:v1" {
		t.Errorf("the image is %s", container.Image)
	}
	for _, want := range []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "192.0.2.10"}, {Name: "KUBERNETES_SERVICE_PORT", Value: "6443"}, {Name: "GOMEMLIMIT", Value: "200MiB"}} {
		if !slices.Contains(container.Env, want) {
			t.Errorf("the environment lacks %v", want)
		}
	}
	pod, template := i.agents.Spec.Template.Spec, i.agents.Spec.Template
	for name, pair := range map[string][2]any{
		"priority":    {"system-cluster-critical", pod.PriorityClassName},
		"nodes":       {map[string]string{"kubernetes.io/os": "linux", "example.com/pool": "edge"}, pod.NodeSelector},
		"tolerations": {[]corev1.Toleration{{Key: "example.com/edge", Operator: corev1.TolerationOpExists}}, pod.Tolerations},
		"zones":       {[]string{"a"}, pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values},
		"strategy":    {appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}, i.agents.Spec.UpdateStrategy},
		"labels":      {map[string]string{"app.kubernetes.io/name": "kube-verdict", "team": "network"}, template.Labels},
		"annotations": {map[string]string{"example.com/note": "1"}, template.Annotations},
		"memory":      {"1Gi", container.Resources.Limits.Memory().String()},
		"tested pod":  {pod.NodeSelector, i.test.Spec.NodeSelector},
		"tested as":   {container.SecurityContext, i.test.Spec.Containers[0].SecurityContext},
		"tests":       {[]string{"diff", "desired", "kernel", "--scope=labelled"}, i.test.Spec.Containers[0].Args},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %+v, want %+v", name, pair[1], pair[0])
		}
	}
	// The last argument has the program stop when it has understood the others.
	if status := cli.Main(append(i.args(t), "--help")); status != 0 {
		t.Errorf("the program does not take the arguments %q", container.Args)
	}
	if status := cli.Main(append(i.args(t), "--no-such-flag", "--help")); status == 0 {
		t.Error("the program takes any argument")
	}
}

// A value that is wrong is refused by its name, with what to write instead.
func TestBadValuesAreRefused(t *testing.T) {
	for _, test := range []struct{ change, want string }{
		{"scope: everything", "at '/scope': value must be one of 'shadow', 'labelled', 'all'"},
		{"configuration: {scope: everything}", "at '/configuration/scope': value must be one of 'shadow', 'labelled', 'all'"},
		{"podCIDRs: [10.244.0.0]", "at '/podCIDRs/0': '10.244.0.0' does not match pattern"},
		{"podCIDRs: [node, 10.244.0.0/16]", "at '/podCIDRs': maxItems: got 2, want 1"},
		{"nodePortAddresses: [every]", "at '/nodePortAddresses/0': value must be one of 'primary', 'all', 'localhost'"},
		{"nodePortAddresses: all", "at '/nodePortAddresses': got string, want array"},
		{"healthPort: 0", "at '/healthPort': minimum: got 0, want 1"},
		{"metrics: {port: 65536}", "at '/metrics/port': maximum: got 65,536, want 65,535"},
		{"metrics: {address: 'node:1'}", "at '/metrics/address': 'node:1' does not match pattern"},
		{"metrics: {port: 10356}", "healthPort: metrics.port is 10356 as well; choose another for one of them"},
		{"metrics: {podMonitor: {enabled: true}}", `metrics.podMonitor.enabled: nobody but the node itself reaches metrics.address 127.0.0.1; set another, or "" for all of the node's`},
		{"metrics: {address: '', podMonitor: {enabled: true, interval: often}}", "at '/metrics/podMonitor/interval': 'often' does not match pattern"},
		{"featureGates: {ConnectionCounters: 'yes'}", "at '/featureGates/ConnectionCounters': got string, want boolean"},
		{"configuration: {healthzBindAddress: ':1'}", "configuration.healthzBindAddress: set the value healthPort instead"},
		{"configuration: {metricsBindAddress: ':1'}", "configuration.metricsBindAddress: set the value metrics.address and metrics.port instead"},
		{"configuration: {featureGates: {}}", "configuration.featureGates: set the value featureGates instead"},
		{"configuration: {nodePortAddresses: []}", "configuration.nodePortAddresses: set the value nodePortAddresses instead"},
		{"extraArgs: [masquerade-all]", "at '/extraArgs/0': 'masquerade-all' does not match pattern '^-'"},
		{"extraEnv: [{value: x}]", "at '/extraEnv/0': missing property 'name'"},
		{"image: {repository: ''}", "at '/image/repository': minLength: got 0, want 1"},
		{"image: {pullPolicy: Sometimes}", "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"},
		{"updateStrategy: {rollingUpdate: {maxUnavailable: none}}", "at '/updateStrategy/rollingUpdate/maxUnavailable': 'none' does not match pattern"},
		{"updateStrategy: {rollingUpdate: {maxSurge: 1}}", "at '/updateStrategy/rollingUpdate/maxSurge': value must be one of 0, '0%'"},
		{"podLabels: {app.kubernetes.io/name: mine}", "podLabels: the DaemonSet finds its pods by app.kubernetes.io/name; leave it out"},
		{"nodeSelector: {pool: 1}", "at '/nodeSelector/pool': got number, want string"},
		// What the agent would refuse at its next start.
		{"configuration: {masqurdeAll: true}", "at '/configuration': additional properties 'masqurdeAll' not allowed"},
		{"configuration: {masqueradeAll: 'yes'}", "at '/configuration/masqueradeAll': got string, want boolean"},
		{"configuration: {masqueradeBit: 32}", "at '/configuration/masqueradeBit': maximum: got 32, want 31"},
		{"configuration: {kind: KubeVerdictConfiguration}", "at '/configuration': additional properties 'kind' not allowed"},
		{"configuration: {detectLocal: {podCIDR: [10.244.0.0/16]}}", "at '/configuration/detectLocal': additional properties 'podCIDR' not allowed"},
		{"configuration: {detectLocal: {podCIDRs: [10.244.0.0]}}", "at '/configuration/detectLocal/podCIDRs/0': '10.244.0.0' does not match pattern"},
		{"configuration: {conntrack: {udpTimeout: 1d}}", "at '/configuration/conntrack/udpTimeout': '1d' does not match pattern"},
		{"configuration: {conntrack: {maxPerCore: -1}}", "at '/configuration/conntrack/maxPerCore': minimum: got -1, want 0"},
		{"configuration: {shadowPeriod: 30}", "at '/configuration/shadowPeriod': got number, want string"},
		{"configuration: {logging: {format: xml}}", "at '/configuration/logging/format': value must be one of 'json', 'text'"},
		{"configuration: {clientConnection: {qps: -1}}", "at '/configuration/clientConnection/qps': minimum: got -1, want 0"},
		{"featureGates: {NoSuchGate: true}", "at '/featureGates': additional properties 'NoSuchGate' not allowed"},
		// What the API server would refuse, or leave out.
		{"resources: {limit: {memory: 1Gi}}", "at '/resources': additional properties 'limit' not allowed"},
		{"resources: {limits: {memory: 1 GB}}", "at '/resources/limits/memory': '1 GB' does not match pattern"},
		{"tolerations: [{keys: a}]", "at '/tolerations/0': additional properties 'keys' not allowed"},
		{"affinity: {nodeAfinity: {}}", "at '/affinity': additional properties 'nodeAfinity' not allowed"},
		{"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpression: []}]}}}", "at '/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0': additional properties 'matchExpression' not allowed"},
		{"extraEnv: [{name: A, valueFrom: {secretRef: {}}}]", "at '/extraEnv/0/valueFrom': additional properties 'secretRef' not allowed"},
		{"updateStrategy: {rollingUpdate: {maxUnavailble: 1}}", "at '/updateStrategy/rollingUpdate': additional properties 'maxUnavailble' not allowed"},
		{"image: {name: kube-verdict}", "at '/image': additional properties 'name' not allowed"},
		{"image: {digest: v1}", "at '/image/digest': 'v1' does not match pattern"},
		{"global: {imageRegistry: 1}", "at '/global/imageRegistry': got number, want string"},
		{"imagePullSecrets: [registry]", "at '/imagePullSecrets/0': got string, want object"},
		{"openshift: {enable: true}", "at '/openshift': additional properties 'enable' not allowed"},
		{"scopes: all", "at '': additional properties 'scopes' not allowed"},
	} {
		out, err := template(t, test.change)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want %q\n%.200s", test.change, err, test.want, out)
		}
	}
}

// Each value is one that the schema knows, and the templates use.
func TestValuesAndSchemaAgree(t *testing.T) {
	values, schema := map[string]any{}, struct{ Properties map[string]any }{}
	for _, err := range []error{
		yaml.UnmarshalStrict([]byte(file(t, "kube-verdict/values.yaml")), &values),
		yaml.Unmarshal([]byte(file(t, "kube-verdict/values.schema.json")), &schema),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	templates := join(t, "kube-verdict/templates/*.yaml", "kube-verdict/templates/_helpers.tpl")
	for name := range values {
		if _, ok := schema.Properties[name]; !ok {
			t.Errorf("the schema lacks %s", name)
		}
		if !strings.Contains(templates, ".Values."+name) {
			t.Errorf("no template uses %s", name)
		}
	}
	for name := range schema.Properties {
		if _, ok := values[name]; !ok && name != "global" {
			t.Errorf("values.yaml does not say what %s is", name)
		}
	}
}

// sccs are SecurityContextConstraints of OpenShift's, as far as we use them.
type sccs struct {
	APIVersion, Kind string
	Metadata         struct {
		Name   string
		Labels map[string]string
	}
	AllowHostNetwork, AllowHostPorts, AllowHostDirVolumePlugin bool
	AllowHostIPC, AllowHostPID, AllowPrivilegedContainer       bool
	AllowPrivilegeEscalation, DefaultAllowPrivilegeEscalation  bool
	ReadOnlyRootFilesystem                                     bool
	AllowedCapabilities, RequiredDropCapabilities              []corev1.Capability
	DefaultAddCapabilities                                     []corev1.Capability
	RunAsUser                                                  struct {
		Type string
		UID  *int64
	}
	SELinuxContext              struct{ Type string } `json:"seLinuxContext"`
	FSGroup, SupplementalGroups struct{ Type string }
	SeccompProfiles, Volumes    []string
	Users, Groups               []string
}

// What OpenShift is asked to allow is what the pods need, and only to ours.
func TestOpenShiftAllowsWhatThePodsNeed(t *testing.T) {
	i := chart(t, file(t, "kube-verdict/values-openshift.yaml"))
	var scc sccs
	for _, document := range i.rest {
		if strings.Contains(document, "SecurityContextConstraints") {
			if err := yaml.UnmarshalStrict([]byte(document), &scc); err != nil {
				t.Fatal(err)
			}
		}
	}
	var role *rbacv1.Role
	var binding *rbacv1.RoleBinding
	for _, object := range i.more {
		switch object := object.(type) {
		case *rbacv1.Role:
			role = object
		case *rbacv1.RoleBinding:
			binding = object
		}
	}
	if role == nil || binding == nil {
		t.Fatal("nobody may use them")
	}
	want := []rbacv1.PolicyRule{{
		APIGroups: []string{strings.Split(scc.APIVersion, "/")[0]}, Resources: []string{"securitycontextconstraints"},
		ResourceNames: []string{scc.Metadata.Name}, Verbs: []string{"use"},
	}}
	if !reflect.DeepEqual(role.Rules, want) || binding.RoleRef.Name != role.Name || !reflect.DeepEqual(binding.Subjects, i.binding.Subjects) {
		t.Errorf("the rules are %+v for %+v", role.Rules, binding)
	}
	for _, pod := range []corev1.PodSpec{i.agents.Spec.Template.Spec, i.test.Spec} {
		c := pod.Containers[0].SecurityContext
		if scc.AllowHostNetwork != pod.HostNetwork || scc.AllowHostPorts != pod.HostNetwork || scc.AllowHostPID || scc.AllowHostIPC || scc.AllowHostDirVolumePlugin || scc.AllowPrivilegedContainer {
			t.Errorf("of the host's they allow %+v", scc)
		}
		if !slices.Equal(scc.AllowedCapabilities, c.Capabilities.Add) || !slices.Equal(scc.RequiredDropCapabilities, c.Capabilities.Drop) || scc.AllowPrivilegeEscalation != *c.AllowPrivilegeEscalation || scc.ReadOnlyRootFilesystem != *c.ReadOnlyRootFilesystem || *scc.RunAsUser.UID != *c.RunAsUser {
			t.Errorf("they allow %+v, the container needs %+v", scc, c)
		}
		for _, v := range pod.Volumes {
			if v.ConfigMap == nil || !slices.Contains(scc.Volumes, "configMap") {
				t.Errorf("volume %s is not allowed", v.Name)
			}
		}
	}
	// The token of the service account comes in such a volume.
	if !slices.Contains(scc.Volumes, "projected") || scc.SeccompProfiles[0] != "runtime/default" {
		t.Errorf("they allow %v %v", scc.Volumes, scc.SeccompProfiles)
	}
	if other := chart(t, ""); len(other.rest)+len(other.more) != 0 {
		t.Error("they are installed though no value asks for them")
	}
}

// The image is the one that a registry, a mirror of it or a digest says, wherever it is
// named.
func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, test := range []struct{ change, want string }{
		{"", "kube-verdict:0.1.0"},
		{"image: {tag: v1}", "kube-verdict:v1"},
		{"image: {registry: registry.example.com}", "registry.example.com/kube-verdict:0.1.0"},
		{"image: {registry: registry.example.com/mirror/, repository: network/kube-verdict}", "registry.example.com/mirror/network/kube-verdict:0.1.0"},
		{"image: {registry: registry.example.com}\nglobal: {imageRegistry: mirror.example.com, other: {}}", "mirror.example.com/kube-verdict:0.1.0"},
		{"global: {imageRegistry: ''}", "kube-verdict:0.1.0"},
		{"image: {tag: v1, digest: '" + digest + "'}", "kube-verdict@" + digest},
		{"image: {digest: '" + digest + "'}\nglobal: {imageRegistry: mirror.example.com}", "mirror.example.com/kube-verdict@" + digest},
	} {
		i := chart(t, test.change)
		if agents, tests := i.container().Image, i.test.Spec.Containers[0].Image; agents != test.want || tests != test.want {
			t.Errorf("%s: the images are %s and, of the test, %s, want %s", test.change, agents, tests, test.want)
		}
	}
	if tag := bases(t).container().Image; tag != "kube-verdict" {
		t.Errorf("the bases have the image %s, which overlays can't find by its name kube-verdict", tag)
	}
	pod := chart(t, "imagePullSecrets: [{name: a}]\nglobal: {imagePullSecrets: [b, {name: c}]}").agents.Spec.Template.Spec
	if want := []corev1.LocalObjectReference{{Name: "b"}, {Name: "c"}, {Name: "a"}}; !reflect.DeepEqual(pod.ImagePullSecrets, want) {
		t.Errorf("the image is pulled with %v, want %v", pod.ImagePullSecrets, want)
	}
}

// podMonitor is the operator's, as far as we use it.
type podMonitor struct {
	APIVersion, Kind string
	Metadata         struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		JobLabel            string
		Selector            struct{ MatchLabels map[string]string }
		PodMetricsEndpoints []struct {
			Port, Interval string
			HonorLabels    bool
			Relabelings    []relabeling
		}
	}
}

type relabeling struct {
	SourceLabels             []string
	TargetLabel, Replacement string
}

// Prometheus finds the agents, at a port that they have.
func TestPodMonitorFindsTheAgents(t *testing.T) {
	i := chart(t, "metrics: {address: '', podMonitor: {enabled: true, labels: {release: prometheus}, interval: 15s}}")
	if len(i.rest) != 1 {
		t.Fatalf("there are %d objects of others' types, want one", len(i.rest))
	}
	var m podMonitor
	if err := yaml.UnmarshalStrict([]byte(i.rest[0]), &m); err != nil {
		t.Fatal(err)
	}
	labels := i.agents.Spec.Template.Labels
	for name, value := range m.Spec.Selector.MatchLabels {
		if labels[name] != value || i.test.Labels[name] == value {
			t.Errorf("%s=%s is not just what the agents have", name, value)
		}
	}
	e := m.Spec.PodMetricsEndpoints
	if m.Kind != "PodMonitor" || m.Metadata.Labels["release"] != "prometheus" || labels[m.Spec.JobLabel] != "kube-verdict" || len(e) != 1 || e[0].Interval != "15s" || port(i, e[0].Port) != 10349 {
		t.Errorf("the PodMonitor is %+v", m)
	}
	if !e[0].HonorLabels {
		t.Error("the namespace of a Service is overridden by the agents'")
	}
	if job := (relabeling{TargetLabel: "job", Replacement: "kube-proxy"}); slices.ContainsFunc(e[0].Relabelings, func(r relabeling) bool { return r.TargetLabel == "job" }) ||
		!strings.Contains(render(t, "metrics: {address: '', podMonitor: {enabled: true, job: kube-proxy}}"), "- targetLabel: job\n      replacement: \"kube-proxy\"") {
		t.Errorf("there is no relabeling %+v, or always", job)
	}
	// The tests of the alerts take this one.
	const golden = "alerts/testdata/podmonitor.yaml"
	if os.Getenv("UPDATE") == "true" {
		if err := os.WriteFile(golden, []byte(i.rest[0]+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if file(t, golden) != i.rest[0]+"\n" {
		t.Errorf("%s is not the chart's; UPDATE=true go test ./charts -run TestPodMonitorFindsTheAgents writes it", golden)
	}
	if args := i.container().Args; !slices.Contains(args, "--metrics-bind-address=:10349") {
		t.Errorf("nobody listens there: %q", args)
	}
}
