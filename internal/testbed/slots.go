package testbed

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// slotElement is an element of a map of endpoints, as nft lists it: frontend, slot and
// endpoint.
var slotElement = regexp.MustCompile(`^(.+) \. (\d+)(?: counter(?: packets \d+ bytes \d+)?)? : (.+)$`)

// SortSlots gives a frontend's endpoints their slots in the order of their text. Which one
// an endpoint has is a matter of history; that each of the first N has one is not, and a
// frontend whose slots are others stays as it is.
func SortSlots(elements []string) []string {
	endpoints := map[string][]string{} // by frontend
	seen := map[string]map[int]bool{}
	for _, e := range elements {
		if m := slotElement.FindStringSubmatch(e); m != nil {
			slot, _ := strconv.Atoi(m[2])
			if seen[m[1]] == nil {
				seen[m[1]] = map[int]bool{}
			}
			seen[m[1]][slot] = true
			endpoints[m[1]] = append(endpoints[m[1]], m[3])
		}
	}
	for frontend, list := range endpoints {
		slices.Sort(list)
		for i := range list {
			if !seen[frontend][i] {
				delete(endpoints, frontend)
			}
		}
	}
	var sorted []string
	for _, e := range elements {
		if m := slotElement.FindStringSubmatch(e); m == nil || endpoints[m[1]] == nil {
			sorted = append(sorted, e)
		}
	}
	for frontend, list := range endpoints {
		for i, endpoint := range list {
			sorted = append(sorted, fmt.Sprintf("%s . %d : %s", frontend, i, endpoint))
		}
	}
	slices.Sort(sorted)
	return sorted
}
