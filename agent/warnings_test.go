package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/nft/layout"
)

// What is asked for and has no effect is named at the start.
func TestWarnings(t *testing.T) {
	pods := layout.Config{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
	for _, tc := range []struct {
		gates  map[string]bool
		layout layout.Config
		want   []string
	}{
		{nil, pods, nil},
		{map[string]bool{"ConnectionCounters": true}, pods, nil},
		{map[string]bool{"ChainLayout": true}, pods, nil},
		{map[string]bool{"ChainLayout": true, "ConnectionCounters": true}, pods, []string{"no connections are counted"}},
		{map[string]bool{"AllAlpha": true}, pods, []string{"no connections are counted"}},
		{nil, layout.Config{}, []string{"no --pod-cidrs and no --pod-interface"}},
		{nil, layout.Config{MasqueradeAll: true}, nil},
	} {
		gates := features.New()
		if err := gates.SetFromMap(tc.gates); err != nil {
			t.Fatal(err)
		}
		c := Config{Gates: gates, Layout: tc.layout}
		got := c.warnings()
		if len(got) != len(tc.want) {
			t.Errorf("%v: the warnings are %q, want %q", tc.gates, got, tc.want)
			continue
		}
		for i, want := range tc.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%v: the warning is %q, want %q", tc.gates, got[i], want)
			}
		}
	}
}
