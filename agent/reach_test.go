package agent

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/metrics"
)

func TestRightsAreNamed(t *testing.T) {
	for _, tc := range []struct{ method, url, want string }{
		{"GET", "/api/v1/services?limit=500", "list services"},
		{"GET", "/api/v1/services?watch=true", "watch services"},
		{"GET", "/api/v1/nodes?fieldSelector=metadata.name%3Da&watch=true", "watch nodes"},
		{"GET", "/apis/discovery.k8s.io/v1/endpointslices", "list endpointslices.discovery.k8s.io"},
		{"GET", "/api/v1/namespaces/ns/services/web", "get services"},
		{"POST", "/apis/events.k8s.io/v1/namespaces/default/events", "create events.events.k8s.io"},
		{"PATCH", "/apis/events.k8s.io/v1/namespaces/default/events/x", "patch events.events.k8s.io"},
	} {
		if got := right(httptest.NewRequest(tc.method, tc.url, nil)); got != tc.want {
			t.Errorf("%s %s needs %q, want %q", tc.method, tc.url, got, tc.want)
		}
	}
}

func TestReach(t *testing.T) {
	r := &reach{log: logr.Discard(), missing: map[string]bool{}, unserved: map[string]int{}}
	r.answered("list services", http.StatusForbidden)
	r.answered("list nodes", http.StatusOK)
	if err := r.rights(); err == nil || !strings.HasPrefix(err.Error(), "may not list services at the API server") || !r.lacks("services") || r.lacks("nodes") {
		t.Errorf("the rights are: %v", err)
	}
	r.answered("list services", http.StatusOK)
	if err := r.rights(); err != nil || r.lacks("services") {
		t.Errorf("with all rights: %v", err)
	}
	r.answered("get services", http.StatusNotFound)
	r.answered("list servicecidrs.networking.k8s.io", http.StatusNotFound)
	if err := r.rights(); err != nil || r.lacks("services") || !r.lacks("servicecidrs.networking.k8s.io") {
		t.Errorf("a resource that there is not, and an object: %v", err)
	}
	r.answered("list servicecidrs.networking.k8s.io", http.StatusOK)
	if r.lacks("servicecidrs.networking.k8s.io") {
		t.Error("a resource that there is now is still lacking")
	}
	r.answered("list services", http.StatusBadRequest)
	if err := r.rights(); err == nil || !strings.Contains(err.Error(), "Kubernetes 1.31 or newer") || r.lacks("services") {
		t.Errorf("an old API server: %v", err)
	}
	r.answered("list services", http.StatusOK)
	if err := r.rights(); err != nil {
		t.Errorf("a new one: %v", err)
	}
	r.failed(errors.New("broken"))
	if err := r.check(); err != nil {
		t.Errorf("as soon as a connection breaks: %v", err)
	}
	r.since = r.since.Add(-time.Hour)
	if err := r.check(); err == nil || !strings.HasPrefix(err.Error(), "the API server has not been reached for 1h0m0s") {
		t.Errorf("an hour later: %v", err)
	}
	r.answered("list nodes", http.StatusOK)
	if err := r.check(); err != nil {
		t.Errorf("when it is reached again: %v", err)
	}
}

func ask(handler http.Handler, url, accept string) (int, string) {
	w := httptest.NewRecorder()
	request := httptest.NewRequest("GET", url, nil)
	request.Header.Set("Accept", accept)
	handler.ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

func TestProbes(t *testing.T) {
	var reason error
	h := probe("readyz", check{"first", func() error { return nil }}, check{"second", func() error { return reason }})
	for _, tc := range []struct {
		url    string
		reason error
		status int
		body   string
	}{
		{"/readyz", nil, 200, "ok"},
		{"/readyz?verbose", nil, 200, "[+]first ok\n[+]second ok\nreadyz check passed\n"},
		{"/readyz", errors.New("broken"), 500, "[+]first ok\n[-]second failed: broken\nreadyz check failed\n"},
	} {
		reason = tc.reason
		if status, body := ask(h, tc.url, ""); status != tc.status || body != tc.body {
			t.Errorf("%s says %d %q, want %d %q", tc.url, status, body, tc.status, tc.body)
		}
	}
}

func TestPages(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.String("scope", "all", "")
	none := http.NotFoundHandler()
	all := pages(Config{Configuration: config.Default(), Flags: flags, Version: "v1"}, metrics.NewRegistry(), map[string]http.Handler{"/readyz": none}, time.Now().Add(-time.Hour))
	for _, tc := range []struct {
		page, accept string
		want         []string
	}{
		{"/configz", "", []string{`{"kubeverdict.io":{"kind":"KubeVerdictConfiguration","apiVersion":"kubeverdict.io/v1alpha1","scope":"all"`, `"tcpCloseWaitTimeout":"1h0m0s"`}},
		{"/flagz", "", []string{"\nkube-verdict flagz\nWarning: This endpoint is not meant to be machine parseable", "\nscope=all\n"}},
		{"/flagz", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz", []string{`{"kind":"Flagz","apiVersion":"config.k8s.io/v1beta1","metadata":{"name":"kube-verdict"},"flags":{"scope":"all"}}`}},
		{"/metrics", "", []string{"\nprocess_resident_memory_bytes ", "\ngo_goroutines "}},
		{"/proxyMode", "", []string{"nftables"}},
		{"/statusz", "", []string{"\nkube-verdict statusz\n", "\nUp: 1h0m0s\n", "\nBinary version: v1\n", "\nPaths: /configz /flagz /metrics /proxyMode /readyz /statusz\n"}},
		{"/statusz", "application/json", []string{`{"kind":"Statusz",`, `"uptimeSeconds":3600`, `"paths":["/configz","/flagz","/metrics","/proxyMode","/readyz","/statusz"]`}},
	} {
		status, body := ask(all, tc.page, tc.accept)
		for _, want := range tc.want {
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s says %d, without %q:\n%s", tc.page, status, want, body)
			}
		}
	}
}
