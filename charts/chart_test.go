// Package charts_test checks that the Helm chart and the kustomize bases are valid,
// the same, and enough for the agent.
package charts_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/cli"
)

// installation is all that one makes, however it is installed.
type installation struct {
	account *corev1.ServiceAccount
	role    *rbacv1.ClusterRole
	binding *rbacv1.ClusterRoleBinding
	config  *corev1.ConfigMap
	agents  *appsv1.DaemonSet
}

func (i *installation) objects() []client.Object {
	return []client.Object{i.account, i.role, i.binding, i.config, i.agents}
}

func (i *installation) container() *corev1.Container {
	return &i.agents.Spec.Template.Spec.Containers[0]
}

// mounted is where the container has the configuration.
const mounted = "/etc/kube-verdict/config.yaml"

// configuration is the one that the agent is given, if it is valid.
func (i *installation) configuration(t *testing.T) config.Configuration {
	t.Helper()
	c, err := config.Decode([]byte(i.config.Data[filepath.Base(mounted)]))
	if err != nil || len(c.Validate()) > 0 {
		t.Fatalf("the configuration is not valid: %v %v:\n%s", err, c.Validate(), i.config.Data)
	}
	return c
}

// args are the container's, with the configuration at another place.
func (i *installation) args(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(mounted))
	if err := os.WriteFile(path, []byte(i.config.Data[filepath.Base(mounted)]), 0o644); err != nil {
		t.Fatal(err)
	}
	args := slices.Clone(i.container().Args)
	at := slices.Index(args, "--config="+mounted)
	if at < 0 || !slices.ContainsFunc(i.container().VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == filepath.Dir(mounted) && m.ReadOnly }) {
		t.Fatalf("the configuration is not mounted where the arguments %q say", args)
	}
	args[at] = "--config=" + path
	return args
}

// decode fails on fields that the API does not have.
func decode(t *testing.T, text string) *installation {
	t.Helper()
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	i := &installation{}
	for document := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue // of what is not enabled
		}
		object, _, err := strict.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v, in:\n%s", err, document)
		}
		switch object := object.(type) {
		case *corev1.ServiceAccount:
			i.account = object
		case *rbacv1.ClusterRole:
			i.role = object
		case *rbacv1.ClusterRoleBinding:
			i.binding = object
		case *corev1.ConfigMap:
			i.config = object
		case *appsv1.DaemonSet:
			i.agents = object
		default:
			t.Fatalf("a %T was not expected", object)
		}
	}
	if i.account == nil || i.role == nil || i.binding == nil || i.config == nil || i.agents == nil {
		t.Fatalf("an object is missing in:\n%s", text)
	}
	return i
}

// join reads manifests as one.
func join(t *testing.T, patterns ...string) string {
	t.Helper()
	var documents []string
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if filepath.Base(path) == "kustomization.yaml" {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			documents = append(documents, string(text))
		}
	}
	return strings.Join(documents, "\n---\n")
}

func bases(t *testing.T) *installation {
	t.Helper()
	return decode(t, join(t, "../config/rbac/*.yaml", "../config/agent/*.yaml"))
}

// chart renders the chart with its values, changed by more YAML. It has the few
// functions of Helm's that the templates use.
func chart(t *testing.T, change string) *installation {
	t.Helper()
	return decode(t, render(t, change))
}

// files are what templates read of the chart.
type files struct{ t *testing.T }

// Get is a file's text.
func (f files) Get(name string) string {
	text, err := os.ReadFile(filepath.Join("kube-verdict", name))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

func render(t *testing.T, change string) string {
	t.Helper()
	root := template.New("").Option("missingkey=error")
	root.Funcs(template.FuncMap{
		"include": func(name string, values any) (string, error) {
			var out strings.Builder
			err := root.ExecuteTemplate(&out, name, values)
			return out.String(), err
		},
		"nindent": func(n int, text string) string {
			indent := "\n" + strings.Repeat(" ", n)
			return indent + strings.ReplaceAll(text, "\n", indent)
		},
		"default": func(otherwise, value string) string {
			if value == "" {
				return otherwise
			}
			return value
		},
		"join": func(separator string, list []any) string {
			var texts []string
			for _, v := range list {
				texts = append(texts, fmt.Sprint(v))
			}
			return strings.Join(texts, separator)
		},
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"toYaml": func(v any) (string, error) {
			text, err := yaml.Marshal(v)
			return strings.TrimSpace(string(text)), err
		},
	})
	var about struct{ Name, Version, AppVersion string }
	values := map[string]any{}
	for _, err := range []error{
		yaml.Unmarshal([]byte(join(t, "kube-verdict/Chart.yaml")), &about),
		yaml.Unmarshal([]byte(join(t, "kube-verdict/values.yaml")), &values),
		yaml.Unmarshal([]byte(change), &values),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.ParseFiles("kube-verdict/templates/_helpers.tpl"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.New("objects").Parse(join(t, "kube-verdict/templates/*.yaml")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := root.ExecuteTemplate(&out, "objects", map[string]any{
		"Chart": about, "Values": values, "Files": files{t},
		"Release": map[string]any{"Name": "kube-verdict", "Namespace": "kube-system", "Service": "Helm"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Only what is for a chart to choose differs.
func TestChartAndBasesInstallTheSame(t *testing.T) {
	want, got := bases(t), chart(t, "")
	image, _, _ := strings.Cut(got.container().Image, ":")
	got.container().Image = image
	for name, pair := range map[string][2]any{
		"rules":    {want.role.Rules, got.role.Rules},
		"role":     {want.binding.RoleRef, got.binding.RoleRef},
		"subjects": {want.binding.Subjects, got.binding.Subjects},
		"config":   {want.configuration(t), got.configuration(t)},
		"agents":   {want.agents.Spec, got.agents.Spec},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: the bases have\n%+v\nthe chart has\n%+v", name, pair[0], pair[1])
		}
	}
}

func TestValuesReachTheAgent(t *testing.T) {
	i := chart(t, `
image: {repository: registry.example.com/kube-verdict, tag: v1, pullPolicy: Always}
scope: labelled
featureGates: {ConnectionCounters: true}
healthPort: 10256
podCIDRs: [10.244.0.0/16, "fd00:10:244::/56"]
nodePortAddresses: [192.168.0.0/16]
configuration: {masqueradeAll: true, conntrack: {maxPerCore: 0}}
kubernetesServiceHost: 192.0.2.10
verbosity: 1
extraArgs: [--masquerade-bit=13]
`)
	want := config.Default()
	want.FeatureGates = map[string]bool{"ConnectionCounters": true}
	want.DetectLocal.PodCIDRs, want.NodePortAddresses = []string{"10.244.0.0/16", "fd00:10:244::/56"}, []string{"192.168.0.0/16"}
	want.MasqueradeAll, want.Conntrack.MaxPerCore, want.Logging.Verbosity = true, 0, 1
	if got := i.configuration(t); !reflect.DeepEqual(got, want) {
		t.Errorf("the configuration is\n%+v, want\n%+v", got, want)
	}
	container := i.container()
	if want := []string{"run", "--config=" + mounted, "--scope=labelled", "--health-probe-bind-address=:10256", "--masquerade-bit=13"}; !slices.Equal(container.Args, want) {
		t.Errorf("the arguments are %q, want %q", container.Args, want)
	}
	if port := container.Ports[0]; port.Name != "health" || port.ContainerPort != 10256 {
		t.Errorf("the kubelet asks at port %+v", port)
	}
	if container.Image != "registry.example.com/kube-verdict:v1" {
		t.Errorf("the image is %s", container.Image)
	}
	for _, want := range []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "192.0.2.10"}, {Name: "KUBERNETES_SERVICE_PORT", Value: "6443"}} {
		if !slices.Contains(container.Env, want) {
			t.Errorf("the environment lacks %v", want)
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
