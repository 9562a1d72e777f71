package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// console is a block of commands and what they print.
var console = regexp.MustCompile("(?s)```console\n(.*?)```")

// What the documentation shows is what is printed. UPDATE=true writes it.
func TestDocumentedOutput(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	// The test program is the one that its first argument's name says.
	if err := os.Symlink(self, filepath.Join(bin, "kube-verdict")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../docs/explain.md", "../docs/iptables.md", "../docs/troubleshooting.md"} {
		ns := testbed.NewTestNamespace(t)
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got := console.ReplaceAllStringFunc(string(text), func(block string) string {
			var out bytes.Buffer
			out.WriteString("```console\n")
			for line := range strings.Lines(block) {
				command, ok := strings.CutPrefix(line, "# ")
				if !ok {
					continue
				}
				out.WriteString(line)
				cmd := exec.Command("sh", "-c", command)
				cmd.Dir = ".."
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NODE_NAME=worker1.ocp4.labs.semperti.local", "KUBECONFIG=", programVariable+"=true")
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := ns.Do(cmd.Run); err != nil {
					t.Errorf("%s: %s: %v", name, command, err)
				}
			}
			return out.String() + "```"
		})
		switch {
		case got == string(text):
		case os.Getenv("UPDATE") == "true":
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s does not show what is printed; UPDATE=true go test ./cli -run TestDocumentedOutput writes\n%s", name, got)
		}
	}
}
