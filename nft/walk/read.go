package walk

import (
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/view"
)

// Read is what the tables of a name do, in both families. There says whether there
// is any.
func Read(from *kernel.Onlooker, name string, o Options) (v view.View, there bool, err error) {
	v = view.View{}
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		held, err := from.Look(nft.ID{Family: f, Name: name})
		if err != nil {
			return nil, false, err
		}
		if held != nil {
			there = true
			Compile(held).AddTo(v, o)
		}
	}
	return v, there, nil
}
