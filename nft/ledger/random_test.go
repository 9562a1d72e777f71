package ledger_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft"
	common "github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/ledger"
	layouts "github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// tables is what a kernel would hold, by the text of its objects; it refuses
// what a kernel refuses.
type tables struct {
	elements map[string]nft.Op // by set and key
	chains   map[string]bool
}

func (k *tables) do(tx nft.Transaction) error {
	for _, op := range tx {
		switch {
		case op.IsElement():
			at := op.Set.Name + "\x00" + op.Element.Key
			_, there := k.elements[at]
			if (op.Verb == nft.Add) == there {
				return fmt.Errorf("%s: there already, or not there", op.Text())
			}
			if op.Element.Goto != "" && op.Verb == nft.Add && !k.chains[op.Element.Goto] {
				return fmt.Errorf("%s: no such chain", op.Text())
			}
			if op.Verb == nft.Add {
				k.elements[at] = op
			} else {
				delete(k.elements, at)
			}
		case op.Rule != nil:
		case op.Verb == nft.Add:
			k.chains[op.Chain.Name] = true
		case op.Verb == nft.Delete:
			for _, e := range k.elements {
				if e.Element.Goto == op.Chain.Name {
					return fmt.Errorf("%s: in use by %s", op.Text(), e.Text())
				}
			}
			delete(k.chains, op.Chain.Name)
		}
	}
	return nil
}

// slotsAreThere says that every slot is there that a verdict can lead to.
func (k *tables) slotsAreThere() error {
	for _, op := range k.elements {
		if op.Set.Name != "services" {
			continue
		}
		var n int
		dispatch, there := k.elements["dispatch\x00"+op.Element.Data]
		if _, err := fmt.Sscanf(dispatch.Element.Goto, "cluster-%d", &n); !there || err != nil {
			return fmt.Errorf("%s leads nowhere", op.Text())
		}
		for slot := range n {
			key := op.Element.Key + string([]byte{byte(slot), 0, 0, 0})
			if _, there := k.elements["endpoints\x00"+key]; !there {
				return fmt.Errorf("%s, but slot %d is missing", op.Text(), slot)
			}
		}
	}
	return nil
}

func (k *tables) text() string {
	lines := slices.Collect(maps.Keys(k.chains))
	for _, op := range k.elements {
		lines = append(lines, op.Text())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Whatever changes come in whatever company, and whenever they are swept,
// every transaction is one that the kernel takes, no verdict leads to a slot
// that is missing, and in the end the kernel holds what a fresh start writes.
func TestRandomChanges(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		layout := layouts.NewLayout(common.Config{})
		l := ledger.New(layout.Chain)
		k := &tables{elements: map[string]nft.Op{}, chains: map[string]bool{}}
		do := func(p *ledger.Plan) {
			t.Helper()
			if err := k.do(p.Transaction); err != nil {
				t.Fatalf("seed %d: %v in\n%s", seed, err, p.Transaction)
			}
			if err := k.slotsAreThere(); err != nil {
				t.Fatalf("seed %d: %v after\n%s", seed, err, p.Transaction)
			}
			l.Done(p)
		}
		now := map[string]proxy.Service{}
		for range 40 {
			var old, wanted []proxy.Service
			for range 1 + r.IntN(3) {
				// The name is the address: no two Services have the same.
				name := fmt.Sprintf("10.0.0.%d", 1+r.IntN(4))
				if slices.ContainsFunc(append(old, wanted...), func(s proxy.Service) bool { return s.Name.Name == name }) {
					continue
				}
				if was, ok := now[name]; ok {
					old = append(old, was)
				}
				delete(now, name)
				if r.IntN(4) > 0 {
					now[name] = randomService(r, name)
					wanted = append(wanted, now[name])
				}
			}
			do(l.Plan(objects(layout, old...), objects(layout, wanted...)))
			for r.IntN(2) == 0 && l.Stale() {
				l.Mark()
				do(l.Sweep())
			}
		}
		for l.Stale() {
			l.Mark()
			do(l.Sweep())
		}
		fresh := &tables{elements: map[string]nft.Op{}, chains: map[string]bool{}}
		services := slices.Collect(maps.Values(now))
		if err := fresh.do(ledger.New(layout.Chain).Plan(nft.Objects{}, objects(layout, services...)).Transaction); err != nil {
			t.Fatal(err)
		}
		if got, want := k.text(), fresh.text(); got != want {
			t.Fatalf("seed %d: the kernel holds\n%s\na fresh start writes\n%s", seed, got, want)
		}
	}
}

func randomService(r *rand.Rand, vip string) proxy.Service {
	svc := service(vip, vip)
	for i := range 5 {
		if r.IntN(2) == 0 {
			svc.Ports[0].Endpoints = append(svc.Ports[0].Endpoints, proxy.Endpoint{
				AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 80),
				Local:    r.IntN(3) == 0,
			})
		}
	}
	return svc
}
