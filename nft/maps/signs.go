package maps

import "github.com/kube-verdict/kube-verdict/nft/layout"

// Signs show what configuration tables of this layout were made with.
func Signs() layout.Signs {
	return layout.Signs{Chains: fixedChains, Mark: chainStickyExternal, Pods: []string{chainStickyExternalLocal, chainServices}}
}
