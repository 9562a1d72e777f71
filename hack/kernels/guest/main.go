// Command guest is the first and only process that hack/kernels starts in a virtual
// machine. It does the jobs that the kernel's command line names, prints one line for each
// thing that it looked at, and switches the machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// check is what the guest tells the host of one thing that it looked at.
type check struct {
	Job, What, Failure string
}

// job is one of the command line's words; it tells what it finds.
type job struct {
	name string
	last time.Time // when it told something
}

func (j *job) check(what string, err error) {
	c := check{Job: j.name, What: what}
	if err != nil {
		fmt.Println(err)
		c.Failure = fmt.Sprintf("%.500s", err)
	}
	line, _ := json.Marshal(c) // strings
	fmt.Printf("\n@@ %s\n# %.1f s\n", line, time.Since(j.last).Seconds())
	j.last = time.Now()
}

// jobs by their names. A name may have an argument behind an equals sign.
var jobs = map[string]func(j *job, argument string) error{
	"apply":   apply,
	"packets": packets,
	"tests":   compiledTests,
}

func main() {
	err := boot()
	line, _ := os.ReadFile("/proc/cmdline")
	for word := range strings.FieldsSeq(string(line)) {
		if names, ok := strings.CutPrefix(word, "kv.jobs="); ok {
			for name := range strings.SplitSeq(names, ",") {
				err = errors.Join(err, do(name))
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		(&job{name: "guest"}).check("does its jobs", err)
	}
	fmt.Print("\n@@ end\n")
	time.Sleep(100 * time.Millisecond) // for the console to follow
	unix.Sync()
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	select {}
}

func do(word string) error {
	name, argument, _ := strings.Cut(word, "=")
	run, ok := jobs[name]
	if !ok {
		return fmt.Errorf("there is no job %q", name)
	}
	started := time.Now()
	err := run(&job{word, started}, argument)
	fmt.Printf("job %s took %v\n", word, time.Since(started).Round(time.Second))
	if err != nil {
		return fmt.Errorf("job %s: %w", word, err)
	}
	return nil
}

// boot makes what a running system has of file systems and settings.
func boot() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	for key, value := range map[string]string{
		"PATH": "/bin:/sbin:/usr/bin:/usr/sbin", "HOME": "/root", "KUBE_VERDICT_TOOLS": "/tools", "CI": "true",
	} {
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	for file, value := range map[string]string{
		"kernel/modprobe": "/sbin/modprobe", "kernel/hostname": nodeName, "kernel/printk": "1",
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys", file), []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}
