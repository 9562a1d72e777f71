package iptables

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Dumps in the way that kube-proxy laid out its chains in five periods mean what the
// same Services mean today: with rules that masquerade in KUBE-SERVICES (until 1.21),
// chains KUBE-XLB (until 1.23) and KUBE-MARK-DROP (until 1.25), and no comments in
// the chains of Services and endpoints (until 1.16).
func TestGenerations(t *testing.T) {
	services := model(t, "testdata/services.yaml")
	for _, c := range []struct {
		file string
		// without are Services or frontends that it does not have.
		without []string
		// warnings are parts of the only ones.
		warnings []string
	}{
		{"1.12.txt", []string{"kinds/itp-local", "192.0.2.55"}, nil},
		{"1.15.txt", []string{"kinds/itp-local", "192.0.2.55"}, nil},
		{"1.18.txt", []string{"kinds/itp-local"}, []string{"1 rules in chains of others are not looked at: cali-PREROUTING"}},
		{"1.23.txt", nil, nil},
		{"1.25.txt", nil, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			want := view.View{}
			for key, port := range ofFamily(view.Of(services), false) {
				if !strings.HasPrefix(port.Service, "kinds/dual") && !strings.HasPrefix(port.Service, "openshift-dns/") {
					want[key] = port
				}
				for _, w := range c.without {
					if strings.HasPrefix(port.Service, w) || key.Addr.String() == w {
						delete(want, key)
					}
				}
			}
			d, text := parseFile(t, filepath.Join("testdata/generations", c.file))
			if d.String() != text {
				t.Error(firstDifference(text, d.String()))
			}
			got := Interpret(d)
			compareViews(t, want, got.View)
			for _, w := range got.Warnings {
				if len(c.warnings) == 0 || !strings.Contains(w.Text, c.warnings[0]) {
					t.Errorf("warning: %s", w)
				}
			}
			for key, f := range got.Frontends {
				if f.Kind == proxy.ClusterIP != strings.HasPrefix(key.Addr.String(), "10.96.") {
					t.Errorf("%s is taken for kind %d", key, f.Kind)
				}
			}
		})
	}
}
