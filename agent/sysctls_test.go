package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/agent/config"
)

// The limit follows the cores and is only raised.
func TestConntrackLimit(t *testing.T) {
	for _, tc := range []struct {
		what          string
		c             config.Conntrack
		cores         int
		now, nowHash  string
		want, newHash string
	}{
		{"by core", config.Conntrack{MaxPerCore: 32768, Min: 131072}, 8, "65536", "16384", "262144", "65536"},
		{"at least", config.Conntrack{MaxPerCore: 32768, Min: 131072}, 2, "65536", "16384", "131072", "32768"},
		{"at most", config.Conntrack{MaxPerCore: 32768, Min: 131072}, 512, "65536", "16384", "1048576", "262144"},
		{"the least is what it says", config.Conntrack{MaxPerCore: 1, Min: 2000000}, 1, "65536", "16384", "2000000", "500000"},
		{"never lowered", config.Conntrack{MaxPerCore: 32768, Min: 131072}, 1, "500000", "130000", "500000", "130000"},
		{"left alone", config.Conntrack{Min: 131072}, 8, "65536", "16384", "65536", "16384"},
	} {
		root := t.TempDir()
		file := func(name string) string { return filepath.Join(root, name) }
		for name, text := range map[string]string{netfilterSettings + "/nf_conntrack_max": tc.now, hashSize: tc.nowHash} {
			if err := os.MkdirAll(filepath.Dir(file(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file(name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if failed := setConntrack(root, tc.c, tc.cores); len(failed) > 0 {
			t.Errorf("%s: %v", tc.what, failed)
		}
		for name, want := range map[string]string{netfilterSettings + "/nf_conntrack_max": tc.want, hashSize: tc.newHash} {
			if now, err := os.ReadFile(file(name)); err != nil || strings.TrimSpace(string(now)) != want {
				t.Errorf("%s: %s is %s, %v, want %s", tc.what, name, now, err, want)
			}
		}
	}
}

// What is mounted of the node is set, and not what the container has itself.
func TestConntrackOfTheNode(t *testing.T) {
	root := t.TempDir()
	own, node := filepath.Join(root, netfilterSettings), filepath.Join(root, fromNode, netfilterSettings)
	for _, dir := range []string{own, node} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "nf_conntrack_tcp_be_liberal"), []byte("0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if failed := setConntrack(root, config.Conntrack{TCPBeLiberal: true}, 1); len(failed) > 0 {
		t.Error(failed)
	}
	for dir, want := range map[string]string{own: "0", node: "1"} {
		if now, err := os.ReadFile(filepath.Join(dir, "nf_conntrack_tcp_be_liberal")); err != nil || strings.TrimSpace(string(now)) != want {
			t.Errorf("%s has %s, %v, want %s", dir, now, err, want)
		}
	}
}
