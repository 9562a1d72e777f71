package ledger_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// service makes a Service "ns/name" with one TCP port 80 at vip; a "*" before
// an endpoint makes it local.
func service(name, vip string, endpoints ...string) proxy.Service {
	port := proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr(vip)}}}
	for _, text := range endpoints {
		remote := strings.TrimPrefix(text, "*")
		port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: netip.MustParseAddrPort(remote), Local: remote != text})
	}
	return proxy.Service{Name: proxy.Name{Namespace: "ns", Name: name}, Ports: []proxy.Port{port}}
}

// objects are what Services have in a layout.
func objects(l dataplane.Layout, services ...proxy.Service) nft.Objects {
	var all nft.Objects
	for i := range services {
		all.Elements = l.Elements(all.Elements, &services[i])
		all.Chains = l.OwnChains(all.Chains, &services[i])
	}
	return all
}

const a, b, c, d = "10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80"

// step is a change from some Services to others and what has to be written,
// then what has to be swept, a list for each wait.
type step struct {
	was, is []proxy.Service
	written []string
	swept   [][]string
}

func TestPlan(t *testing.T) {
	const (
		slot0 = "endpoints { 10.0.0.1 . tcp . 80 . 0 : "
		slot1 = "endpoints { 10.0.0.1 . tcp . 80 . 1 : "
		slot2 = "endpoints { 10.0.0.1 . tcp . 80 . 2 : "
		x     = `services { 10.0.0.1 . tcp . 80 comment "ns/x" : `
		none  = `no-endpoints { 10.0.0.1 . tcp . 80 comment "ns/x" }`
	)
	chain := func(n int) []string {
		rules := []string{
			fmt.Sprintf("add chain ip kube-verdict cluster-%d", n),
			fmt.Sprintf("add rule ip kube-verdict cluster-%d meta priority set none dnat ip to ip daddr . meta l4proto . th dport . numgen random mod %d map @endpoints", n, n),
		}
		if n > 1 {
			rules = append(rules, fmt.Sprintf("add rule ip kube-verdict cluster-%d dnat ip to ip daddr . meta l4proto . th dport . numgen random mod %d map @endpoints", n, n-1))
		}
		return append(rules, fmt.Sprintf("add rule ip kube-verdict cluster-%d counter drop", n))
	}
	to := func(n int) string { return fmt.Sprintf("dispatch { 0:%d : goto cluster-%d }", n, n) }
	list := func(s ...proxy.Service) []proxy.Service { return s }
	cases := []struct {
		name   string
		before []proxy.Service // programmed first, and there all along
		step
	}{
		{
			name: "a new Service gets its chain, its slots, and then its verdict",
			step: step{
				is: list(service("x", "10.0.0.1", a, b)),
				written: append(chain(2),
					"add "+slot0+"10.1.0.1 . 80 }",
					"add "+slot1+"10.1.0.2 . 80 }",
					"add "+to(2),
					"add "+x+"0:2 }",
					"add cluster-ips { 10.0.0.1 }"),
			},
		},
		{
			name: "one more endpoint: the slot first, then the verdict, and the old chain goes last",
			step: step{
				was: list(service("x", "10.0.0.1", a)),
				is:  list(service("x", "10.0.0.1", a, b)),
				written: append(chain(2),
					"add "+slot1+"10.1.0.2 . 80 }",
					"add "+to(2),
					"delete "+x+"0:1 }",
					"add "+x+"0:2 }"),
				swept: [][]string{{"delete " + to(1)}, {"delete chain ip kube-verdict cluster-1"}},
			},
		},
		{
			name: "one endpoint less: those kept move to the low slots with the verdict, the last slot goes after a wait",
			step: step{
				was: list(service("x", "10.0.0.1", a, b, c)),
				is:  list(service("x", "10.0.0.1", b, c)),
				written: append(chain(2),
					"delete "+slot0+"10.1.0.1 . 80 }",
					"delete "+slot1+"10.1.0.2 . 80 }",
					"add "+slot0+"10.1.0.2 . 80 }",
					"add "+slot1+"10.1.0.3 . 80 }",
					"add "+to(2),
					"delete "+x+"0:3 }",
					"add "+x+"0:2 }"),
				swept: [][]string{{"delete " + to(3), "delete " + slot2 + "10.1.0.3 . 80 }"}, {"delete chain ip kube-verdict cluster-3"}},
			},
		},
		{
			name: "another endpoint in a slot: only that slot is written",
			step: step{
				was:     list(service("x", "10.0.0.1", a, b)),
				is:      list(service("x", "10.0.0.1", a, c)),
				written: []string{"delete " + slot1 + "10.1.0.2 . 80 }", "add " + slot1 + "10.1.0.3 . 80 }"},
			},
		},
		{
			name: "the last endpoint goes: connections are refused at once, the slot goes after a wait",
			step: step{
				was:     list(service("x", "10.0.0.1", a)),
				is:      list(service("x", "10.0.0.1")),
				written: []string{"delete " + x + "0:1 }", "add " + none},
				swept:   [][]string{{"delete " + to(1), "delete " + slot0 + "10.1.0.1 . 80 }"}, {"delete chain ip kube-verdict cluster-1"}},
			},
		},
		{
			name: "a Service is deleted: the verdict first, its slots after a wait",
			step: step{
				was:     list(service("x", "10.0.0.1", a)),
				written: []string{"delete " + x + "0:1 }", "delete cluster-ips { 10.0.0.1 }"},
				swept:   [][]string{{"delete " + to(1), "delete " + slot0 + "10.1.0.1 . 80 }"}, {"delete chain ip kube-verdict cluster-1"}},
			},
		},
		{
			name:   "a chain that another Service uses stays",
			before: list(service("y", "10.0.0.2", c)),
			step: step{
				was:     list(service("x", "10.0.0.1", a)),
				written: []string{"delete " + x + "0:1 }", "delete cluster-ips { 10.0.0.1 }"},
				swept:   [][]string{{"delete " + slot0 + "10.1.0.1 . 80 }"}},
			},
		},
		{
			name:   "a local endpoint of two Services stays in the hairpin set until both are gone",
			before: list(service("y", "10.0.0.2", "*"+a)),
			step: step{
				was:     list(service("x", "10.0.0.1", "*"+a)),
				written: []string{"delete " + x + "0:1 }", "delete cluster-ips { 10.0.0.1 }"},
				swept:   [][]string{{"delete " + slot0 + "10.1.0.1 . 80 }"}},
			},
		},
		{
			name: "an endpoint turns local",
			step: step{
				was:     list(service("x", "10.0.0.1", a)),
				is:      list(service("x", "10.0.0.1", "*"+a)),
				written: []string{"add hairpin { 10.1.0.1 . 10.1.0.1 . tcp . 80 }"},
			},
		},
		{
			name: "an address moves to another Service in one transaction, without a gap",
			step: step{
				was:     list(service("x", "10.0.0.1", a)),
				is:      list(service("z", "10.0.0.1", a)),
				written: []string{"delete " + x + "0:1 }", "add " + strings.Replace(x, "ns/x", "ns/z", 1) + "0:1 }"},
			},
		},
		{
			name: "nothing changes: nothing is written",
			step: step{was: list(service("x", "10.0.0.1", a)), is: list(service("x", "10.0.0.1", a))},
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			layout := maps.NewLayout(layout.Config{})
			l := ledger.New(layout.Chain)
			do := func(old, wanted []proxy.Service) nft.Transaction {
				p := l.Plan(objects(layout, old...), objects(layout, wanted...))
				l.Done(p)
				return p.Transaction
			}
			do(nil, tc.before)
			do(nil, tc.was)
			expect(t, "written", do(tc.was, tc.is), tc.written)
			for i := 0; l.Stale(); i++ {
				l.Mark()
				p := l.Sweep()
				if i >= len(tc.swept) {
					t.Fatalf("swept, but should not be:\n%s", p.Transaction)
				}
				expect(t, fmt.Sprintf("sweep %d", i), p.Transaction, tc.swept[i])
				l.Done(p)
				tc.swept[i] = nil
			}
			for i, s := range tc.swept {
				if s != nil {
					t.Errorf("sweep %d did not happen: %q", i, s)
				}
			}
		})
	}
}

// expect compares a transaction with commands that leave out what all have in
// common.
func expect(t *testing.T, what string, tx nft.Transaction, want []string) {
	t.Helper()
	got := strings.ReplaceAll(tx.String(), " element ip kube-verdict ", " ")
	if text := strings.Join(append(want, ""), "\n"); got != text {
		t.Errorf("%s:\n%swant:\n%s", what, got, text)
	}
}

func TestStaleElementsAreClaimedBeforeTheyAreSwept(t *testing.T) {
	layout := maps.NewLayout(layout.Config{})
	l := ledger.New(layout.Chain)
	change := func(old, wanted proxy.Service) nft.Transaction {
		p := l.Plan(objects(layout, old), objects(layout, wanted))
		l.Done(p)
		return p.Transaction
	}
	three, two := service("x", "10.0.0.1", a, b, c), service("x", "10.0.0.1", a, b)
	change(service("x", "10.0.0.1"), three)
	change(three, two)
	// Growing again before the sweep: slot 2 is still there.
	tx := change(two, three)
	for _, op := range tx {
		if op.Set != nil && op.Set.Behind {
			t.Errorf("wrote a slot that is there: %s", op.Text())
		}
	}
	change(three, two)
	tx = change(two, service("x", "10.0.0.1", a, b, d))
	if text := tx.String(); !strings.Contains(text, "delete element ip kube-verdict endpoints { 10.0.0.1 . tcp . 80 . 2 : 10.1.0.3 . 80 }\nadd element ip kube-verdict endpoints { 10.0.0.1 . tcp . 80 . 2 : 10.1.0.4 . 80 }") {
		t.Errorf("did not replace the stale slot:\n%s", text)
	}
	for l.Stale() {
		l.Mark()
		p := l.Sweep()
		for _, op := range p.Transaction {
			if op.Set != nil && op.Set.Name != "dispatch" { // nobody has two endpoints any more
				t.Errorf("swept what is wanted again: %s", op.Text())
			}
		}
		l.Done(p)
	}
}

// What a packet may be on its way to is kept until it was waited for: slots that become
// stale after Mark, and chains when anything has changed since.
func TestOnlyWhatWasMarkedIsSwept(t *testing.T) {
	tables := maps.NewLayout(layout.Config{})
	l := ledger.New(tables.Chain)
	change := func(old, wanted proxy.Service) { l.Done(l.Plan(objects(tables, old), objects(tables, wanted))) }
	two, one := service("x", "10.0.0.1", a, b), service("x", "10.0.0.1", a)
	change(service("x", "10.0.0.1"), two)
	l.Mark()
	change(two, one)
	if tx := l.Sweep().Transaction; len(tx) > 0 {
		t.Errorf("swept without a wait:\n%s", tx)
	}
	l.Mark()
	elements := l.Sweep()
	l.Done(elements)
	if text := elements.Transaction.String(); !strings.Contains(text, "endpoints { 10.0.0.1 . tcp . 80 . 1") {
		t.Errorf("the slot is not swept:\n%s", text)
	}
	if tx := l.Sweep().Transaction; len(tx) > 0 {
		t.Errorf("swept a chain without a wait after what led to it:\n%s", tx)
	}
	l.Mark()
	if text := l.Sweep().Transaction.String(); !strings.Contains(text, "delete chain ip kube-verdict cluster-2") {
		t.Errorf("the chain is not swept:\n%s", text)
	}
}

func TestAPlanThatIsNotDoneChangesNothing(t *testing.T) {
	layout := maps.NewLayout(layout.Config{})
	l := ledger.New(layout.Chain)
	x := service("x", "10.0.0.1", a)
	first := l.Plan(nft.Objects{}, objects(layout, x)).Transaction.String()
	if again := l.Plan(nft.Objects{}, objects(layout, x)).Transaction.String(); again != first {
		t.Errorf("first %s\nthen %s", first, again)
	}
}
