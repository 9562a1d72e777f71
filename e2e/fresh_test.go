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

// fresh is the listing of what a first start makes of the API server's objects.
func (w *world) fresh(flags ...string) []string {
	w.t.Helper()
	kubectl, err := testbed.Tool("kubectl")
	w.must(err)
	objects, err := w.node.Run(kubectl, "--kubeconfig="+w.api.Kubeconfig(), "get", "-A", "-o", "json",
		"services,endpointslices,nodes,servicecidrs")
	w.must(err)
	empty, err := testbed.NewNamespace()
	w.must(err)
	defer empty.Close()
	_, err = empty.RunInput(strings.NewReader(objects), program, append([]string{"apply", "-f", "-"}, w.flags(flags)...)...)
	w.must(err)
	want, err := listing(empty)
	w.must(err)
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
	slices.Sort(all)
	return all, nil
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
