package agent

import (
	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/maps"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// tables is the layout that the gates ask for; in shadow, packets pass by it.
func (c *Config) tables() dataplane.Layout {
	layout := c.Layout
	layout.Scope = c.Scope
	layout.Counted = c.Gates.Enabled(features.ConnectionCounters)
	var tables dataplane.Layout = maps.NewLayout(layout)
	if c.Gates.Enabled(features.ChainLayout) {
		tables = chains.NewLayout(layout)
	}
	if c.Scope == proxy.ScopeShadow {
		for _, t := range tables.Tables() {
			t.Bypass()
		}
	}
	return tables
}
