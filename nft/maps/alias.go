package maps

import "github.com/kube-verdict/kube-verdict/nft/layout"

// What maps have in common with other layouts.
type (
	Config   = layout.Config
	Networks = layout.Networks
	Memory   = layout.Memory
)

// See package layout.
const (
	TableName            = layout.TableName
	DefaultMasqueradeBit = layout.DefaultMasqueradeBit
)
