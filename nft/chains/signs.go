package chains

import "github.com/kube-verdict/kube-verdict/nft/layout"

// Signs show what configuration tables of this layout were made with. Where
// everything is masqueraded they do not show how pods are told.
func Signs() layout.Signs {
	return layout.Signs{Chains: fixedChains, Mark: chainMarkMasq, Pods: []string{chainServices}}
}
