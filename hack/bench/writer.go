package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// side is a writer in a namespace of its own. Each call is one thing to program, and
// gives the time until the kernel has it.
type side interface {
	// load programs all Services into an empty kernel.
	load(n, endpoints int) (time.Duration, error)
	// replace gives a Service another endpoint in place of one, resize another
	// number of them.
	replace(service, round int) (time.Duration, error)
	resize(service, round int) (time.Duration, error)
	close()
}

const (
	handPacked = "hand-packed netlink"
	sameScript = "the same through nft -f"
	theirRules = "kube-proxy's ruleset through nft -f"
)

var sides = []struct {
	name string
	open func(*testbed.Namespace) (side, error)
}{{ours, newWriter}, {handPacked, newCopies}, {sameScript, newScripted}, {theirRules, newRuleset}}

const (
	loading  = "load"
	took     = "until the kernel has it (s)"
	elements = "elements/s"
)

// writer compares the writers, without any API server.
func (s *suite) writer(ctx context.Context, size size) error {
	elementsOf := 0
	for number := 1; number <= s.options.writerLoads; number++ {
		for i := range sides {
			if err := ctx.Err(); err != nil {
				return err
			}
			// The order changes, but that ours says first how many elements there are.
			side := sides[i]
			if number > 1 {
				side = sides[(i+number)%len(sides)]
			}
			s.progress.tell("writer, %s, round %d of %d: %s", size, number, s.options.writerLoads, side.name)
			add := func(what, metric string, value float64) error {
				return s.recorder.add(record{scenario: writerScenario, size: size.String(), peer: side.name, what: what, metric: metric, round: number, value: value})
			}
			if err := s.oneWriter(side.open, size, number, &elementsOf, add); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *suite) oneWriter(open func(*testbed.Namespace) (side, error), size size, number int, n *int, add func(what, metric string, value float64) error) error {
	ns, err := testbed.NewNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	w, err := open(ns)
	if err != nil {
		return err
	}
	defer w.close()
	d, err := w.load(size.services, size.endpoints)
	var late *lateError
	if errors.As(err, &late) {
		return add(loading, unfinished, late.after.Seconds())
	}
	if err != nil {
		return err
	}
	if w, ok := w.(*writer); ok {
		*n = w.elements()
	}
	if _, other := w.(*ruleset); !other {
		if err := add(loading, elements, float64(*n)/d.Seconds()); err != nil {
			return err
		}
	}
	if err := add(loading, took, d.Seconds()); err != nil {
		return err
	}
	for _, kind := range []struct {
		what string
		do   func(service, round int) (time.Duration, error)
	}{{replaced, w.replace}, {resized, w.resize}} {
		for c := range s.options.writerChanges {
			const prime = 7919
			d, err := kind.do((c*prime+number)%size.services, c)
			if err != nil {
				return err
			}
			if err := add(kind.what, took, d.Seconds()); err != nil {
				return err
			}
		}
	}
	return nil
}

// scriptLimit is how long the nft program may take for one script.
const scriptLimit = 90 * time.Second

// nftScript has the nft program do a script, as kube-proxy does.
func nftScript(ns *testbed.Namespace, script string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptLimit)
	defer cancel()
	var said bytes.Buffer
	nft := exec.CommandContext(ctx, "nft", "-f", "-")
	nft.Stdin, nft.Stdout, nft.Stderr = strings.NewReader(script), &said, &said
	start := time.Now()
	err := ns.Do(nft.Run)
	switch {
	case ctx.Err() != nil:
		err = &lateError{"nft -f", scriptLimit}
	case err != nil:
		err = fmt.Errorf("nft -f: %w: %s", err, lastLines(said.String()))
	}
	return time.Since(start), err
}
