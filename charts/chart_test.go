// Package charts_test checks that the Helm chart and the kustomize bases are valid,
// the same, and enough for the agent.
package charts_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/agent/config"
)

// installation is all that one makes, however it is installed.
type installation struct {
	account *corev1.ServiceAccount
	role    *rbacv1.ClusterRole
	binding *rbacv1.ClusterRoleBinding
	config  *corev1.ConfigMap
	agents  *appsv1.DaemonSet
	// test is the Pod of "helm test".
	test *corev1.Pod
	// more are the others of Kubernetes' own types; the rest are the documents of
	// other types.
	more []client.Object
	rest []string
}

func (i *installation) objects() []client.Object {
	objects := []client.Object{i.account, i.role, i.binding, i.config, i.agents}
	if i.test != nil {
		objects = append(objects, i.test)
	}
	return append(objects, i.more...)
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
		if runtime.IsNotRegisteredError(err) {
			i.rest = append(i.rest, document)
			continue
		}
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
			if object.Name == "kube-verdict" {
				i.config = object
				continue
			}
			i.more = append(i.more, object)
		case *appsv1.DaemonSet:
			i.agents = object
		case *corev1.Pod:
			i.test = object
		case *rbacv1.Role:
			i.more = append(i.more, object)
		case *rbacv1.RoleBinding:
			i.more = append(i.more, object)
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

// chart renders the chart with its values, changed by more YAML.
func chart(t *testing.T, change string) *installation {
	t.Helper()
	return decode(t, render(t, change))
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
