package charts_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// documented are the commands of a page, in their order.
func documented(t *testing.T, page string) (commands []string) {
	t.Helper()
	for line := range strings.Lines(file(t, page)) {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		if program, _, _ := strings.Cut(command, " "); program != "helm" && program != "kubectl" && program != "make" {
			t.Fatalf("%s: nobody runs %q", page, command)
		}
		commands = append(commands, strings.TrimSpace(command))
	}
	return commands
}

// The commands of the page are run as they are there, on a cluster, and do what it says.
func TestDocumentedInstallation(t *testing.T) {
	plane := testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{})
	tool, err := testbed.Tool("helm")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	run := func(command string) (string, error) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(tool)+":"+os.Getenv("PATH"), "HOME="+home, "KUBECONFIG="+plane.Kubeconfig())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// What the page has make build, make says without building it.
	commands := documented(t, "../docs/install.md")
	if commands[0] != "make image" {
		t.Fatalf("the page begins with %q, not with the image", commands[0])
	}
	built, err := run(commands[0] + " -n")
	if err != nil {
		t.Fatal(err)
	}
	commands = commands[1:]
	// scope is what the agents are told; "" without agents. They have the image that was
	// built.
	scope := func() (string, error) {
		agents := &appsv1.DaemonSet{}
		err := plane.Client.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: "kube-verdict"}, agents)
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if image := agents.Spec.Template.Spec.Containers[0].Image; !slices.Contains(strings.Fields(built), image) {
			return "", fmt.Errorf("the agents have the image %s; what is built is: %s", image, built)
		}
		for _, arg := range agents.Spec.Template.Spec.Containers[0].Args {
			if scope, ok := strings.CutPrefix(arg, "--scope="); ok {
				return scope, nil
			}
		}
		return "all", nil
	}

	// After each: the scope, and what is printed. What is installed twice is
	// uninstalled in between, in the page's last order.
	last := slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, "helm uninstall") })
	apply := slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, "kubectl apply") })
	if last < 0 || apply < 0 || apply > last {
		t.Fatalf("the page has %q", commands)
	}
	uninstall := commands[last]
	commands = slices.Insert(slices.Delete(commands, last, last+1), apply, uninstall)
	want := []struct{ begins, scope, prints string }{
		{"helm install", "shadow", "go on with --set scope=labelled"},
		{"helm upgrade", "labelled", "service.kubernetes.io/service-proxy-name=kube-verdict"},
		{"helm rollback", "shadow", "Rollback was a success"},
		{"helm uninstall", "", "uninstalled"},
		{"kubectl apply", "all", "daemonset.apps/kube-verdict created"},
		{"helm template", "all", "kind: PodMonitor"},
		{"helm template", "all", "kind: SecurityContextConstraints"},
		{"kubectl delete", "", "deleted"},
	}
	if len(commands) != len(want) {
		t.Fatalf("the page has %q", commands)
	}
	for i, w := range want {
		out, err := run(commands[i])
		if err != nil || !strings.HasPrefix(commands[i], w.begins) || !strings.Contains(out, w.prints) {
			t.Fatalf("%s: %v, want one that begins with %q and prints %q:\n%s", commands[i], err, w.begins, w.prints, out)
		}
		// A deletion may take a moment.
		if err := testbed.Wait(time.Minute, commands[i], func() error {
			got, err := scope()
			if err == nil && got != w.scope {
				err = fmt.Errorf("the scope is %q, want %q", got, w.scope)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run("helm install kube-verdict charts/kube-verdict -n kube-system"); err != nil || !strings.Contains(out, "docs/migration.md says how it is stopped") {
		t.Errorf("all: %v:\n%s", err, out)
	}
	out, err := run("helm install second charts/kube-verdict -n default")
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) || !strings.Contains(out, "invalid ownership metadata") {
		t.Errorf("a second release is installed: %s", out)
	}
}

// The overlay that config/default shows is one that kustomize takes, and has what it says,
// as the chart has it with values.
func TestDocumentedOverlay(t *testing.T) {
	testbed.Need(t)
	kubectl, err := testbed.Tool("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../config")); err != nil {
		t.Fatal(err)
	}
	overlay := func(change *strings.Replacer) *installation {
		t.Helper()
		var text strings.Builder
		text.WriteString("namespace: kube-system\n")
		for line := range strings.Lines(file(t, "../config/default/kustomization.yaml")) {
			if line, ok := strings.CutPrefix(line, "#   "); ok && !strings.HasPrefix(line, "kubectl") {
				text.WriteString(line)
			}
		}
		mine := filepath.Join(dir, "mine")
		if err := errors.Join(os.MkdirAll(mine, 0o755), os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(change.Replace(text.String())), 0o644)); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(kubectl, "kustomize", mine).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s\n%s", err, out, text.String())
		}
		return decode(t, string(out))
	}
	const values = "image: {registry: registry.example.com}\nkubernetesServiceHost: 192.0.2.10\npodCIDRs: [10.244.0.0/16]\nconfiguration: {scope: labelled}"
	got, want := overlay(strings.NewReplacer()), chart(t, values)
	if got.container().Image != want.container().Image || !reflect.DeepEqual(got.configuration(t), want.configuration(t)) || !reflect.DeepEqual(got.container().Env, want.container().Env) {
		t.Errorf("the overlay makes\n%+v\n%v, the chart\n%+v\n%v", got.container(), got.config.Data, want.container(), want.config.Data)
	}
	digest := "sha256:" + strings.Repeat("0a", 32)
	got = overlay(strings.NewReplacer("newTag: 0.1.0", "digest: '"+digest+"'"))
	if want := "registry.example.com/kube-verdict@" + digest; got.container().Image != want {
		t.Errorf("with a digest the image is %s, want %s", got.container().Image, want)
	}
}
