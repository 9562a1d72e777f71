package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// Whoever reads from a pipe ends by a signal, while the pipe stays open.
func TestASignalEndsReading(t *testing.T) {
	testbed.Need(t)
	for _, args := range [][]string{{"apply", "-f", "-"}, {"apply", "-f", "PIPE"}, {"render", "-f", "-"}, {"translate", "-"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			for i := range args {
				args[i] = strings.Replace(args[i], "PIPE", pipe, 1)
			}
			ns := testbed.NewTestNamespace(t)
			cmd := exec.CommandContext(t.Context(), program, args...)
			cmd.Env = append(os.Environ(), programVariable+"=true")
			var said strings.Builder
			cmd.Stderr = &said
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := ns.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			// Opening the pipe waits for its reader. What is written to the other one shows
			// that it is read: more than a pipe holds.
			if strings.Contains(strings.Join(args, " "), pipe) {
				writer, err := os.OpenFile(pipe, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = writer.Close() }()
			} else if _, err := stdin.Write([]byte(strings.Repeat("# nothing\n", 20_000))); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("it ended with %v: %s", err, said.String())
			}
		})
	}
}
