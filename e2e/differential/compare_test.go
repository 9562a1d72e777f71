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
	theirs := Answers{p("a"): {Text: "refused"}, p("b"): {Text: "a:8080@own"}, p("c"): {Text: "silent"}}
	ours := Answers{p("a"): {Text: "refused"}, p("b"): {Text: "a:8080@node"}}
	got := sight{theirs, ours}.differences()
	if len(got) != 2 || got[0].What != "b" || got[1].What != "c" {
		t.Fatalf("the differences are %v, want b and c", got)
	}
	if want := `b over tcp from pod (10.96.50.1:80): kube-proxy "a:8080@own", kube-verdict "a:8080@node"`; got[0].String() != want {
		t.Errorf("a difference reads\n%s\nwant\n%s", got[0], want)
	}
}

// Shares are compared over all who ask, where they reach the same endpoints.
func TestShares(t *testing.T) {
	p := func(from string, sticky bool) Probe {
		return Probe{What: "x", From: from, Protocol: "tcp", To: netip.MustParseAddrPort("10.96.50.1:80"), Sticky: sticky}
	}
	answer := func(a, b int) Answer {
		return Answer{"a:8080@own b:8080@own", map[string]int{"a:8080@own": a, "b:8080@own": b}}
	}
	s := sight{
		Answers{p("pod", false): answer(100, 100), p("node", false): answer(90, 110), p("pod", true): answer(200, 1)},
		Answers{p("pod", false): answer(130, 70), p("node", false): answer(135, 65), p("pod", true): answer(1, 200)},
	}
	all := s.shares()
	if len(all) != 1 {
		t.Fatalf("%d frontends, want one", len(all))
	}
	for _, at := range all {
		// 190 and 210 beside 265 and 135: chi-squared is 28.67 with one degree of freedom.
		if got := at.chance(); got < 8.59e-8 || got > 8.60e-8 {
			t.Errorf("the chance is %g, want 8.6e-8", got)
		}
		if got, want := at.difference().String(), `x over tcp from anywhere (10.96.50.1:80): kube-proxy "a:8080 48% b:8080 52%", kube-verdict "a:8080 66% b:8080 34%"`; got != want {
			t.Errorf("the difference reads\n%s\nwant\n%s", got, want)
		}
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
