package differential

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	nftmaps "github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// paperNode is a node on which packets are followed on paper and in the kernel.
type paperNode struct {
	*side
	t      *testing.T
	conn   *kernel.Conn
	layout *nftmaps.Layout
}

func newPaperNode(t *testing.T) *paperNode {
	t.Helper()
	testbed.Need(t)
	s, err := newSide("kube-verdict", nil)
	if s != nil {
		t.Cleanup(s.close)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := kernel.Open(s.node.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	config := layout.Config{MasqueradeBit: layout.DefaultMasqueradeBit}
	for text := range strings.SplitSeq(podCIDRs, ",") {
		config.PodCIDRs = append(config.PodCIDRs, netip.MustParsePrefix(text))
	}
	return &paperNode{side: s, t: t, conn: conn, layout: nftmaps.NewLayout(config)}
}

// program makes the node serve just these.
func (n *paperNode) program(services []Service) {
	n.t.Helper()
	cluster := cluster(n.t, services)
	var changes []dataplane.Change
	for svc := range cluster.All() {
		changes = append(changes, dataplane.Change{Name: svc.Name, Service: svc})
	}
	w := dataplane.NewWriter(n.conn, n.layout)
	w.SetNetworks(layout.Networks{Pods: n.layout.Known().Pods, Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")}})
	if err := w.Adopt(); err != nil {
		n.t.Fatal(err)
	}
	if failures, err := w.Program(changes); err != nil || len(failures) > 0 {
		n.t.Fatalf("%v, failures %v", err, failures)
	}
	if err := w.Sweep(); err != nil {
		n.t.Fatal(err)
	}
	// No flow and no client's endpoint of before.
	if _, err := n.node.Run("conntrack", "-F"); err != nil {
		n.t.Fatal(err)
	}
	for _, table := range n.layout.Tables() {
		if _, err := n.node.Run("nft", "flush", "map", table.Family.String(), table.Name, n.layout.Memory(table).Remembered.Name); err != nil {
			n.t.Fatal(err)
		}
	}
}

// cluster is the model of Services as the node sees them.
func cluster(t *testing.T, services []Service) *proxy.Cluster {
	t.Helper()
	node := proxy.Node{Name: NodeName, Zone: "zone-a", Addresses: nodeAddrs[:2], NodePorts: nodeAddrs[:2]}
	cluster := proxy.NewCluster()
	for _, s := range services {
		svc, balancer := &corev1.Service{}, &corev1.Service{}
		decode(t, s.object(), svc)
		decode(t, s.status(), balancer)
		svc.Status = balancer.Status
		if !proxy.Handles(svc, proxy.ScopeAll) {
			continue
		}
		var list []*discoveryv1.EndpointSlice
		for _, o := range s.slices() {
			slice := &discoveryv1.EndpointSlice{}
			decode(t, o, slice)
			list = append(list, slice)
		}
		model, _ := proxy.Build(svc, list, node)
		cluster.Set(model)
	}
	return cluster
}

func decode(t *testing.T, from object, to any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(from, to); err != nil {
		t.Fatal(err)
	}
}

// ruleset is what the kernel holds, with what clients are remembered for.
func (n *paperNode) ruleset() map[nft.Family]*walk.Ruleset {
	n.t.Helper()
	rules := map[nft.Family]*walk.Ruleset{}
	for _, table := range n.layout.Tables() {
		held, err := n.conn.Read(table.ID())
		if err != nil || held == nil {
			n.t.Fatalf("table %s: %v", table.ID(), err)
		}
		remembered := n.layout.Memory(table).Remembered.Name
		if held.Sets[remembered].Elements, err = n.conn.Elements(table.ID(), remembered); err != nil {
			n.t.Fatal(err)
		}
		rules[table.Family] = walk.Compile(held)
	}
	return rules
}

// paper is what becomes of a question on paper: what can be answered, in order.
func paper(t *testing.T, r map[nft.Family]*walk.Ruleset, p Probe) []string {
	t.Helper()
	family := map[bool]int{true: 0, false: 1}
	world := walk.World{
		Local:    func(a netip.Addr) bool { return slices.Contains(nodeAddrs, a) },
		SourceTo: func(a netip.Addr) netip.Addr { return nodeAddrs[family[a.Is4()]] },
	}
	from, in := places[map[string]string{"node": "n"}[p.From]], ""
	if p.From != "node" {
		from, in = places[p.From], "eth0"
	}
	packet := walk.Packet{
		Source: netip.AddrPortFrom(from[family[p.To.Addr().Is4()]], 40000), Dest: p.To, In: in,
		Protocol: map[string]uint8{"tcp": 6, "udp": 17}[p.Protocol],
	}
	outcomes, err := r[nft.FamilyOf(p.To.Addr())].Follow(packet, world)
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	seen := map[string]bool{}
	for _, o := range outcomes {
		seen[ending(p, o)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// ending is an outcome as clients and servers see it.
func ending(p Probe, o walk.Outcome) string {
	ends := o.Fate == walk.Rejected || o.Fate == walk.Dropped
	switch {
	case ends && p.Protocol == "udp" && o.Steps[len(o.Steps)-1].Hook == nft.Output:
		return "forbidden" // whoever sends is told so, whether it is rejected or dropped
	case o.Fate == walk.Rejected:
		return "refused"
	case o.Fate == walk.Dropped:
		return "silent"
	case !o.Translated && o.Fate == walk.Forwarded:
		return "unreachable" // the outside has no such host
	case !o.Translated && (o.Dest.Port() != takenNodePort || p.Protocol != "tcp"):
		return "refused" // nothing listens there
	}
	return who(o.Dest) + "@" + source(p.From, o.Source.Addr())
}

// evaluated compares what packets meet with what they meet on paper, before and
// after clients are remembered. What differs at first sight is asked again, with
// patience.
func (n *paperNode) evaluated(services []Service) {
	n.t.Helper()
	n.program(services)
	// Nothing here answers over SCTP, so that what is refused can't be told from what
	// is dropped.
	before, questions := n.ruleset(), slices.DeleteFunc(probes(services), func(q Probe) bool { return q.Protocol == "sctp" })
	got := n.met(questions, quick)
	differs := func(q Probe, after map[nft.Family]*walk.Ruleset) string {
		real, wanted := got[q], paper(n.t, before, q)
		if q.Sticky && strings.Contains(wanted[0], "@") {
			if len(real) != 1 || !slices.Contains(wanted, real[0]) {
				return fmt.Sprintf("%s: %v on paper, of which one; in the kernel %v", q, wanted, real)
			}
			wanted = paper(n.t, after, q)
		}
		if !slices.Equal(real, wanted) {
			return fmt.Sprintf("%s: %v on paper, %v in the kernel", q, wanted, real)
		}
		return ""
	}
	after := n.ruleset()
	var again []Probe
	for _, q := range questions {
		if differs(q, after) != "" {
			again = append(again, q)
		}
	}
	if len(again) == 0 {
		return
	}
	maps.Copy(got, n.met(again, thorough))
	after = n.ruleset()
	for _, q := range again {
		if text := differs(q, after); text != "" {
			n.t.Error(text)
		}
	}
}

// met is what packets meet.
func (n *paperNode) met(questions []Probe, e effort) map[Probe][]string {
	n.t.Helper()
	got := map[Probe][]string{}
	byVantage := map[string][]Probe{}
	for _, q := range questions {
		byVantage[q.From] = append(byVantage[q.From], q)
	}
	for from, list := range byVantage {
		err := n.hosts[from].Clients(1, func(c *testbed.Client) error {
			for _, q := range list {
				seen := map[string]bool{}
				for range e.tries {
					answer := answered(c, q, e.patience)
					seen[answer] = true
					if !strings.Contains(answer, "@") {
						break
					}
				}
				got[q] = slices.Sorted(maps.Keys(seen))
			}
			return nil
		})
		if err != nil {
			n.t.Fatal(err)
		}
	}
	return got
}

// What the evaluation of our rules says becomes of a packet is what becomes of it.
// KUBE_VERDICT_EVALUATE says with how many random clusters it is tried.
func TestPacketsMeetWhatIsOnPaper(t *testing.T) {
	clusters := setting(t, "KUBE_VERDICT_EVALUATE", 4)
	n := newPaperNode(t)
	for seed := range clusters {
		for i, services := range Random(1000+seed, 1).Steps {
			t.Run(fmt.Sprintf("seed %d step %d", 1000+seed, i+1), func(t *testing.T) {
				n.t = t
				n.evaluated(services)
			})
		}
	}
}
