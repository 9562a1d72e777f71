package testbed

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
)

// toolsVersion is the Kubernetes version that hack/tools.sh builds.
const toolsVersion = "1.37.2"

// KubernetesVersion is that of control planes: KUBE_VERDICT_KUBERNETES, or the one that
// is built without it.
func KubernetesVersion() string { return cmp.Or(os.Getenv("KUBE_VERDICT_KUBERNETES"), toolsVersion) }

// Tool returns the path of one of the programs that "make tools" builds. Those of a
// control plane are of KubernetesVersion.
func Tool(name string) (string, error) {
	dir := os.Getenv("KUBE_VERDICT_TOOLS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("set KUBE_VERDICT_TOOLS to where \"make tools\" put its results: %w", err)
		}
		dir = filepath.Join(cache, "kube-verdict", "tools-"+toolsVersion)
	}
	if version := KubernetesVersion(); version != toolsVersion && (name == "kube-apiserver" || name == "kube-controller-manager") {
		dir = filepath.Join(dir, "kubernetes-"+version)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is missing: run \"make tools\", with the same KUBE_VERDICT_KUBERNETES (or set KUBE_VERDICT_TOOLS): %w", name, err)
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
