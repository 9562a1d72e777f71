package differential

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestCompare(t *testing.T) {
	p := func(what string) Probe {
		return Probe{What: what, From: "pod", Protocol: "tcp", To: netip.MustParseAddrPort("10.96.50.1:80")}
	}
	theirs := Answers{p("a"): "refused", p("b"): "a:8080@own", p("c"): "silent"}
	ours := Answers{p("a"): "refused", p("b"): "a:8080@node"}
	got := compare(theirs, ours)
	if len(got) != 2 || got[0].What != "b" || got[1].What != "c" {
		t.Fatalf("the differences are %v, want b and c", got)
	}
	if want := `b over tcp from pod (10.96.50.1:80): kube-proxy "a:8080@own", kube-verdict "a:8080@node"`; got[0].String() != want {
		t.Errorf("a difference reads\n%s\nwant\n%s", got[0], want)
	}
}

// A seed that differs can be run again.
func TestRandomIsTheSameForTheSameSeed(t *testing.T) {
	a, b, c := Random(7, 5), Random(7, 5), Random(8, 5)
	if len(a.Steps) != 6 {
		t.Errorf("%d steps, want a cluster and five changes", len(a.Steps))
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("two clusters of one seed differ")
	}
	if fmt.Sprint(a) == fmt.Sprint(c) {
		t.Error("clusters of two seeds are the same")
	}
}
