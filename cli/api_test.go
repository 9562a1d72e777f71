package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kube-verdict/kube-verdict/agent/config"
)

// The API server is asked not to compress unless the configuration and the kubeconfig
// both let it.
func TestCompression(t *testing.T) {
	kubeconfig := func(cluster string) string {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		text := "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{name: it, cluster: {server: 'https://192.0.2.1'" + cluster + "}}]\n" +
			"contexts: [{name: it, context: {cluster: it}}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	asItIs, none := kubeconfig(""), kubeconfig(", disable-compression: true")
	disabled := config.Default().ClientConnection
	enabled := disabled
	enabled.DisableCompression = false
	for _, tc := range []struct {
		what, kubeconfig string
		connection       config.ClientConnection
		want             bool
	}{
		{"as it is by default", asItIs, disabled, true},
		{"allowed", asItIs, enabled, false},
		{"disabled by the kubeconfig", none, enabled, true},
	} {
		tc.connection.Kubeconfig = tc.kubeconfig
		api, err := apiConfig(tc.connection)
		if err != nil {
			t.Fatalf("%s: %v", tc.what, err)
		}
		if api.DisableCompression != tc.want {
			t.Errorf("%s: compression is disabled: %t, want %t", tc.what, api.DisableCompression, tc.want)
		}
	}
}
