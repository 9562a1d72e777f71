package trace_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/trace"
)

// Steps of different packets come mixed; each packet is told once, when no more of
// it comes.
func TestCollector(t *testing.T) {
	c := trace.NewCollector()
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for i, id := range []uint32{7, 8, 7, 8, 7} {
		c.Add(nft.Traced{ID: id, Rule: uint64(i)}, at(i))
	}
	rules := func(p *trace.Packet) (all []uint64) {
		for _, s := range p.Steps {
			all = append(all, s.Rule)
		}
		return all
	}
	if done := c.Done(at(50), false); len(done) != 0 {
		t.Fatalf("%d packets are done while more may come", len(done))
	}
	c.Add(nft.Traced{ID: 8, Rule: 9}, at(90))
	done := c.Done(at(110), false)
	if len(done) != 1 || !slices.Equal(rules(done[0]), []uint64{0, 2, 4}) {
		t.Fatalf("done are %v", done)
	}
	// Its number is that of another packet now.
	c.Add(nft.Traced{ID: 7, Rule: 10}, at(120))
	done = c.Done(at(130), true)
	if len(done) != 2 || !slices.Equal(rules(done[0]), []uint64{1, 3, 9}) || !slices.Equal(rules(done[1]), []uint64{10}) {
		t.Fatalf("in the end, done are %v", done)
	}
	if done := c.Done(at(999), true); len(done) != 0 {
		t.Errorf("%d packets are told twice", len(done))
	}
}

func TestFrontends(t *testing.T) {
	element := func(key, comment string) []nft.Element { return []nft.Element{{Key: key, Comment: comment}} }
	got := trace.Frontends([]*nft.Held{nil, {
		ID: nft.ID{Family: nft.IPv6}, Sets: map[string]*nft.HeldSet{
			"services": {Elements: element("b", "ns/web:http")}, "no-endpoints": {Elements: element("a", "ns/empty")},
			"no-endpoints-nodeport": {Elements: element("c", "ns/empty")}, "endpoints": {Elements: element("d", "ns/web:http")},
		},
	}})
	want := []trace.Frontend{{nft.IPv6, "a", "ns/empty"}, {nft.IPv6, "c", "ns/empty"}, {nft.IPv6, "b", "ns/web:http"}}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if got[0].Name() != "ns/empty" || got[2].Name() != "ns/web" {
		t.Errorf("they are named %s and %s", got[0].Name(), got[2].Name())
	}
}
