package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A control plane of another version is where hack/tools.sh builds it; nothing else is
// of that version.
func TestToolsOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"etcd", "kubectl", "kube-proxy", "helm", "kubernetes-1.31.13/kube-apiserver", "kubernetes-1.31.13/kube-controller-manager"} {
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, nil, 0o755))
	}
	t.Setenv("KUBE_VERDICT_TOOLS", dir)
	t.Setenv("KUBE_VERDICT_KUBERNETES", "1.31.13")
	for name, want := range map[string]string{
		"kube-apiserver": "kubernetes-1.31.13/kube-apiserver", "kube-controller-manager": "kubernetes-1.31.13/kube-controller-manager",
		"kubectl": "kubectl", "kube-proxy": "kube-proxy", "etcd": "etcd",
	} {
		if got, err := Tool(name); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s is %s, %v, want %s", name, got, err, want)
		}
	}
	// It finds that nothing is missing.
	if out, err := exec.Command("../../hack/tools.sh").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("hack/tools.sh: %v\n%s", err, out)
	}
	t.Setenv("KUBE_VERDICT_KUBERNETES", "1.31")
	if out, err := exec.Command("../../hack/tools.sh").CombinedOutput(); err == nil {
		t.Errorf("hack/tools.sh takes 1.31 for a version:\n%s", out)
	}
}
