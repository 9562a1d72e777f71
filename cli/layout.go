package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

func addLayout(flags *pflag.FlagSet, name *string) {
	flags.StringVar(name, "layout", layout.Maps,
		`shape of the tables: maps, or chains for a chain for each Service port and endpoint, named as in kube-proxy's iptables rules (to read; "run" has the feature gate ChainLayout for it)`)
}

// layoutNamed is the layout of that name.
func layoutNamed(name string, c layout.Config) (dataplane.Layout, error) {
	switch name {
	case layout.Maps:
		return maps.NewLayout(c), nil
	case layout.Chains:
		return chains.NewLayout(c), nil
	}
	return nil, fmt.Errorf("--layout %s: must be %s or %s", name, layout.Maps, layout.Chains)
}
