package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// size is a cluster's: so many Services, each with so many endpoints.
type size struct{ services, endpoints int }

func (s size) String() string { return fmt.Sprintf("%dx%d", s.services, s.endpoints) }

func (s size) total() int { return s.services * s.endpoints }

// parseSizes reads a list as "1000x10,5000x50". Smaller clusters come first, since
// one cluster grows into the next.
func parseSizes(text string) ([]size, error) {
	var all []size
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseSize(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b size) int {
		return cmp.Or(cmp.Compare(a.services, b.services), cmp.Compare(a.endpoints, b.endpoints))
	})
	return slices.Compact(all), nil
}

// most are as many as addresses have been set apart for, and as one EndpointSlice
// may hold.
const (
	mostServices  = 40_000
	mostEndpoints = 100
)

func parseSize(text string) (s size, err error) {
	if n, err := fmt.Sscanf(text+"\n", "%dx%d\n", &s.services, &s.endpoints); err != nil || n != 2 {
		return s, fmt.Errorf("size %q: write Services x endpoints of each, for example 1000x10", text)
	}
	if s.services < 10 || s.services > mostServices || s.endpoints < 1 || s.endpoints > mostEndpoints {
		return s, fmt.Errorf("size %q: from 10 to %d Services and from 1 to %d endpoints of each are possible", text, mostServices, mostEndpoints)
	}
	return s, nil
}
