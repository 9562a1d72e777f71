package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/nftables"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// cpu is the CPU time of a process and of the children that it has waited for.
func cpu(p *testbed.Process) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may have spaces; after it, the first field is the third.
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", p.Pid(), len(fields))
	}
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// memory watches the resident memory of a process and its children.
type memory struct {
	pid  int
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	most int64
}

// watchMemory looks at the process and its children until the end: at those often,
// since most of them live for milliseconds.
func watchMemory(p *testbed.Process) *memory {
	m := &memory{pid: p.Pid(), stop: make(chan struct{})}
	m.done.Go(func() {
		for {
			m.look()
			select {
			case <-m.stop:
				return
			case <-time.After(25 * time.Millisecond):
			}
		}
	})
	return m
}

func (m *memory) look() {
	sum := resident(m.pid, "VmRSS")
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", m.pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(text)) {
			pid, _ := strconv.Atoi(child)
			sum += resident(pid, "VmHWM")
		}
	}
	m.mu.Lock()
	m.most = max(m.most, sum, resident(m.pid, "VmHWM"))
	m.mu.Unlock()
}

// end gives the most that there was, in bytes.
func (m *memory) end() int64 {
	close(m.stop)
	m.done.Wait()
	m.look()
	return m.most
}

// resident is one of the sizes of a process, in bytes; 0 when it has ended.
func resident(pid int, field string) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return kilobytes(string(text), field)
}

func kilobytes(text, field string) int64 {
	for line := range strings.Lines(text) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// kernelMemory is what the kernel has for itself and cannot give back, in bytes.
func kernelMemory() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	var sum int64
	for _, field := range []string{"SUnreclaim", "VmallocUsed", "Percpu"} {
		sum += kilobytes(string(text), field)
	}
	return sum, err
}

// tableMemory is the kernel memory of all tables of a node: what is free when they
// are deleted. It deletes them.
func tableMemory(s *site) (int64, error) {
	if err := s.forget(); err != nil {
		return 0, err
	}
	before, err := settled()
	if err != nil {
		return 0, err
	}
	conn, err := nftables.New(nftables.WithNetNSFd(s.node.Fd()))
	if err != nil {
		return 0, err
	}
	conn.FlushRuleset()
	if err := conn.Flush(); err != nil {
		return 0, err
	}
	after, err := settled()
	return before - after, err
}

// settled is the kernel's memory when it hardly changes any more: what is freed is
// freed a while later.
func settled() (int64, error) {
	const pause, tries, near = 300 * time.Millisecond, 20, 256 << 10
	last, err := kernelMemory()
	for range tries {
		time.Sleep(pause)
		now, err := kernelMemory()
		if err != nil {
			return 0, err
		}
		if now-last < near && last-now < near {
			return now, nil
		}
		last = now
	}
	return last, err
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}
