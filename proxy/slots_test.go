package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/proxy"
)

func at(hosts ...byte) (list []proxy.Endpoint) {
	for _, n := range hosts {
		list = append(list, proxy.Endpoint{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80)})
	}
	return list
}

func TestKeepSlots(t *testing.T) {
	for _, tc := range []struct{ had, now, want []byte }{
		{nil, []byte{1, 2}, []byte{1, 2}},
		{[]byte{1, 2}, nil, nil},
		{[]byte{1, 2, 3}, []byte{1, 2, 3}, []byte{1, 2, 3}},
		{[]byte{1, 2, 3}, []byte{1, 2}, []byte{1, 2}},
		{[]byte{1, 2, 3, 4}, []byte{2, 3, 4}, []byte{4, 2, 3}},       // the last moves into the hole
		{[]byte{4, 2, 3}, []byte{1, 2, 3, 4}, []byte{4, 2, 3, 1}},    // who comes is the last
		{[]byte{1, 2, 3, 4}, []byte{2, 4, 5, 6}, []byte{5, 2, 6, 4}}, // who comes takes the place of who goes
		{[]byte{1, 2}, []byte{3, 4, 5}, []byte{3, 4, 5}},
		{[]byte{1, 1, 2}, []byte{1, 2, 3}, []byte{3, 1, 2}}, // somebody has written into the kernel
	} {
		if got := proxy.KeepSlots(at(tc.had...), at(tc.now...)); !slices.Equal(got, at(tc.want...)) {
			t.Errorf("%v in the slots of %v are %v, want %v", tc.now, tc.had, got, tc.want)
		}
	}
}

// Whatever comes and goes, all endpoints have a slot, and no more of them move than
// have lost theirs.
func TestSlotsStay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var had []proxy.Endpoint
	for range 2000 {
		var now []byte
		for n := range byte(40) {
			if r.IntN(4) > 0 {
				now = append(now, n)
			}
		}
		got := proxy.KeepSlots(had, at(now...))
		sorted := slices.Clone(got)
		slices.SortFunc(sorted, func(a, b proxy.Endpoint) int { return a.Compare(b.AddrPort) })
		if !slices.Equal(sorted, at(now...)) {
			t.Fatalf("%v in the slots of %v are %v", now, had, got)
		}
		for i, ep := range had {
			if i < len(got) && got[i] != ep && slices.Contains(got, ep) {
				t.Fatalf("%v in the slots of %v are %v: %v has moved", now, had, got, ep)
			}
		}
		had = got
	}
}

// The endpoints of each way in stay in their slots, also where a way in comes or goes.
func TestSlotsOfAService(t *testing.T) {
	port := func(number uint16, addr string, endpoints ...byte) proxy.Port {
		return proxy.Port{Protocol: proxy.TCP, Port: number, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr(addr)}},
			Endpoints: at(endpoints...), LocalEndpoints: at(endpoints[:1]...)}
	}
	old := proxy.Service{Ports: []proxy.Port{port(80, "10.96.0.1", 3, 2), port(81, "10.96.0.1", 1, 2), port(80, "192.0.2.1", 2, 1)}}
	now := proxy.Service{Ports: []proxy.Port{port(80, "192.0.2.1", 1, 2), port(80, "10.96.0.1", 1, 2), port(82, "10.96.0.1", 1, 2)}}
	show := func(port uint16, addr string, all, local []proxy.Endpoint) string {
		return fmt.Sprint(port, addr, all, local)
	}
	var got []string
	for _, p := range now.KeepSlots(&old).Ports {
		got = append(got, show(p.Port, p.Frontends[0].Addr.String(), p.Endpoints, p.LocalEndpoints))
	}
	want := []string{
		show(80, "192.0.2.1", at(2, 1), at(1)),
		show(80, "10.96.0.1", at(1, 2), at(1)),
		show(82, "10.96.0.1", at(1, 2), at(1)),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if !slices.Equal(now.Ports[0].Endpoints, at(1, 2)) {
		t.Error("the Service that was given has changed")
	}
}
