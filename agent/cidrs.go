package agent

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// serviceCIDRs hands over the networks of ClusterIPs, without those that can't be: what
// goes there is dropped, and that must not be how a correction comes.
type serviceCIDRs struct {
	set      func([]netip.Prefix)
	problems func([]proxy.Problem)
	taken    func() []proxy.Taken

	mu      sync.Mutex
	known   bool // they have been read
	objects []*networkingv1.ServiceCIDR
	// servers are where the API server, or a proxy to it, is reached.
	servers []netip.Addr
}

func (s *serviceCIDRs) changed(objects []*networkingv1.ServiceCIDR) {
	s.mu.Lock()
	s.objects, s.known = objects, true
	s.mu.Unlock()
	s.look()
}

// dialed notes an address of the API server, before the first packet goes there. In a
// pod that is a ClusterIP, as it should be.
func (s *serviceCIDRs) dialed(server netip.Addr) {
	if inPod, _, ok := proxy.ParseAddr(os.Getenv("KUBERNETES_SERVICE_HOST")); ok && inPod == server {
		return
	}
	s.mu.Lock()
	news := !slices.Contains(s.servers, server)
	if news {
		s.servers = append(s.servers, server)
	}
	s.mu.Unlock()
	if news {
		s.look()
	}
}

// look hands over the networks as they are plausible now.
func (s *serviceCIDRs) look() {
	taken := s.taken()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		return
	}
	for _, a := range s.servers {
		taken = append(taken, proxy.Taken{Prefix: netip.PrefixFrom(a, a.BitLen()), By: "the API server"})
	}
	cidrs, problems := proxy.ServiceCIDRs(s.objects, taken...)
	s.problems(problems)
	s.set(cidrs)
}

// ServiceCIDRs tells what is wrong with them: in the log, and in an Event on each.
func (r *reporter) ServiceCIDRs(problems []proxy.Problem) {
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	if !r.news(proxy.Name{}, "servicecidrs", strings.Join(all, "\n")) {
		return
	}
	for _, p := range problems {
		r.log.Info("Part of a ServiceCIDR was left out or corrected", "problem", p.String())
		object := &networkingv1.ServiceCIDR{}
		if err := r.services.Get(context.Background(), client.ObjectKey{Name: p.Name.Name}, object); err == nil {
			r.recorder.Eventf(object, nil, corev1.EventTypeWarning, p.Reason, "Program", "%s", note(p.String()))
		}
	}
}
