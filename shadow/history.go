package shadow

import (
	"maps"
	"reflect"
	"slices"

	"github.com/kube-verdict/kube-verdict/view"
)

// history is what earlier looks have shown.
type history struct {
	// last are the differences of the last look, told those that two looks after one
	// another showed. Both are by Service.
	last, told map[string]view.Difference
}

// look takes in what a look shows, and gives what is to be told now: differences
// that are new or others than before, and Services that have none any more.
// unsettled says that something was seen for the first time.
func (h *history) look(differences []view.Difference) (changed []view.Difference, gone []string, unsettled bool) {
	now := map[string]view.Difference{}
	told := map[string]view.Difference{}
	for _, d := range differences {
		now[d.Service] = d
		before, known := h.told[d.Service]
		switch {
		case known && reflect.DeepEqual(before, d):
			told[d.Service] = d
		case reflect.DeepEqual(h.last[d.Service], d):
			told[d.Service] = d
			changed = append(changed, d)
		case known:
			told[d.Service] = before // until it is seen again
			unsettled = true
		default:
			unsettled = true
		}
	}
	for _, service := range slices.Sorted(maps.Keys(h.told)) {
		if _, still := now[service]; !still {
			gone = append(gone, service)
		}
	}
	h.last, h.told = now, told
	return changed, gone, unsettled
}
