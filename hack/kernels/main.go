// Command kernels runs kube-verdict on the kernels that Debian serves, in virtual machines
// that QEMU emulates, and has several versions of nft list its tables there. Packages are
// downloaded and unpacked, not installed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// options are the flags.
type options struct {
	kernels, arch, mirror, jobs, record, logs string
	parallel                                  int
}

func main() {
	var o options
	flag.StringVar(&o.kernels, "kernels", "all", "all, ci (the oldest and the newest), or series such as 6.1,6.12,newest")
	flag.StringVar(&o.arch, "arch", "amd64", "the processor: amd64, arm64 or s390x")
	flag.StringVar(&o.mirror, "mirror", "", "a Debian mirror (default: that of the machine's apt)")
	flag.StringVar(&o.jobs, "jobs", "", "what each kernel does (default: everything; for ci and for another processor, apply and packets): names of "+strings.Join(jobNames(), ", "))
	flag.StringVar(&o.record, "record", "", "a page to write a table of all consoles into: docs/compatibility.md")
	flag.StringVar(&o.logs, "logs", "bin/kernels", "directory for the kernels' consoles")
	flag.IntVar(&o.parallel, "parallel", 2, "how many virtual machines at a time")
	flag.Parse()
	started := time.Now()
	results, err := run(o)
	passed, failed := 0, 0
	for _, r := range results {
		for _, c := range r.checks {
			if c.Failure == "" {
				passed++
				continue
			}
			failed++
			fmt.Printf("FAIL %s %s: %s: %s\n", r.kernel, c.Job, c.What, c.Failure)
		}
	}
	if err != nil {
		failed++
		fmt.Printf("FAIL %v\n", err)
	}
	say("%v; consoles are in %s", time.Since(started).Round(time.Second), o.logs)
	fmt.Printf("kernels: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Printf("kernels: "+format+"\n", args...) }

func run(o options) ([]result, error) {
	series, err := choose(o.kernels)
	if err != nil {
		return nil, err
	}
	p, err := platformOf(o.arch)
	if err != nil {
		return nil, err
	}
	boots, err := plan(o, p)
	if err != nil {
		return nil, err
	}
	if o.mirror == "" {
		if o.mirror, err = mirror(); err != nil {
			return nil, err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	s := &store{cache: filepath.Join(cache, "kube-verdict", "kernels"), mirror: o.mirror, platform: p, archives: map[string]*archive{}}
	base, err := s.base(boots)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(base) }()
	// A kernel that cannot be had fails the run, but not the other kernels.
	var ready []kernel
	for _, name := range series {
		k, kernelErr := s.kernel(name)
		err = errors.Join(err, kernelErr)
		if kernelErr == nil {
			ready = append(ready, k)
		}
	}
	results := bootAll(o, p, base, ready, boots)
	if o.record != "" {
		err = errors.Join(err, record(o.record, o.logs, p))
	}
	return results, err
}

// bootAll does all boots of all kernels, some at a time.
func bootAll(o options, p platform, base string, ready []kernel, boots []boot) []result {
	results := make([]result, len(ready)*len(boots))
	var all sync.WaitGroup
	room := make(chan struct{}, max(1, o.parallel))
	for b, boot := range boots {
		for k, kernel := range ready {
			all.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				results[k*len(boots)+b] = boot.run(o.logs, p, base, kernel)
			})
		}
	}
	all.Wait()
	return results
}
