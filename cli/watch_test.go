package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const watched = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: %s}]}
`

// apply --watch follows its files, says what is wrong with them without ending,
// and leaves the rules when it is stopped.
func TestWatchFollowsTheFiles(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("web.yaml", fmt.Sprintf(watched, "80"))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &output{}
	ended := make(chan error, 1)
	go func() {
		ended <- ns.Do(func() error {
			root := newRoot()
			root.SetArgs([]string{"apply", "--watch", "-f", dir})
			root.SetOut(out)
			root.SetErr(out)
			return root.ExecuteContext(ctx)
		})
	}()
	programmed := func(want string) func() bool {
		return func() bool {
			text, err := ns.Run("nft", "list", "table", "ip", "kube-verdict")
			return err == nil && strings.Contains(text, want)
		}
	}
	eventually(t, out, "the Service", programmed(". 80 "))
	write("web.yaml", fmt.Sprintf(watched, "81"))
	eventually(t, out, "the changed port", programmed(". 81 "))
	write("web.yaml", fmt.Sprintf(watched, "none"))
	eventually(t, out, "a complaint about the file that can't be read", func() bool {
		return strings.Contains(out.String(), "some input was left out")
	})
	if !programmed(". 81 ")() {
		t.Error("a file that can't be read took its Service out of the kernel")
	}
	write("other.yaml", strings.Replace(fmt.Sprintf(watched, "82"), "10.96.0.10", "10.96.0.11", 1))
	write("web.yaml", "")
	eventually(t, out, "the Service of another file", programmed(". 82 "))

	// Others that flush the tables are repaired after, each time.
	for range 2 {
		if _, err := ns.Run("nft", "flush", "ruleset"); err != nil {
			t.Fatal(err)
		}
		eventually(t, out, "the repair", programmed(". 82 "))
	}
	if _, err := ns.Run("nft", "delete element ip kube-verdict cluster-ips { 10.96.0.11 }; add chain ip kube-verdict stray"); err != nil {
		t.Fatal(err)
	}
	eventually(t, out, "the element, without what others added", func() bool {
		text, err := ns.Run("nft", "list", "table", "ip", "kube-verdict")
		return err == nil && strings.Contains(text, "elements = { 10.96.0.11 }") && !strings.Contains(text, "stray")
	})
	if text := out.String(); !strings.Contains(text, "repaired our tables, which nft (process ") {
		t.Errorf("the repairs are not told:\n%s", text)
	}

	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped by its user, it ends with: %v", err)
	}
	if !programmed(". 82 ")() {
		t.Error("the rules did not outlive the program")
	}
}

func eventually(t *testing.T, out *output, what string, met func() bool) {
	t.Helper()
	if err := testbed.Wait(20*time.Second, what, func() error {
		if met() {
			return nil
		}
		return fmt.Errorf("the program said:\n%s", out)
	}); err != nil {
		t.Fatal(err)
	}
}

// output is what a program prints, to be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
