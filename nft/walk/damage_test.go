package walk_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/view"
)

var damages = flag.Int("damages", 40, "how many damaged rulesets to try in each layout")

// damage removes, moves or inserts one rule of a random chain, and says what it did.
func damage(t *testing.T, random *rand.Rand, held *nft.Held) string {
	t.Helper()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(held.Chains)) {
		if len(held.Chains[name].Rules) > 0 && name != "configuration" {
			names = append(names, name)
		}
	}
	name := names[random.IntN(len(names))]
	c := held.Chains[name]
	i := random.IntN(len(c.Rules))
	switch random.IntN(3) {
	case 0:
		c.Rules = slices.Delete(slices.Clone(c.Rules), i, i+1)
		return fmt.Sprintf("%s without rule %d", name, i+1)
	case 1:
		rule := c.Rules[i]
		c.Rules = slices.Delete(slices.Clone(c.Rules), i, i+1)
		to := random.IntN(len(c.Rules) + 1)
		c.Rules = slices.Insert(c.Rules, to, rule)
		return fmt.Sprintf("%s with rule %d as rule %d", name, i+1, to+1)
	}
	statements := [][]nft.Statement{
		{nft.Counter{}}, {nft.Drop{}}, {nft.Return{}}, {nft.Reject{}}, {nft.Transport{Protocol: 6}, nft.Drop{}}, {nft.FromNode{}, nft.Drop{}},
		{nft.Mark{Bits: 1 << 12}}, {nft.From{Prefix: podCIDRs[map[nft.Family]int{nft.IPv4: 0, nft.IPv6: 1}[held.Family]]}, nft.Drop{}},
	}
	rule := nft.Rule{Statements: statements[random.IntN(len(statements))]}
	inserted, err := rule.Held(held.Family)
	if err != nil {
		t.Fatal(err)
	}
	c.Rules = slices.Insert(slices.Clone(c.Rules), i, inserted)
	return fmt.Sprintf("%s with %q before rule %d", name, rule.Text(held.Family), i+1)
}

// packets is what first packets of each kind of client meet at all frontends.
func packets(t *testing.T, r *walk.Ruleset, frontends map[string]uint8, sources []netip.Addr) []string {
	t.Helper()
	var all []string
	for _, to := range slices.Sorted(maps.Keys(frontends)) {
		for _, from := range sources {
			p := walk.Packet{Source: netip.AddrPortFrom(from, 40000), Dest: netip.MustParseAddrPort(to), Protocol: frontends[to], In: "veth1"}
			if world.Local(from) {
				p.In = ""
			}
			outcomes, err := r.Follow(p, world)
			if err != nil {
				all = append(all, err.Error())
				continue
			}
			shares := map[string]float64{}
			for _, o := range outcomes {
				end := fmt.Sprint(o.Fate)
				if o.Fate == walk.Forwarded || o.Fate == walk.Delivered {
					end += fmt.Sprint(o.Dest, o.Translated, o.Translated && o.Masqueraded)
				}
				var looked []string
				for _, s := range o.Steps {
					if s.Matched && strings.Contains(s.Rule.Text(), "update @") {
						end += " is remembered by " + s.Chain
					}
					for _, l := range s.Lookups {
						if l.Set.Name == "remembered" || strings.HasPrefix(l.Set.Name, "KUBE-SEP-") {
							looked = append(looked, l.Set.Name)
						}
					}
				}
				slices.Sort(looked) // in whichever order
				end += fmt.Sprint(looked)
				shares[end] += o.Share
			}
			for end := range shares {
				shares[end] = float64(int(shares[end]*1e6+0.5)) / 1e6
			}
			all = append(all, fmt.Sprintf("%s -> %s: %v", from, to, shares))
		}
	}
	return all
}

// One rule that is removed, moved or inserted is noticed in a View exactly if packets
// notice it, in both layouts. Packets are followed on paper, which a test with real
// packets compares with the kernel.
func TestDamagedRules(t *testing.T) {
	config := layout.Config{PodCIDRs: podCIDRs, MasqueradeBit: 12}
	list := services(t, "../../examples/everything.yaml")
	var o walk.Options
	o.NodeAddrs = nodeAddrs
	for _, svc := range list {
		o.OnNode = append(o.OnNode, svc.OnNode()...)
	}
	sources := map[nft.Family][]netip.Addr{}
	for _, text := range []string{
		"10.254.0.9", "192.0.2.1", "198.18.0.9", "10.240.0.11", "fd00:10:254::9", "2001:db8::1", "fd00:10:240::11",
	} {
		addr := netip.MustParseAddr(text)
		sources[nft.FamilyOf(addr)] = append(sources[nft.FamilyOf(addr)], addr)
	}
	for _, e := range o.OnNode {
		if f := nft.FamilyOf(e.Addr()); !slices.Contains(sources[f], e.Addr()) {
			sources[f] = append(sources[f], e.Addr())
		}
	}
	for name, l := range layouts(config) {
		t.Run(name, func(t *testing.T) {
			noticed, silent, alarms := 0, 0, 0
			for seed := range *damages {
				random := rand.New(rand.NewPCG(uint64(seed), 1))
				c := contentsOf(t, l, config, "../../examples/everything.yaml")[seed%2]
				whole, damaged := mustHold(t, c), mustHold(t, c)
				what := damage(t, random, damaged)
				r, s := walk.Compile(whole), walk.Compile(damaged)
				served := served(c)
				differ := !slices.Equal(packets(t, r, served, sources[c.Family]), packets(t, s, served, sources[c.Family]))
				found := view.Compare(r.View(o), s.View(o))
				switch {
				case differ && len(found) == 0:
					t.Errorf("seed %d: packets notice %s, a View does not", seed, what)
				case differ:
					noticed++
				case len(found) > 0:
					alarms++
					t.Logf("seed %d: no packet notices %s, but a View: %v", seed, what, found)
				default:
					silent++
				}
			}
			t.Logf("%d noticed, %d make no difference, %d false alarms", noticed, silent, alarms)
			if noticed == 0 {
				t.Error("no packet noticed anything")
			}
		})
	}
}

func mustHold(t *testing.T, c nft.Contents) *nft.Held {
	t.Helper()
	held, err := c.Held()
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// served are the frontends of Services alone: what is answered at other ports and
// addresses is in no View.
func served(c nft.Contents) map[string]uint8 {
	all := frontends(c)
	maps.DeleteFunc(all, func(to string, _ uint8) bool { return netip.MustParseAddrPort(to).Port() == 9 })
	return all
}
