package iptables

import (
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// ofFamily are the frontends of one family.
func ofFamily(v view.View, ipv6 bool) view.View {
	out := view.View{}
	for key, port := range v {
		if key.Addr.Is6() == ipv6 {
			out[key] = port
		}
	}
	return out
}

// compareViews fails when connections meet something else.
func compareViews(t testing.TB, want, have view.View) {
	t.Helper()
	for _, d := range view.Compare(want, have) {
		t.Error(d.Text("model", "dump"))
	}
}

// The real kube-proxy's rules mean what the model says, as do those that we render,
// in each style.
func TestInterpretModel(t *testing.T) {
	services := model(t, "testdata/services.yaml")
	for _, ipv6 := range []bool{false, true} {
		want := ofFamily(view.Of(services), ipv6)
		if len(want) < 2 {
			t.Fatalf("only %d frontends", len(want))
		}
		file := "testdata/kube-proxy-1.37-ipv4.txt"
		if ipv6 {
			file = "testdata/kube-proxy-1.37-ipv6.txt"
		}
		dump, _ := parseFile(t, file)
		classic := kubeProxy(ipv6)
		classic.Style = Classic
		for name, d := range map[string]*Dump{
			"kube-proxy": dump, "current": Render(services, kubeProxy(ipv6)), "classic": Render(services, classic),
		} {
			got := Interpret(d)
			compareViews(t, want, got.View)
			if len(got.Warnings) > 0 {
				t.Errorf("%s: %v", name, got.Warnings)
			}
			for key, port := range got.View {
				if port.Service != want[key].Service {
					t.Errorf("%s: %s is of %s, not %s", name, key, port.Service, want[key].Service)
				}
			}
		}
		if got := Interpret(dump); !ipv6 && (got.HealthChecks["kinds/etp-local:http"] != 32000 || len(got.HealthChecks) != 1) {
			t.Errorf("health checks: %v", got.HealthChecks)
		}
	}
}

// The document's listing has its Service, and says what is wrong with it.
func TestInterpretListing(t *testing.T) {
	d, _ := parseFile(t, "testdata/dns-default-listing.txt")
	got := Interpret(d)
	want := ofFamily(view.Of(model(t, "../examples/dns-default.yaml")), false)
	for key := range want {
		if key.Protocol != proxy.UDP {
			delete(want, key) // only the listing of dns goes on
		}
	}
	compareViews(t, want, got.View)
	var texts []string
	for _, w := range got.Warnings {
		texts = append(texts, w.String())
	}
	for _, part := range []string{
		"line 22: the command greps for KUBE-SEP-2GYGZVZWX5UVIMQH, which its output in lines 24 to 26 does not have; they are of KUBE-SEP-E7N2MVG6CMQUL637",
		"line 38: chain KUBE-SEP-2GYGZVZWX5UVIMQH is declared twice, first in line 23",
		"chain KUBE-SVC-BGNS3J6UB7MMLVDO: rules that are there twice count once: line 19 repeats line 11",
		`line 39: the note ">> 5 >> nodo worker que tiene mayor probabilidad." is no part of the rule: of all new connections, KUBE-SEP-2GYGZVZWX5UVIMQH gets 1/6, as each of the 6 endpoints does`,
		"line 5: chain KUBE-SVC-6BRQXW4I6ZZ3LHZH is not in the dump: where it leads to can't be told",
		"line 4: what connections to 172.30.0.10:53/tcp meet can't be told; it is left out",
		"the listing is without chain KUBE-MARK-MASQ: it is as kube-proxy has it",
	} {
		if !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, part) }) {
			t.Errorf("nothing says: %s", part)
		}
	}
}
