package dataplane_test

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// rivals are the names of two Services, each with one port, whose ports want the same number.
func rivals(t *testing.T) (a, b string) {
	t.Helper()
	seen := map[uint32]string{}
	for i := range 1 << 20 {
		name := fmt.Sprintf("s-%d", i)
		h := fnv.New32a()
		_, _ = h.Write([]byte("ns/" + name + ":/tcp"))
		if other, is := seen[h.Sum32()&^1]; is {
			return other, name
		}
		seen[h.Sum32()&^1] = name
	}
	t.Fatal("no two names have the same number")
	return "", ""
}

// Two Service ports that want the same number keep those that they have over a restart, in
// whatever order their Services come, and so do their clients. Whoever gets an address that
// was another's does not get its number.
func TestNumbersStay(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	name1, name2 := rivals(t)
	one := func(name, vip string) proxy.Service {
		svc := sticky(service(name, "tcp/80", vip, backends), 0, time.Hour)
		svc.Ports[0].ID, svc.Ports = 0, svc.Ports[:1]
		return svc
	}
	external := func(svc proxy.Service, vip string) proxy.Service {
		port := svc.Ports[0]
		port.Frontends = []proxy.Frontend{{Addr: addr(vip), Kind: proxy.ExternalIP}}
		svc.Ports = append(svc.Ports, port)
		return svc
	}
	a, b := external(one(name1, vip4), "192.0.2.1"), one(name2, "10.96.0.2")
	p := adopt(t, ns, flat).programmer(b)
	round := func() {
		t.Helper()
		if err := p.Round(); err != nil {
			t.Fatal(err)
		}
		if err := p.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	round()
	p.Update(a) // comes second, and so has the second number
	round()
	before := listing(t, ns, "first")
	if !strings.Contains(before, "ns/"+name1) || !strings.Contains(before, "ns/"+name2) {
		t.Fatalf("the Services are not there:\n%s", before)
	}
	for range 10 {
		w := adopt(t, ns, flat)
		generation := w.generation()
		p = w.programmer(a, b)
		round()
		if w.generation() != generation {
			t.Fatalf("a restart has changed\n%s\nto\n%s", before, listing(t, ns, "again"))
		}
	}

	// While the agent is away, the addresses change hands.
	id := func(name, vip string) string {
		for line := range strings.Lines(listing(t, ns, "moved")) {
			if _, rest, is := strings.Cut(line, vip+` . tcp . 80 comment "ns/`+name+`" : `); is {
				return strings.FieldsFunc(rest, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })[0]
			}
		}
		t.Fatalf("%s is not at %s", name, vip)
		return ""
	}
	id1, id2 := id(name1, vip4), id(name2, "10.96.0.2")
	if id1 == id2 {
		t.Fatalf("both have the number %s", id1)
	}
	p = adopt(t, ns, flat).programmer(external(one(name1, "10.96.0.2"), "192.0.2.1"), one(name2, vip4))
	round()
	if got := id(name1, "10.96.0.2"); got != id1 {
		t.Errorf("the number of %s was %s and is %s", name1, id1, got)
	}
	if got := id(name2, vip4); got == id1 {
		t.Errorf("%s has the number %s of %s", name2, got, name1)
	}
}
