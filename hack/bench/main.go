// Bench compares kube-verdict's way into the kernel with kube-proxy's: the same
// Services, ours over netlink as flat maps, theirs as the ruleset that
// kube-proxy 1.37 writes (a chain and an anonymous map for each Service port)
// through the nft program, as it does. Both run in turn, in one run, on one
// machine; the ratios are what counts.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

func main() {
	sizes := flag.String("services", "1000,10000", "numbers of Services, one run each")
	endpoints := flag.Int("endpoints", 10, "endpoints of each Service")
	changes := flag.Int("changes", 30, "single changes of each kind to time")
	flag.Parse()
	if err := bench(os.Stdout, *sizes, *endpoints, *changes); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func bench(out *os.File, sizes string, endpoints, changes int) error {
	fmt.Fprintf(out, "median (min .. max) of the time until the kernel has it\n\n")
	fmt.Fprintf(out, "| Services x endpoints | what | kube-proxy 1.37's ruleset, nft -f | kube-verdict | ratio |\n|---|---|---|---|---|\n")
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-services: %q is not a number of Services", text)
		}
		if err := compare(out, n, endpoints, changes); err != nil {
			return err
		}
	}
	return nil
}

// side is one of the two that are compared, in a namespace of its own.
type side interface {
	// load programs all Services into an empty kernel.
	load(n, endpoints int) error
	// replace gives a Service another endpoint in place of one, resize another
	// number of them.
	replace(service, round int) error
	resize(service, round int) error
	close()
}

func compare(out *os.File, n, endpoints, changes int) error {
	const loads = 3
	var times [2]struct{ load, replace, resize []time.Duration }
	timed := func(list *[]time.Duration, f func() error) error {
		start := time.Now()
		err := f()
		*list = append(*list, time.Since(start))
		return err
	}
	for round := range loads {
		for i, open := range []func(*testbed.Namespace) (side, error){newPeer, newOurs} {
			fmt.Fprintf(os.Stderr, "%d x %d: load %d of %d, %s\n", n, endpoints, round+1, loads, []string{"kube-proxy's ruleset", "kube-verdict"}[i])
			if err := one(open, func(s side) error {
				t := &times[i]
				if err := timed(&t.load, func() error { return s.load(n, endpoints) }); err != nil {
					return err
				}
				for c := range changes / loads {
					service := (c*7919 + round) % n
					if err := timed(&t.replace, func() error { return s.replace(service, c) }); err != nil {
						return err
					}
				}
				for c := range changes / loads {
					service := (c*7919 + round) % n
					if err := timed(&t.resize, func() error { return s.resize(service, c) }); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	size := fmt.Sprintf("%d x %d", n, endpoints)
	row(out, size, "cold load", times[0].load, times[1].load)
	row(out, size, "one endpoint replaced", times[0].replace, times[1].replace)
	row(out, size, "one endpoint more or less", times[0].resize, times[1].resize)
	return nil
}

func one(open func(*testbed.Namespace) (side, error), f func(side) error) error {
	ns, err := testbed.NewNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	s, err := open(ns)
	if err != nil {
		return err
	}
	defer s.close()
	return f(s)
}

func row(out *os.File, size, what string, peer, ours []time.Duration) {
	fmt.Fprintf(out, "| %s | %s | %s | %s | **%.0fx** |\n", size, what, summary(peer), summary(ours),
		float64(median(peer))/float64(median(ours)))
}

func summary(d []time.Duration) string {
	return fmt.Sprintf("%s (%s .. %s)", short(median(d)), short(slices.Min(d)), short(slices.Max(d)))
}

func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
