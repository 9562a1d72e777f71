package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runLimit bounds programs that should answer at once: one that hangs must not
// hang its test.
const runLimit = time.Minute

// Run runs a program inside the namespace and returns what it printed. The error
// of a program that fails quotes what it complained about.
func (ns *Namespace) Run(name string, args ...string) (stdout string, err error) {
	return ns.RunInput(nil, name, args...)
}

// RunInput is Run for a program that reads its standard input.
func (ns *Namespace) RunInput(stdin io.Reader, name string, args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &complaints
	// Grandchildren may keep the pipes open after the program was killed.
	cmd.WaitDelay = time.Second
	err = ns.Do(cmd.Run)
	if ctx.Err() != nil {
		err = fmt.Errorf("no end after %v: %w", runLimit, err)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return out.String(), err
}

// Process is a program that runs beside the caller and never outlives it.
type Process struct {
	Name string

	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error // valid once done is closed
}

// Start starts a program inside the namespace.
func (ns *Namespace) Start(name string, args ...string) (*Process, error) {
	return startProcess(ns, name, args...)
}

// startProcess starts a program in ns, or where the caller is when ns is nil.
func startProcess(ns *Namespace, path string, args ...string) (*Process, error) {
	log, err := os.CreateTemp("", "kube-verdict-*.log")
	if err != nil {
		return nil, fmt.Errorf("making a file for the output of %s: %w", path, err)
	}
	// Its name is not needed, and without one it cannot be left behind.
	_ = os.Remove(log.Name())
	p := &Process{Name: filepath.Base(path), log: log, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(ns, started)
	if err := <-started; err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return p, nil
}

// run keeps one thread for the program's whole life, because the kernel sends the
// parent-death signal when the thread that started it ends, not the process. The
// thread is not given back: it may be in another namespace.
func (p *Process) run(ns *Namespace, started chan<- error) {
	runtime.LockOSThread()
	if ns != nil {
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			started <- err
			return
		}
	}
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		close(p.done)
	}
}

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program to end by itself and returns how it did.
func (p *Process) Wait(timeout time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(timeout):
		return fmt.Errorf("%s (pid %d) still runs after %v", p.Name, p.Pid(), timeout)
	}
}

// Output is everything the program has printed so far.
func (p *Process) Output() string {
	text, err := io.ReadAll(io.NewSectionReader(p.log, 0, math.MaxInt64))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop asks the program to end and insists after five seconds. The error says how
// the program ended when that was not by being stopped.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s had ended before it was stopped (%v); the end of its output:\n%s", p.Name, p.err, tail(p.Output()))
	default:
	}
	_ = p.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not end within 5 s of SIGTERM and was killed", p.Name)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && !exit.Exited() {
		return nil // ended by the signal
	}
	return p.err
}

// Kill ends the program without asking, and waits until it has ended.
func (p *Process) Kill() {
	_ = p.Signal(unix.SIGKILL)
	<-p.done
}

// tail is the part of a log that says why.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
