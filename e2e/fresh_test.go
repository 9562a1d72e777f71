package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// equalsFresh waits until the node's tables are what a first start makes of the
// API server's objects as they are now, in the words of stock nft.
func (w *world) equalsFresh(flags ...string) {
	w.t.Helper()
	want := w.fresh(flags...)
	w.eventually("the kernel to equal a fresh build", func() error {
		have, err := listing(w.node.Namespace)
		if err == nil {
			err = differs(want, have)
		}
		return err
	})
}

// fresh is the listing of what a first start makes of the API server's objects, on
// an empty node that takes itself for this one.
func (w *world) fresh(flags ...string) []string {
	w.t.Helper()
	empty := *w
	var err error
	empty.node, err = testbed.NewNode(w.node.Addrs...)
	w.must(err)
	defer empty.node.Close()
	way, err := testbed.NewWay(w.api, empty.node)
	w.must(err)
	defer way.Cut()
	first := empty.startReady(flags...)
	var want []string
	w.eventually("a listing of a fresh build", func() (err error) {
		// For a moment after a large load, a listing leaves elements out and has others
		// twice, as the kernel is still making room.
		before := want
		if want, err = listing(empty.node.Namespace); err == nil && !slices.Equal(before, want) {
			err = errors.New("it is not the same twice")
		}
		return err
	})
	w.must(first.Stop())
	return want
}

// listing is what stock nft says of our tables, in an order that does not depend
// on how they came about, and without the clients that are remembered.
func listing(ns *testbed.Namespace) ([]string, error) {
	var all []string
	for _, family := range []string{"ip", "ip6"} {
		text, err := ns.Run("nft", "--stateless", "list", "table", family, "kube-verdict")
		if err != nil {
			return nil, err
		}
		name, set, rule := "", false, 0
		for line := range strings.Lines(text) {
			words := strings.TrimSpace(line)
			if kind, _, _ := strings.Cut(words, " "); slices.Contains([]string{"map", "set", "chain"}, kind) && strings.HasSuffix(words, "{") {
				name, set, rule = family+" "+strings.TrimSuffix(words, " {"), kind != "chain", 0
			}
			switch {
			case words == "" || words == "}" || name == family+" map remembered":
			case set:
				words = strings.TrimSuffix(strings.TrimPrefix(words, "elements = {"), "}")
				for element := range strings.SplitSeq(words, ",") {
					if element = strings.TrimSpace(element); element != "" {
						all = append(all, name+": "+element)
					}
				}
			default:
				all = append(all, fmt.Sprintf("%s: %3d %s", name, rule, words)) // rules have an order
				rule++
			}
		}
	}
	return testbed.SortSlots(withoutIdle(all)), nil
}

// withoutIdle leaves out the chains for numbers of endpoints that no Service has at
// the moment: a few are kept for the next time, or made ahead.
func withoutIdle(lines []string) []string {
	led := map[string]bool{}
	for _, line := range lines {
		family, _, _ := strings.Cut(line, " ")
		if _, chain, ok := strings.Cut(line, "goto "); ok {
			led[family+" chain "+chain] = true
		}
	}
	return slices.DeleteFunc(lines, func(line string) bool {
		at, _, _ := strings.Cut(line, ":")
		return strings.Contains(at, " chain cluster-") && !led[at]
	})
}

// differs says what is in only one of two sorted listings.
func differs(want, have []string) error {
	var lines []error
	for len(want) > 0 || len(have) > 0 {
		switch {
		case len(have) == 0 || len(want) > 0 && want[0] < have[0]:
			lines, want = append(lines, fmt.Errorf("is missing: %s", want[0])), want[1:]
		case len(want) == 0 || have[0] < want[0]:
			lines, have = append(lines, fmt.Errorf("is too much: %s", have[0])), have[1:]
		default:
			want, have = want[1:], have[1:]
		}
	}
	if n := len(lines); n > 20 {
		lines = append(lines[:20:20], fmt.Errorf("and %d more", n-20))
	}
	return errors.Join(lines...)
}
