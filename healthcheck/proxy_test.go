package healthcheck_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/kube-verdict/kube-verdict/healthcheck"
)

const (
	ipv4, ipv6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	timeout    = time.Minute
)

// The times of the story below, as they are written in answers.
const (
	atStart  = "2026-01-02T03:04:05Z"
	after10s = "2026-01-02T03:04:15Z"
	after69s = "2026-01-02T03:05:14Z"
	after70s = "2026-01-02T03:05:15Z"
	after80s = "2026-01-02T03:05:25Z"
)

// get asks a handler.
func get(t *testing.T, h http.Handler) (status int, header http.Header, body string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	return recorder.Code, recorder.Header(), recorder.Body.String()
}

// One proxy's life: each step goes on from the one before.
func TestProxyHealth(t *testing.T) {
	start, err := time.Parse(time.RFC3339, atStart)
	if err != nil {
		t.Fatal(err)
	}
	clock := testclock.NewFakeClock(start)
	eligible := true
	p := healthcheck.NewProxy(clock, timeout, func() bool { return eligible })

	both := func(at string) string {
		return `"status":{"IPv4":{"lastUpdated":"` + at + `","healthy":true},"IPv6":{"lastUpdated":"` + at + `","healthy":true}}`
	}
	late := `"status":{"IPv4":{"lastUpdated":"` + atStart + `","healthy":false},"IPv6":{"lastUpdated":"` + after10s + `","healthy":true}}`
	for _, step := range []struct {
		name         string
		do           func()
		healthz      int
		healthzBody  string
		livez        int
		livezBody    string
		stillHealthy bool
	}{
		{
			name: "before anything is written", do: func() { p.Queued(ipv4) },
			healthz: 200, healthzBody: `{"lastUpdated":"` + atStart + `","currentTime":"` + atStart + `","nodeEligible":true,"healthy":true}`,
			livez: 200, livezBody: `{"lastUpdated":"` + atStart + `","currentTime":"` + atStart + `","healthy":true}`,
			stillHealthy: true,
		}, {
			name: "all is written", do: func() { p.Updated(ipv4); p.Updated(ipv6) },
			healthz: 200, healthzBody: `{"lastUpdated":"` + atStart + `","currentTime":"` + atStart + `","nodeEligible":true,"healthy":true,` + both(atStart) + `}`,
			livez: 200, livezBody: `{"lastUpdated":"` + atStart + `","currentTime":"` + atStart + `","healthy":true,` + both(atStart) + `}`,
			stillHealthy: true,
		}, {
			name: "a change waits, less than too long; a second does not count anew",
			do: func() {
				clock.Step(10 * time.Second)
				p.Queued(ipv4)
				p.Updated(ipv6)
				clock.Step(timeout - time.Second)
				p.Queued(ipv4)
			},
			healthz: 200, healthzBody: `{"lastUpdated":"` + after69s + `","currentTime":"` + after69s + `","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"` + atStart + `","healthy":true},"IPv6":{"lastUpdated":"` + after10s + `","healthy":true}}}`,
			livez: 200, livezBody: `{"lastUpdated":"` + after69s + `","currentTime":"` + after69s + `","healthy":true,"status":{"IPv4":{"lastUpdated":"` + atStart + `","healthy":true},"IPv6":{"lastUpdated":"` + after10s + `","healthy":true}}}`,
			stillHealthy: true,
		}, {
			name: "it has waited too long", do: func() { clock.Step(time.Second) },
			healthz: 503, healthzBody: `{"lastUpdated":"` + after10s + `","currentTime":"` + after70s + `","nodeEligible":true,"healthy":false,` + late + `}`,
			livez: 503, livezBody: `{"lastUpdated":"` + after10s + `","currentTime":"` + after70s + `","healthy":false,` + late + `}`,
		}, {
			name:    "the change is written, but the node is about to go",
			do:      func() { clock.Step(10 * time.Second); p.Updated(ipv4); p.Updated(ipv6); eligible = false },
			healthz: 503, healthzBody: `{"lastUpdated":"` + after80s + `","currentTime":"` + after80s + `","nodeEligible":false,"healthy":true,` + both(after80s) + `}`,
			livez: 200, livezBody: `{"lastUpdated":"` + after80s + `","currentTime":"` + after80s + `","healthy":true,` + both(after80s) + `}`,
			stillHealthy: true,
		},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			for _, endpoint := range []struct {
				name    string
				handler http.Handler
				status  int
				body    string
			}{{"healthz", p.Healthz(), step.healthz, step.healthzBody}, {"livez", p.Livez(), step.livez, step.livezBody}} {
				status, header, body := get(t, endpoint.handler)
				// Families are looked at in any order; the answer must not depend on it.
				for range 50 {
					if status != endpoint.status || body != endpoint.body {
						t.Fatalf("%s answers %d\n%s\nwant %d\n%s", endpoint.name, status, body, endpoint.status, endpoint.body)
					}
					status, header, body = get(t, endpoint.handler)
				}
				want := http.Header{"Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"}}
				if !maps.EqualFunc(header, want, func(a, b []string) bool { return len(a) == 1 && a[0] == b[0] }) {
					t.Errorf("%s has headers %v, want %v", endpoint.name, header, want)
				}
				if !json.Valid([]byte(body)) {
					t.Errorf("%s is not JSON: %s", endpoint.name, body)
				}
			}
			if p.Healthy() != step.stillHealthy {
				t.Errorf("Healthy is %t", p.Healthy())
			}
		})
	}
}

func TestNodeEligible(t *testing.T) {
	now := metav1.Now()
	tainted := func(key string) *corev1.Node {
		return &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}}}
	}
	for _, test := range []struct {
		name string
		node *corev1.Node
		want bool
	}{
		{"a node", &corev1.Node{}, true},
		{"no node", nil, false},
		{"a node that is being deleted", &corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, false},
		{"a node that the autoscaler is about to delete", tainted("ToBeDeletedByClusterAutoscaler"), false},
		{"a node with another taint", tainted("node.kubernetes.io/unschedulable"), true},
	} {
		if got := healthcheck.NodeEligible(test.node); got != test.want {
			t.Errorf("%s: eligible is %t, want %t", test.name, got, test.want)
		}
	}
}
