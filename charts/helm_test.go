package charts_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// helm runs Helm, which keeps nothing of the user's and asks for no cluster.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	testbed.Need(t)
	path, err := testbed.Tool("helm")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+os.DevNull)
	out, err := cmd.Output()
	if exit := (&exec.ExitError{}); errors.As(err, &exit) {
		err = fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// template renders the chart with its values, changed by more YAML.
func template(t *testing.T, change string) (string, error) {
	t.Helper()
	return helm(t, "template", "kube-verdict", "kube-verdict", "--namespace=kube-system", "--values="+valuesFile(t, change))
}

func valuesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func render(t *testing.T, change string) string {
	t.Helper()
	out, err := template(t, change)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(out, "---\n")
}

// valueSets are values that people have.
func valueSets(t *testing.T) map[string]string {
	return map[string]string{
		"as they are": "",
		"shadow":      "scope: shadow\npodCIDRs: [node]",
		"labelled":    "scope: labelled\npodCIDRs: [10.244.0.0/16, 'fd00:10:244::/56']\nkubernetesServiceHost: 192.0.2.10",
		"monitored":   "metrics: {address: '', podMonitor: {enabled: true, labels: {release: prometheus}}}\nalerts: {enabled: true}\ndashboard: {enabled: true}",
		"kube-proxy gone": `
healthPort: 10256
featureGates: {ChainLayout: true}
configuration: {masqueradeAll: true}
updateStrategy: {type: OnDelete, rollingUpdate: null}
tolerations: []
priorityClassName: ""
resources: {}`,
		"OpenShift": file(t, "kube-verdict/values-openshift.yaml"),
	}
}

func TestHelmLintsTheChart(t *testing.T) {
	for name, change := range valueSets(t) {
		if out, err := helm(t, "lint", "--strict", "kube-verdict", "--values="+valuesFile(t, change)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// An API server takes all objects of its own types, whichever the values are. It looks
// closer than schemas do, as kubeconform has them: also at what admission and defaults
// make of them.
func TestAPIServerTakesTheChart(t *testing.T) {
	plane := testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{})
	api := client.NewDryRunClient(client.WithFieldValidation(plane.Client, metav1.FieldValidationStrict))
	for name, change := range valueSets(t) {
		i := chart(t, change)
		i.configuration(t)
		// What only a controller makes, and the API server wants before a Pod.
		if err := plane.Client.Create(t.Context(), i.account.DeepCopy()); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
		for _, object := range i.objects() {
			if object == client.Object(i.account) {
				continue
			}
			if err := api.Create(t.Context(), object); err != nil {
				t.Errorf("%s: %T %s: %v", name, object, object.GetName(), err)
			}
		}
	}
	wrong := chart(t, "priorityClassName: no-such-class").test
	if err := api.Create(t.Context(), wrong); err == nil {
		t.Error("it takes anything")
	}
}
