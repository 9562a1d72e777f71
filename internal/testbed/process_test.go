package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asParent makes the test binary the parent that TestProcessDiesWithItsParent kills.
const asParent = "KUBE_VERDICT_TESTBED_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) == "" {
		os.Exit(m.Run())
	}
	ns, err := NewNamespace()
	if err == nil {
		var p *Process
		if p, err = ns.Start("sleep", "600"); err == nil {
			fmt.Println(p.Pid())
			time.Sleep(time.Minute)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestProcessDiesWithItsParent(t *testing.T) {
	Need(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = parent.Process.Kill()
	_ = parent.Wait()
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent said %q, want its child's process id", line)
	}
	err = Wait(limit, "the child to die", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		// Without an init that reaps, a dead child stays as a zombie.
		if os.IsNotExist(err) || strings.Contains(string(status), "State:\tZ") {
			return nil
		}
		return fmt.Errorf("process %d is still there", pid)
	})
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Error(err)
	}
}

func TestProcess(t *testing.T) {
	ns := NewTestNamespace(t)
	p, err := ns.Start("sh", "-c", "readlink /proc/self/ns/net; exec sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	want, err := ns.Run("readlink", "/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if err := Wait(limit, "output", func() error {
		if p.Output() != want {
			return fmt.Errorf("output is %q, want %q", p.Output(), want)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := p.Wait(10 * time.Millisecond); err == nil {
		t.Error("Wait said that a running process had ended")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("the process is not done after Stop")
	}

	failing, err := ns.Start("sh", "-c", "echo no good; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := failing.Wait(limit); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Wait = %v, want exit status 3", err)
	}
	if err := failing.Stop(); err == nil || !strings.Contains(err.Error(), "no good") {
		t.Errorf("Stop of a process that had failed = %v, want its output", err)
	}
	if _, err := ns.Start("/no/such/program"); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("starting a missing program: %v", err)
	}
}
