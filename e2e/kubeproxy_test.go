package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// peer is the real kube-proxy on a node.
type peer struct {
	*testbed.Process
	w    *world
	node *testbed.Node
	mode string
}

// kubeProxy starts kube-proxy on a node in one of its modes, as clusters run it. The
// mode iptables-legacy is iptables, with that backend.
func (w *world) kubeProxy(node *testbed.Node, mode string) *peer {
	w.t.Helper()
	path, err := testbed.Tool("kube-proxy")
	w.must(err)
	p := &peer{w: w, node: node, mode: mode}
	command := []string{path}
	if backend, legacy := strings.CutSuffix(mode, "-legacy"); legacy {
		mode = backend
		command = []string{"env", "PATH=" + legacyTools(w) + ":" + os.Getenv("PATH"), path}
	}
	p.Process, err = node.Start(command[0], append(command[1:], "--proxy-mode="+mode, "--kubeconfig="+w.api.Kubeconfig(), "--hostname-override="+w.name,
		"--cluster-cidr="+podCIDRs,
		// Not all of these sysctls can be written in a namespace.
		"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s")...)
	w.must(err)
	w.t.Cleanup(func() {
		select {
		case <-p.Done():
		default:
			_ = p.Stop()
		}
		if w.t.Failed() {
			w.t.Logf("kube-proxy said:\n%s", p.Output())
		}
	})
	return p
}

// legacyTools is a directory where the names of iptables' programs are those of its
// older backend.
func legacyTools(w *world) string {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(family + "-legacy" + suffix)
			w.must(err)
			w.must(os.Symlink(path, filepath.Join(dir, family+suffix)))
		}
	}
	return dir
}

// rules are what it has in the kernel of each family, as text.
func (p *peer) rules() (both [2]string, err error) {
	tables, err := p.node.Run("nft", "list", "tables")
	if err != nil {
		return both, err
	}
	for i, family := range []string{"ip", "ip6"} {
		switch {
		case p.mode != "nftables":
			both[i], err = p.node.Run(family + "tables-save")
		case strings.Contains(tables, "table "+family+" kube-proxy\n"):
			both[i], err = p.node.Run("nft", "list", "table", family, "kube-proxy")
		}
		if err != nil {
			return both, err
		}
	}
	return both, nil
}

// cleanUp removes its rules, as its operators do.
func (p *peer) cleanUp() {
	p.w.t.Helper()
	path, err := testbed.Tool("kube-proxy")
	p.w.must(err)
	_, err = p.node.Run(path, "--cleanup")
	p.w.must(err)
}
