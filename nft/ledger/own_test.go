package ledger_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// hashes of the chains of x, by what they are for.
var hashes = regexp.MustCompile(`(KUBE-S..)-[A-Z2-7]{16}`)

// brief is a transaction in lines without what all have in common.
func brief(tx nft.Transaction) string {
	text := strings.NewReplacer(" element ip kube-verdict ", " ", " ip kube-verdict ", " ", ` comment "ns/x"`, "",
		` comment "for packets that were under way when the endpoints changed"`, "").Replace(tx.String())
	return hashes.ReplaceAllString(text, "$1")
}

// A chain of an owner's is there, with rules, before anything leads to it, and goes
// when no packet can be on its way to it.
func TestChainsOfOwners(t *testing.T) {
	l := chains.NewLayout(layout.Config{})
	account := ledger.New(l.Chain)
	var now []proxy.Service
	for _, step := range []struct {
		what        string
		is          []proxy.Service
		ahead, then string
		swept       []string
	}{
		{
			"a new Service", []proxy.Service{service("x", "10.0.0.1", a, b)},
			`add chain KUBE-SEP
add chain KUBE-SEP
add chain KUBE-SVC
add rule KUBE-SEP meta l4proto tcp dnat to 10.1.0.1:80
add rule KUBE-SEP meta l4proto tcp dnat to 10.1.0.2:80
add rule KUBE-SVC numgen random mod 2 vmap { 0 : goto KUBE-SEP, 1 : goto KUBE-SEP }
add rule KUBE-SVC goto KUBE-SEP
`, `add services { 10.0.0.1 . tcp . 80 : goto KUBE-SVC }
add cluster-ips { 10.0.0.1 }
`, nil,
		},
		{
			"another endpoint instead: its chain, then the rules that lead there", []proxy.Service{service("x", "10.0.0.1", a, c)},
			`add chain KUBE-SEP
add rule KUBE-SEP meta l4proto tcp dnat to 10.1.0.3:80
`, `flush chain KUBE-SVC
add rule KUBE-SVC numgen random mod 2 vmap { 0 : goto KUBE-SEP, 1 : goto KUBE-SEP }
add rule KUBE-SVC goto KUBE-SEP
`, []string{"flush chain KUBE-SEP\ndelete chain KUBE-SEP\n"},
		},
		{
			"the last endpoint: connections are refused at once", []proxy.Service{service("x", "10.0.0.1")}, "",
			`delete services { 10.0.0.1 . tcp . 80 : goto KUBE-SVC }
add no-endpoints { 10.0.0.1 . tcp . 80 }
`, []string{"flush chain KUBE-SEP\nflush chain KUBE-SEP\nflush chain KUBE-SVC\ndelete chain KUBE-SEP\ndelete chain KUBE-SEP\ndelete chain KUBE-SVC\n"},
		},
		{
			"with affinity: a set for each endpoint", []proxy.Service{sticky(service("x", "10.0.0.1", a))},
			`add set KUBE-SEP { typeof ip saddr; size 65535; flags dynamic,timeout; }
add chain KUBE-SEP
add chain KUBE-SVC
add rule KUBE-SEP update @KUBE-SEP { ip saddr timeout 1m }
add rule KUBE-SEP meta l4proto tcp dnat to 10.1.0.1:80
add rule KUBE-SVC ip saddr @KUBE-SEP goto KUBE-SEP
add rule KUBE-SVC goto KUBE-SEP
`, `delete no-endpoints { 10.0.0.1 . tcp . 80 }
add services { 10.0.0.1 . tcp . 80 : goto KUBE-SVC }
`, nil,
		},
		{
			"without it again: the set goes when no rule is left for it", []proxy.Service{service("x", "10.0.0.1", a)}, "",
			`flush chain KUBE-SEP
add rule KUBE-SEP meta l4proto tcp dnat to 10.1.0.1:80
flush chain KUBE-SVC
add rule KUBE-SVC goto KUBE-SEP
`, []string{"delete set KUBE-SEP\n"},
		},
	} {
		p := account.Plan(objects(l, now...), objects(l, step.is...))
		if got := brief(p.Transaction[:p.Chains]); got != step.ahead {
			t.Errorf("%s: ahead of the rest\n%s\nwant\n%s", step.what, got, step.ahead)
		}
		if got := brief(p.Transaction[p.Chains:]); got != step.then {
			t.Errorf("%s: then\n%s\nwant\n%s", step.what, got, step.then)
		}
		account.Made(p)
		if again := account.Plan(objects(l, now...), objects(l, step.is...)); again.Chains > 0 {
			t.Errorf("%s: what is made already is made again:\n%s", step.what, brief(again.Transaction))
		}
		account.Done(p)
		now = step.is
		for i := 0; account.Stale(); i++ {
			account.Mark()
			sweep := account.Sweep()
			if got := brief(sweep.Transaction); i >= len(step.swept) || sorted(got) != sorted(step.swept[i]) {
				t.Fatalf("%s: sweep %d is\n%s\nwant %q", step.what, i, got, step.swept)
			}
			account.Done(sweep)
			step.swept[i] = ""
		}
		if left := strings.Join(step.swept, ""); left != "" {
			t.Errorf("%s: was not swept:\n%s", step.what, left)
		}
	}
}

func sticky(svc proxy.Service) proxy.Service {
	svc.Ports[0].Affinity, svc.Ports[0].ID = 60e9, 2
	return svc
}

// sorted puts the lines of a sweep in order; among its flushes, and among its
// deletes, there is none.
func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	flushes := 0
	for flushes < len(lines) && strings.HasPrefix(lines[flushes], "flush") {
		flushes++
	}
	slices.Sort(lines[:flushes])
	slices.Sort(lines[flushes:])
	return strings.Join(lines, "")
}
