package dataplane_test

import (
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// nobody observes.
type nobody struct{}

func (nobody) Conflicts(proxy.Name, []proxy.Conflict)        {}
func (nobody) Refused(proxy.Name, error)                     {}
func (nobody) Programmed([]dataplane.Applied, time.Duration) {}
func (nobody) Failed(error)                                  {}
func (nobody) Repaired(dataplane.Repair)                     {}
func (nobody) Contested(kernel.Change, bool)                 {}

// Changes may come at any time; the race detector watches.
func TestChangesComeBesideRounds(t *testing.T) {
	w := adopt(t, testbed.NewTestNamespace(t), flat)
	p := dataplane.NewProgrammer(w.Writer, logr.Discard(), nobody{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			p.Update(service("a", "tcp/80", "10.96.0.1", []string{"10.254.0.1:8080", "10.254.0.2:8080"}[i%2]))
		}
	}()
	for running := true; running; {
		if err := p.Round(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	if err := p.Round(); err != nil {
		t.Fatal(err)
	}
	if svc, ok := w.Applied(proxy.Name{Namespace: "ns", Name: "a"}); !ok || svc.Ports[0].Endpoints[0].String() != "10.254.0.2:8080" {
		t.Errorf("the kernel has %+v, want the last change", svc)
	}
}
