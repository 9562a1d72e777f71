package layout

import "github.com/kube-verdict/kube-verdict/nft"

// Memory are the sets of a table that clients are remembered in, if that needs
// help: rules can't forget a client whose endpoint is gone.
type Memory struct {
	// Endpoints has those that clients may keep, and Remembered, which rules
	// write, those that they have. Both are nil where each endpoint has a set of
	// its own, which goes with it.
	Endpoints, Remembered *nft.Set
}

// Endpoint is the key in Endpoints that an element of Remembered stands for.
func (m Memory) Endpoint(f nft.Family, e *nft.Element) string { return e.Key[f.AddrLen():] + e.Data }
