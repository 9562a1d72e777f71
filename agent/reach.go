package agent

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// reach tells when the API server can't be reached, and when it can again, and
// which rights are missing there. The client's watches go on trying without a word.
type reach struct {
	log logr.Logger

	mu sync.Mutex
	// since is when the API server was lost; zero while it is reached.
	since time.Time
	// missing are the rights that were asked for in vain, as in "list services".
	missing map[string]bool
	// dialed is told which addresses connections are made to; nil for nobody.
	dialed func(netip.Addr)
	// unserved are the lists and watches that the API server has no answer to, with its
	// status: there is no such resource, or no way to ask for it like that.
	unserved map[string]int
}

// tellReach is the configuration with a reach in it.
func tellReach(api *rest.Config, log logr.Logger) (*rest.Config, *reach) {
	api = rest.CopyConfig(api)
	r := &reach{log: log.WithValues("server", api.Host), missing: map[string]bool{}, unserved: map[string]int{}}
	api.Wrap(func(next http.RoundTripper) http.RoundTripper { return &reached{next, r} })
	return api, r
}

// reached is a transport that a reach listens to.
type reached struct {
	http.RoundTripper
	reach *reach
}

// RoundTrip is the transport's.
func (t *reached) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{ConnectStart: t.reach.connecting})))
	switch {
	case err == nil:
		t.reach.answered(right(request), answer.StatusCode)
	case request.Context().Err() == nil: // else it was given up
		t.reach.failed(err)
	}
	return answer, err
}

// listen has dialed told of all addresses that connections are made to.
func (r *reach) listen(dialed func(netip.Addr)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialed = dialed
}

// connecting is called before a connection is made, which may be for another request.
func (r *reach) connecting(_, address string) {
	at, err := netip.ParseAddrPort(address)
	r.mu.Lock()
	dialed := r.dialed
	r.mu.Unlock()
	if err == nil && dialed != nil {
		dialed(at.Addr().Unmap())
	}
}

func (r *reach) answered(right string, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() {
		r.since = time.Time{}
		r.log.Info("The API server is reached again")
	}
	switch forbidden := status == http.StatusForbidden; {
	case forbidden && !r.missing[right]:
		r.missing[right] = true
		r.log.Info("A right is missing at the API server; the rest goes on without it", "right", right, "fix", "grant it in the ClusterRole kube-verdict; config/rbac has all that are needed")
	case !forbidden && r.missing[right]:
		delete(r.missing, right)
		r.log.Info("A right is missing no more", "right", right)
	}
	// A list that is empty is found.
	reads := strings.HasPrefix(right, "list ") || strings.HasPrefix(right, "watch ")
	switch unserved := reads && (status == http.StatusNotFound || status == http.StatusBadRequest); {
	case unserved && r.unserved[right] == 0:
		r.unserved[right] = status
		r.log.Info("The API server is too old for a request", "request", right, "status", status, "needs", "Kubernetes 1.31; without ServiceCIDRs, which are there from 1.33 on, the rest goes on")
	case !unserved:
		delete(r.unserved, right)
	}
}

func (r *reach) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = time.Now()
		r.log.Error(err, "The API server can't be reached; what is programmed stays, and it is tried again")
	}
}

// patience is how long the API server may be away before anyone is told but the log:
// a connection that breaks is soon made again.
const patience = 10 * time.Second

// check says since when the API server is away.
func (r *reach) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if away := time.Since(r.since); !r.since.IsZero() && away > patience {
		return fmt.Errorf("the API server has not been reached for %s; what is programmed stays", away.Round(time.Second))
	}
	return nil
}

// rights says which are missing, or that the API server is too old, or nothing.
func (r *reach) rights() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for right, status := range r.unserved {
		if status == http.StatusBadRequest {
			return fmt.Errorf("the API server does not understand %q as it is asked: it has to be of Kubernetes 1.31 or newer", right)
		}
	}
	if len(r.missing) == 0 {
		return nil
	}
	return fmt.Errorf("may not %s at the API server: grant it in the ClusterRole kube-verdict", strings.Join(slices.Sorted(maps.Keys(r.missing)), ", "))
}

// lacks says whether a resource can't be listed, for want of a right or because there
// is none.
func (r *reach) lacks(resource string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, verb := range []string{"list ", "watch "} {
		if r.missing[verb+resource] || r.unserved[verb+resource] == http.StatusNotFound {
			return true
		}
	}
	return false
}

// right is what a request needs, as a verb and a resource.
func right(request *http.Request) string {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = "."+parts[1], parts[3:]
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPatch: "patch", http.MethodPut: "update", http.MethodDelete: "delete"}[request.Method]
	switch {
	case verb != "":
	case request.URL.Query().Get("watch") != "":
		verb = "watch"
	case len(parts) > 1:
		verb = "get"
	default:
		verb = "list"
	}
	return verb + " " + parts[0] + group
}

// without reads a resource at the start, and says whether it has to go on without
// it, because it can't be read. A reconciler follows when it can.
func (r *reach) without(ctx context.Context, resource string, load func(context.Context) error) (without bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- load(ctx) }()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			return false, err
		case <-ctx.Done():
			return false, ctx.Err()
		case <-look.C:
			if r.lacks(resource) {
				r.log.Info("Going on without a resource that can't be read", "resource", resource)
				return true, nil
			}
		}
	}
}
