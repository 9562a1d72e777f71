package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"go.uber.org/zap"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// What does something to a terminal: an escape sequence, one of a single byte, a
// carriage return, a change of direction.
const hostile = "\x1b]0;owned\x07\u009b2J\r\u202e"

// What others wrote does nothing to the terminal of whoever looks at it, whichever
// command shows it, on either stream.
func TestTerminalsAreSafe(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../iptables/testdata/dns-default-listing.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	listing := write("rules.txt", strings.ReplaceAll(string(rules), "openshift-dns/dns-default:dns", "openshift-dns/dns-default:dns"+hostile))
	const escaped = `\e]0;owned\a\x9b2J\r\u202e`
	manifest := write("web.yaml", `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: "demo`+escaped+`"}
spec:
  clusterIP: 10.96.0.10
  externalIPs: ["203.0.113.1`+escaped+`"]
  ports: [{name: "http`+escaped+`", port: 80}]
---
apiVersion: v1
kind: "Pod`+escaped+`"
metadata: {name: other}
`)
	ns := testbed.NewTestNamespace(t)
	for _, args := range [][]string{
		{"translate", listing}, {"translate", "-o", "manifests", listing}, {"translate", "-o", "json", listing},
		{"render", "-f", manifest}, {"render", "-o", "json", "-f", manifest}, {"apply", "--dry-run", "-f", manifest}, {"apply", "-f", manifest},
		{"explain", "-f", manifest}, {"explain", "-f", manifest, "demo" + hostile + "/web"}, {"iptables-save", "-f", manifest},
		{"diff", "desired", "kernel", "-f", manifest}, {"render", "-f", "none" + hostile}, {"render", "--none" + hostile}, {"none" + hostile},
	} {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), programVariable+"=true", "KUBECONFIG=", "NODE_NAME=node-a")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = ns.Do(cmd.Run) // some of it is wrong
		shown := out.String() + errs.String()
		if shown == "" {
			t.Errorf("%q prints nothing", args)
		}
		if i := strings.IndexFunc(shown, acts); i >= 0 {
			t.Errorf("%q prints %q", args, shown[max(0, i-60):min(len(shown), i+20)])
		}
	}
}

// Logs are read at terminals, too.
func TestLogsAreSafe(t *testing.T) {
	for _, format := range []string{config.FormatText, config.FormatJSON} {
		var b bytes.Buffer
		log := newLogger(config.Logging{Format: format}, &b)
		log.Info("about "+hostile, zap.String("service", hostile), zap.Error(errors.New(hostile)))
		if i := strings.IndexFunc(b.String(), acts); i >= 0 || !strings.Contains(b.String(), "about") {
			t.Errorf("%s: %q", format, b.String())
		}
	}
}

// acts reports whether a terminal may do something other than show the character.
func acts(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}
