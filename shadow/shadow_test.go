package shadow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

func difference(service string, what ...string) view.Difference {
	d := view.Difference{Service: service}
	for _, w := range what {
		d.Findings = append(d.Findings, view.Finding{What: w})
	}
	return d
}

// A difference is told when two looks after one another show the same, once, and
// once more when it is gone.
func TestOnlyWhatIsSeenTwiceIsTold(t *testing.T) {
	var h history
	for i, look := range []struct {
		seen                []view.Difference
		changed, gone, told string
		unsettled           bool
	}{
		{nil, "", "", "", false},
		{[]view.Difference{difference("a", "x"), difference("b", "x")}, "", "", "", true},
		{[]view.Difference{difference("a", "x")}, "a[x]", "", "a[x]", false}, // b was a matter of time
		{[]view.Difference{difference("a", "x")}, "", "", "a[x]", false},     // not again
		{[]view.Difference{difference("a", "y")}, "", "", "a[x]", true},      // another one, maybe
		{[]view.Difference{difference("a", "z"), difference("c", "x")}, "", "", "a[x]", true},
		{[]view.Difference{difference("a", "z"), difference("c", "y")}, "a[z]", "", "a[z]", true},
		{[]view.Difference{difference("c", "y")}, "c[y]", "a", "c[y]", false},
		{nil, "", "c", "", false},
		{[]view.Difference{difference("c", "y")}, "", "", "", true}, // a new one: it was gone
		{[]view.Difference{difference("c", "y")}, "c[y]", "", "c[y]", false},
	} {
		changed, gone, unsettled := h.look(look.seen)
		var told []view.Difference
		for _, d := range h.told {
			told = append(told, d)
		}
		if text(changed) != look.changed || strings.Join(gone, " ") != look.gone || text(told) != look.told || unsettled != look.unsettled {
			t.Errorf("look %d: changed %q, gone %q, told %q, unsettled %t", i, text(changed), gone, text(told), unsettled)
		}
	}
}

func text(list []view.Difference) string {
	var texts []string
	for _, d := range list {
		s := d.Service + "["
		for _, f := range d.Findings {
			s += f.What
		}
		texts = append(texts, s+"]")
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

func service(name, vip string, endpoints ...string) proxy.Service {
	p := proxy.Port{Name: "http", Protocol: proxy.TCP, Port: 80, Frontends: []proxy.Frontend{{Addr: netip.MustParseAddr(vip)}}}
	for _, e := range endpoints {
		p.Endpoints = append(p.Endpoints, proxy.Endpoint{AddrPort: netip.MustParseAddrPort(e)})
	}
	return proxy.Service{Name: proxy.Name{Namespace: "ns", Name: name}, Ports: []proxy.Port{p}}
}

// theirs is what kube-proxy would have for one Service with two endpoints.
const theirs = `table ip kube-proxy {
	set cluster-ips { type ipv4_addr; elements = { 10.96.0.1 }; }
	map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.1 . tcp . 80 : goto service-AAAAAAAA-ns/web/tcp/http }; }
	chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
	chain nat-output { type nat hook output priority -100; jump services; }
	chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
	chain masquerading { meta mark & 0x4000 != 0 meta mark set meta mark ^ 0x4000 masquerade fully-random; }
	chain services {
		ip daddr @cluster-ips ip saddr != 10.254.0.0/16 meta mark set meta mark | 0x4000
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain service-AAAAAAAA-ns/web/tcp/http { meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.254.0.1 . 80, 1 : 10.254.0.2 . 80 }; }
}
`

// What is programmed is compared with what the kernel has of kube-proxy's.
func TestLooksAtTheKernel(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	nft := func(script string) {
		t.Helper()
		if _, err := ns.RunInput(strings.NewReader(strings.ReplaceAll(script, "; ", "\n")), "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	var reader *kubeproxy.Reader
	err := ns.Do(func() (err error) {
		reader, err = kubeproxy.Open()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	c := New(reader, Options{
		Period:    time.Second,
		Addresses: func() []netip.Addr { return nil },
		Others:    func(name proxy.Name) bool { return name.Name == "labelled" },
	})
	look := func() (r Report, unsettled bool) {
		t.Helper()
		_ = ns.Do(func() error {
			r, unsettled = c.Look()
			return nil
		})
		return r, unsettled
	}
	change := func(svc proxy.Service) { c.Programmed([]dataplane.Applied{{Name: svc.Name, Now: svc}}) }
	if r, _ := look(); !errors.Is(r.Err, kubeproxy.ErrNone) {
		t.Fatalf("there is no kube-proxy, but %v", r.Err)
	}
	nft(theirs)
	change(service("web", "10.96.0.1", "10.254.0.1:80", "10.254.0.2:80"))
	change(service("labelled", "10.96.0.9", "10.254.0.1:80")) // not kube-proxy's
	for range 3 {
		if r, unsettled := look(); r.Err != nil || len(r.Differences)+len(r.Changed) > 0 || unsettled || r.Mode != kubeproxy.Nftables || r.Frontends != 2 {
			t.Fatalf("both have the same, but %+v", r)
		}
	}
	nft("flush chain ip kube-proxy service-AAAAAAAA-ns/web/tcp/http; add rule ip kube-proxy service-AAAAAAAA-ns/web/tcp/http meta l4proto tcp dnat to 10.254.0.1:80; ")
	if r, unsettled := look(); len(r.Changed) > 0 || !unsettled {
		t.Errorf("told at first sight: %+v", r)
	}
	r, _ := look()
	if len(r.Changed) != 1 || r.Changed[0].Text("we", "they") != "ns/web\n  10.96.0.1:80/tcp endpoint 10.254.0.2:80: 50% in we, none in they\n" {
		t.Errorf("told %+v", r.Changed)
	}
	// We follow: it is gone.
	change(service("web", "10.96.0.1", "10.254.0.1:80"))
	if r, _ := look(); fmt.Sprint(r.Gone) != "[ns/web]" || len(r.Differences) > 0 {
		t.Errorf("it is the same now, but %+v", r)
	}
	// A failure says nothing of differences.
	change(service("web", "10.96.0.1", "10.254.0.3:80"))
	look()
	look()
	nft("delete table ip kube-proxy")
	if r, _ := look(); r.Err == nil || len(r.Differences) != 1 {
		t.Errorf("kube-proxy is gone: %+v", r)
	}
	c.Programmed([]dataplane.Applied{{Name: proxy.Name{Namespace: "ns", Name: "web"}}})
	if len(c.desired()) != 1 {
		t.Error("a Service that is gone is still wanted")
	}
}

// seldom is a kube-proxy that takes its time to be read.
type seldom struct {
	took time.Duration
	at   []time.Time
	// looked is told of each look but those that nobody waits for.
	looked chan struct{}
}

func (s *seldom) Find([]netip.Addr, ...kubeproxy.Mode) (*kubeproxy.Found, error) {
	s.at = append(s.at, time.Now())
	time.Sleep(s.took)
	select {
	case s.looked <- struct{}{}:
	default:
	}
	return &kubeproxy.Found{View: view.View{}}, nil
}

// However long a look takes, it takes no more than a small part of the time.
func TestLooksAreSeldomWhereTheyAreDear(t *testing.T) {
	const looks = 3
	slow := &seldom{took: 20 * time.Millisecond, looked: make(chan struct{}, looks)}
	c := New(nil, Options{
		Period: time.Millisecond, Addresses: func() []netip.Addr { return nil }, Others: func(proxy.Name) bool { return false }, Told: func(Report) {},
	})
	c.proxy = slow
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	c.Programmed(nil)
	for i := range looks {
		select {
		case <-slow.looked:
		case <-time.After(time.Minute):
			t.Fatalf("only %d looks in a minute", i)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(slow.at); i++ {
		if wait := slow.at[i].Sub(slow.at[i-1]); wait < patience*slow.took {
			t.Errorf("look %d is %s after the one before", i, wait)
		}
	}
	if len(slow.at) < looks {
		t.Errorf("%d looks", len(slow.at))
	}
}
