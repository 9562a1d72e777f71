package agent

import "github.com/kube-verdict/kube-verdict/agent/features"

// warnings are what a valid configuration asks for and will not get, or hardly wants.
func (c *Config) warnings() (all []string) {
	if len(c.Layout.PodCIDRs) == 0 && c.Layout.PodInterface == "" && !c.Layout.MasqueradeAll {
		all = append(all, "no --pod-cidrs and no --pod-interface: traffic to ClusterIPs is not masqueraded, so clients outside the cluster may get no answer")
	}
	if c.Gates.Enabled(features.ConnectionCounters) && c.Gates.Enabled(features.ChainLayout) {
		all = append(all, "the feature gates ConnectionCounters and ChainLayout are both on: no connections are counted, as only the maps of the other layout have counters; switch one of the gates off")
	}
	return all
}
