package features_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/component-base/featuregate"

	"github.com/kube-verdict/kube-verdict/agent/features"
)

func TestGates(t *testing.T) {
	gate := features.New()
	for _, g := range features.All() {
		if gate.Enabled(g.Name) != g.Spec.Default {
			t.Errorf("%s is not at its default", g.Name)
		}
		// As for the gates of Kubernetes.
		if alpha := g.Spec.PreRelease == featuregate.Alpha; alpha && g.Spec.Default {
			t.Errorf("%s is alpha and on by default", g.Name)
		}
		if len(g.Meaning) < 20 || !strings.HasSuffix(g.Meaning, ".") {
			t.Errorf("%s means %q", g.Name, g.Meaning)
		}
		if usage := features.Usage(); !strings.Contains(usage, string(g.Name)+"=") || !strings.Contains(usage, strings.ReplaceAll(g.Meaning, "`", `"`)) {
			t.Errorf("the help does not explain %s", g.Name)
		}
	}
	if !slices.IsSortedFunc(features.All(), func(a, b features.Gate) int { return strings.Compare(string(a.Name), string(b.Name)) }) {
		t.Error("the gates are not in order")
	}
	if err := gate.SetFromMap(map[string]bool{"AllAlpha": true, "ShadowComparison": false}); err != nil {
		t.Fatal(err)
	}
	if !gate.Enabled(features.ChainLayout) || !gate.Enabled(features.ConnectionCounters) || gate.Enabled(features.ShadowComparison) {
		t.Error("the gates are not as they were set")
	}
	if err := gate.SetFromMap(map[string]bool{"NoSuchGate": true}); err == nil || !strings.Contains(err.Error(), "NoSuchGate") {
		t.Errorf("an unknown gate gives the error %v", err)
	}
	if features.New().Enabled(features.ChainLayout) {
		t.Error("setting the gates of one set changes those of another")
	}
}

func TestDocumentListsTheGates(t *testing.T) {
	text, err := os.ReadFile("../../docs/gates.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), features.Table()) {
		t.Errorf("docs/gates.md should have this table:\n%s", features.Table())
	}
}
