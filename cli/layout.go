package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// The layouts by name.
const (
	layoutMaps   = "maps"
	layoutChains = "chains"
)

func addLayout(flags *pflag.FlagSet, name *string) {
	flags.StringVar(name, "layout", layoutMaps,
		`shape of the tables: maps, or chains for a chain for each Service port and endpoint, named as in kube-proxy's iptables rules (to read; "run" has the feature gate ChainLayout for it)`)
}

// layoutNamed is the layout of that name.
func layoutNamed(name string, c layout.Config) (dataplane.Layout, error) {
	switch name {
	case layoutMaps:
		return maps.NewLayout(c), nil
	case layoutChains:
		return chains.NewLayout(c), nil
	}
	return nil, fmt.Errorf("--layout %s: must be %s or %s", name, layoutMaps, layoutChains)
}
