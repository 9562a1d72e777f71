package agent

import (
	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// tables is the layout that the gates ask for.
func (c *Config) tables() dataplane.Layout {
	if c.Gates.Enabled(features.ChainLayout) {
		return chains.NewLayout(c.Layout)
	}
	return maps.NewLayout(c.Layout)
}
