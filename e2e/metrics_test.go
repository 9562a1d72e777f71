package e2e

import (
	"fmt"
	"strconv"
	"strings"
)

// metric is the value of a series, named as it is written; 0 when there is none.
func (a *agent) metric(name string) float64 {
	a.w.t.Helper()
	return a.series()[name]
}

// becomes waits until a series has a value: it is set a moment before or after the
// kernel has what it is about.
func (a *agent) becomes(name string, want float64) {
	a.w.t.Helper()
	a.w.eventually(fmt.Sprintf("%s to be %v", name, want), func() error {
		if got := a.metric(name); got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// series are all metrics, read at once.
func (a *agent) series() map[string]float64 {
	a.w.t.Helper()
	_, body, err := a.w.get(a.metrics, "/metrics")
	a.w.must(err)
	all := map[string]float64{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		a.w.must(err)
		all[line[:at]] = value
	}
	return all
}
