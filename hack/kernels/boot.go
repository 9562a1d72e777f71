package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// boot is one start of a kernel, and what it does.
type boot struct {
	name       string
	jobs       []string // as hack/kernels/guest has them
	parameters string   // of the kernel
	limit      time.Duration
}

// agentTests run the agent with a real API server: a restart that writes nothing, one that
// catches up, drift that is repaired, counters.
const agentTests = "TestRulesOutliveTheAgent|TestAStartCatchesUp|TestDeletedTablesComeBack|TestConnectionCounters"

// boots are all that there are.
var boots = []boot{
	{"apply", []string{"apply"}, "", 30 * time.Minute},
	{"packets", []string{"packets=maps", "packets=chains"}, "", 30 * time.Minute},
	{"no-ipv6", []string{"packets=maps"}, "ipv6.disable=1", 30 * time.Minute},
	{"agent", []string{"tests=e2e:" + agentTests}, "", 60 * time.Minute},
	{"tests", []string{"tests=nft/kernel", "tests=conntrack", "tests=dataplane:TestDamageIsRepaired|TestTheLayoutIsSwitchedOnALiveNode|TestTimeOfAffinity"}, "", 60 * time.Minute},
}

func jobNames() (names []string) {
	for _, b := range boots {
		names = append(names, b.name)
	}
	return names
}

// plan gives the boots that are asked for.
func plan(o options, p platform) (list []boot, err error) {
	words := jobNames()
	switch {
	case o.jobs != "":
		words = strings.Split(o.jobs, ",")
	case o.kernels == "ci" || p.goarch != runtime.GOARCH:
		words = []string{"apply", "packets"}
	}
	for _, word := range words {
		i := slices.IndexFunc(boots, func(b boot) bool { return b.name == word })
		if i < 0 {
			return nil, fmt.Errorf("there is no job %q; there are %s", word, strings.Join(jobNames(), ", "))
		}
		list = append(list, boots[i])
	}
	if _, err := exec.LookPath(p.qemu[0]); err != nil {
		return nil, fmt.Errorf("%w: hack/deps.sh kernels installs it", err)
	}
	return list, nil
}

// testedPackages are those whose compiled tests the boots run.
func testedPackages(list []boot) (dirs []string) {
	for _, b := range list {
		for _, job := range b.jobs {
			if rest, ok := strings.CutPrefix(job, "tests="); ok {
				dir, _, _ := strings.Cut(rest, ":")
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// check is what the guest tells of one thing that it looked at.
type check struct {
	Job, What, Failure string
}

// result is what came of one boot.
type result struct {
	kernel kernel
	boot   string
	checks []check
}

func (k kernel) String() string { return k.release }

// run boots a kernel and reads what its guest tells.
func (b boot) run(logs string, p platform, base string, k kernel) result {
	r := result{kernel: k, boot: b.name}
	started := time.Now()
	log := filepath.Join(logs, k.release+"_"+b.name+".log")
	used, err := b.emulate(log, p, base, k)
	checks, ended, readErr := readLog(log)
	r.checks = checks
	if !ended && err == nil {
		err = errors.New("the guest ended before its jobs did")
	}
	if err = errors.Join(err, readErr); err != nil {
		r.checks = append(r.checks, check{b.name, "the virtual machine ends well", fmt.Sprintf("%v (see %s)", err, log)})
	}
	failed := 0
	for _, c := range r.checks {
		if c.Failure != "" {
			failed++
		}
	}
	say("%s %s: %d passed, %d failed (%v, of which the processor's %v)",
		k.release, b.name, len(r.checks)-failed, failed, time.Since(started).Round(time.Second), used.Round(time.Second))
	return r
}

// emulate runs the virtual machine until it switches itself off, and gives the time that
// the processor was busy with it.
func (b boot) emulate(log string, p platform, base string, k kernel) (time.Duration, error) {
	initrd, err := os.CreateTemp("", "kube-verdict-kernels-*.initrd")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(initrd.Name()) }()
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(log), 0o755),
		appendFile(initrd, base),
		appendFile(initrd, k.dir+"/modules.cpio"),
		initrd.Close(),
	); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.limit)
	defer cancel()
	// With -icount the guest's clock counts its instructions, and jumps to the next timer when
	// there is nothing to do: no time-out in it depends on how busy this machine is.
	args := append(slices.Clone(p.qemu[1:]),
		"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1", "-m", "3072", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "file:"+log, "-kernel", k.dir+"/vmlinuz", "-initrd", initrd.Name(),
		"-append", fmt.Sprintf("console=%s quiet panic=-1 mitigations=off nokaslr kv.jobs=%s %s", p.console, strings.Join(b.jobs, ","), b.parameters))
	cmd := exec.CommandContext(ctx, p.qemu[0], args...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("no end after %v", b.limit)
	} else if err != nil {
		err = fmt.Errorf("%s: %w: %s", p.qemu[0], err, out)
	}
	if cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
}

func appendFile(to *os.File, name string) error {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	_, err = io.Copy(to, from)
	return err
}

// readLog reads a console: each check is on a line of its own behind a mark.
func readLog(name string) (checks []check, ended bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		text, marked := strings.CutPrefix(strings.TrimSpace(lines.Text()), "@@ ")
		if !marked {
			continue
		}
		if text == "end" {
			ended = true
			continue
		}
		var c check
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return checks, ended, fmt.Errorf("%q: %w", text, err)
		}
		checks = append(checks, c)
	}
	return checks, ended, lines.Err()
}
