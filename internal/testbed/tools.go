package testbed

import (
	"fmt"
	"os"
	"path/filepath"
)

// toolsVersion is the Kubernetes version that hack/tools.sh builds.
const toolsVersion = "1.37.2"

// Tool returns the path of one of the programs that "make tools" builds.
func Tool(name string) (string, error) {
	dir := os.Getenv("KUBE_VERDICT_TOOLS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("set KUBE_VERDICT_TOOLS to where \"make tools\" put its results: %w", err)
		}
		dir = filepath.Join(cache, "kube-verdict", "tools-"+toolsVersion)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is missing: run \"make tools\" (or set KUBE_VERDICT_TOOLS): %w", name, err)
	}
	return path, nil
}

// Nfts are the versions of nft that tests of what nft reads try: the programs that
// KUBE_VERDICT_NFT names, separated by colons, or else the one in PATH.
func Nfts() []string {
	if all := os.Getenv("KUBE_VERDICT_NFT"); all != "" {
		return filepath.SplitList(all)
	}
	return []string{"nft"}
}
