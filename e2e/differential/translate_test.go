package differential

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/iptables/nftscript"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// translateVariable says with how many random dumps the translation is tried.
const translateVariable = "KUBE_VERDICT_TRANSLATE"

// twins are two nodes: one has rules in iptables, the other their translation.
type twins struct {
	theirs, ours *side
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	testbed.Need(t)
	w := &twins{}
	for _, s := range []struct {
		name string
		side **side
	}{{"iptables", &w.theirs}, {"translated", &w.ours}} {
		made, err := newSide(s.name, nil)
		if made != nil {
			t.Cleanup(made.close)
		}
		if err != nil {
			t.Fatal(err)
		}
		*s.side = made
	}
	return w
}

// load gives one side the dumps, and the other what they are translated to.
func (w *twins) load(t *testing.T, dumps ...*iptables.Dump) {
	t.Helper()
	for i, d := range dumps {
		restore := []string{"iptables-restore", "ip6tables-restore"}[i]
		text := d.String()
		// Lists of clients go with the rules that they are for.
		if out, err := w.theirs.node.RunInput(strings.NewReader("*nat\nCOMMIT\n*filter\nCOMMIT\n"), restore); err != nil {
			t.Fatalf("%s: %v %s", restore, err, out)
		}
		if out, err := w.theirs.node.RunInput(strings.NewReader(text), restore); err != nil {
			t.Fatalf("%s: %v %s\n%s", restore, err, out, text)
		}
		read, err := iptables.Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var script strings.Builder
		if _, err := nftscript.Write(&script, read); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if out, err := w.ours.node.RunInput(strings.NewReader(script.String()), "nft", "-f", "-"); err != nil {
			t.Fatalf("nft: %v %s\n%s", err, out, script.String())
		}
		// Stock nft lists it, and loads what it lists.
		family := []string{"ip", "ip6"}[i]
		listing, err := w.ours.node.Run("nft", "list", "table", family, "kube-verdict")
		if err != nil {
			t.Fatal(err)
		}
		again := fmt.Sprintf("delete table %s kube-verdict\n%s", family, listing)
		if out, err := w.ours.node.RunInput(strings.NewReader(again), "nft", "-f", "-"); err != nil {
			t.Fatalf("nft does not load what it lists: %v %s\n%s", err, out, listing)
		}
	}
	for _, s := range []*side{w.theirs, w.ours} {
		if _, err := s.node.Run("conntrack", "-F"); err != nil {
			t.Fatal(err)
		}
	}
}

// dumps are the rules of both families for Services, some of them changed by hand.
func dumps(services []Service, r *rand.Rand, t *testing.T) []*iptables.Dump {
	models := modelsOf(t, services)
	var both []*iptables.Dump
	for i, cidr := range strings.Split(podCIDRs, ",") {
		config := iptables.Config{
			IPv6: i == 1, PodCIDR: netip.MustParsePrefix(cidr), Mark: iptables.DefaultMark,
			NodePortAddresses: nodeAddrs[i : i+1], MasqueradeAll: r.IntN(5) == 0,
		}
		if r.IntN(3) == 0 {
			config.Style = iptables.Classic
		}
		d := iptables.Render(models, config)
		edit(d, r)
		both = append(both, d)
	}
	return both
}

// edit changes what people and other programs may have changed: probabilities, rules
// that are gone, and policies.
func edit(d *iptables.Dump, r *rand.Rand) {
	for _, c := range d.Table("nat").Chains {
		spreads := strings.HasPrefix(c.Name, iptables.PrefixService) || strings.HasPrefix(c.Name, iptables.PrefixLocal)
		if spreads && r.IntN(3) == 0 {
			for i := range c.Rules {
				for j, m := range c.Rules[i].Matches {
					if _, ok := m.(iptables.Statistic); ok {
						c.Rules[i].Matches[j] = iptables.Statistic{Probability: iptables.Probability((0.25 + r.Float64()/2) * float64(iptables.Always))}
					}
				}
			}
		}
	}
	// From some endpoints packets come back, and the next one gets them. The last has
	// none behind it: what it sends back would go on untranslated, by chance.
	last := map[string]bool{}
	for _, c := range d.Table("nat").Chains {
		for i := range c.Rules {
			if j, ok := c.Rules[i].Target.(iptables.Jump); ok && !slices.ContainsFunc(c.Rules[i].Matches, func(m iptables.Match) bool { _, is := m.(iptables.Statistic); return is }) {
				last[j.To] = last[j.To] || !strings.Contains(c.Rules[i].Text(c.Name), "--rcheck")
			}
		}
	}
	for _, c := range d.Table("nat").Chains {
		if strings.HasPrefix(c.Name, iptables.PrefixEndpoint) && !last[c.Name] && r.IntN(8) == 0 {
			c.Rules = c.Rules[:1]
		}
	}
}

func modelsOf(t *testing.T, services []Service) []proxy.Service {
	t.Helper()
	cluster := cluster(t, services)
	var all []proxy.Service
	for svc := range cluster.All() {
		all = append(all, svc)
	}
	return all
}

// Packets meet the same by the translation as by the rules that it was made of.
func TestTranslatedRulesTreatPacketsAlike(t *testing.T) {
	n := setting(t, translateVariable, 10)
	w := newTwins(t)
	questions, differ := 0, 0
	for seed := range n {
		services := Random(5000+seed, 0).Steps[0]
		r := rand.New(rand.NewPCG(5000+seed, 9))
		drop := r.IntN(6) == 0
		if drop { // what becomes of a packet depends on its endpoint then: with one, it is no chance
			for i := range services {
				services[i].Endpoints = services[i].Endpoints[:min(1, len(services[i].Endpoints))]
			}
		}
		both := dumps(services, r, t)
		for _, d := range both {
			if drop {
				d.Table("filter").Chain("FORWARD").Policy = iptables.Drop
			}
		}
		w.load(t, both...)
		suite := &Suite{theirs: w.theirs, ours: w.ours}
		asked := probes(services)
		differences, err := suite.differences(asked, quick)
		if err != nil {
			t.Fatal(err)
		}
		questions += len(asked)
		if len(differences) > 0 {
			differ++
			t.Errorf("seed %d: %d differences, the first: %s", 5000+seed, len(differences), differences[0])
			if differ == 1 {
				t.Logf("of\n%s\n%s", both[0], both[1])
			}
		}
	}
	t.Logf("%d dumps, %d questions, %d dumps that differ", n, questions, differ)
}

// Uneven cascades give each endpoint its share: by either rules the spread is one
// that such dice give at least once in ten million times.
func TestTranslatedShares(t *testing.T) {
	w := newTwins(t)
	endpoints := []Endpoint{{Place: "a"}, {Place: "b"}, {Place: "c"}, {Place: "d"}}
	services := []Service{{Number: 1, Families: "46", Type: "ClusterIP", Ports: []Port{{"TCP", 80, 8080}}, Endpoints: endpoints}}
	for _, tc := range []struct {
		name          string
		probabilities []float64
	}{
		{"even", nil},
		{"by hand", []float64{0.1, 0.6, 0.25}},
		{"one that hardly gets anything", []float64{0.004, 0.5, 0.5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both := []*iptables.Dump{}
			var shares []float64
			for i, cidr := range strings.Split(podCIDRs, ",") {
				d := iptables.Render(modelsOf(t, services), iptables.Config{IPv6: i == 1, PodCIDR: netip.MustParsePrefix(cidr), Mark: iptables.DefaultMark})
				cascade := iptables.Even(len(endpoints))
				for j, p := range tc.probabilities {
					cascade[j] = iptables.Probability(p * float64(iptables.Always))
				}
				shares, _ = iptables.Shares(cascade)
				for _, c := range d.Table("nat").Chains {
					at := 0
					for k := range c.Rules {
						for l, m := range c.Rules[k].Matches {
							if _, ok := m.(iptables.Statistic); ok {
								c.Rules[k].Matches[l] = iptables.Statistic{Probability: cascade[at]}
								at++
							}
						}
					}
				}
				both = append(both, d)
			}
			w.load(t, both...)
			for _, s := range []*side{w.theirs, w.ours} {
				for i, ip := range []string{services[0].address("cluster", "4"), services[0].address("cluster", "6")} {
					const n = 3000
					hits := map[netip.Addr]int{}
					err := s.hosts["pod"].Clients(1, func(c *testbed.Client) error {
						for range n {
							answer, err := c.Ask("tcp", netip.AddrPortFrom(addr(ip), 80), 3*time.Second)
							if err != nil {
								return err
							}
							hits[answer.Server.Addr()]++
						}
						return nil
					})
					if err != nil {
						t.Fatalf("%s: %v", s.name, err)
					}
					var order []netip.Addr
					for _, e := range endpoints {
						order = append(order, places[e.Place][i])
					}
					slices.SortFunc(order, func(a, b netip.Addr) int {
						return strings.Compare(netip.AddrPortFrom(a, 8080).String(), netip.AddrPortFrom(b, 8080).String())
					})
					chi2 := 0.0
					for j, a := range order {
						chi2 += math.Pow(float64(hits[a])-n*shares[j], 2) / (n * shares[j])
					}
					if p := (distuv.ChiSquared{K: float64(len(order) - 1)}).Survival(chi2); p < 1e-8 {
						t.Errorf("%s, %s: %v in the order of %v, want shares %v: p = %g", s.name, ip, hits, order, shares, p)
					}
				}
			}
		})
	}
}
