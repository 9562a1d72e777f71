package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"
)

// figures are records in the order in which they came, to be looked up.
type figures []record

// key is what a figure is of; an empty field stands for any.
type key struct{ scenario, size, peer, what, metric string }

func (k key) matches(r record) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return k.scenario == r.scenario && is(k.size, r.size) && is(k.peer, r.peer) && is(k.what, r.what) && is(k.metric, r.metric)
}

// values are all that were measured of that, sorted.
func (f figures) values(k key) []float64 {
	var all []float64
	for _, r := range f {
		if k.matches(r) {
			all = append(all, r.value)
		}
	}
	slices.Sort(all)
	return all
}

// quantile is one of the measured values, so that no figure is between two of them.
func quantile(sorted []float64, q float64) float64 {
	return stat.Quantile(q, stat.Empirical, sorted, nil)
}

func median(sorted []float64) float64 { return quantile(sorted, 0.5) }

// median is that of what was measured of it, if something was.
func (f figures) median(k key) (float64, bool) {
	all := f.values(k)
	if len(all) == 0 {
		return 0, false
	}
	return median(all), true
}

// late says how long was waited for what did not come.
func (f figures) late(k key) (seconds float64, late bool) {
	k.metric = unfinished
	return f.median(k)
}

// distinct are the values of a field, in the order in which they came.
func (f figures) distinct(k key, field func(record) string) []string {
	var all []string
	for _, r := range f {
		if k.matches(r) && !slices.Contains(all, field(r)) {
			all = append(all, field(r))
		}
	}
	return all
}

func sizeOf(r record) string { return r.size }
func whatOf(r record) string { return r.what }
func peerOf(r record) string { return r.peer }

// bySize sorts sizes as a run goes through them.
func bySize(sizes []string) []string {
	slices.SortStableFunc(sizes, func(a, b string) int {
		x, _ := parseSize(a)
		y, _ := parseSize(b)
		return (x.services-y.services)*mostEndpoints + x.endpoints - y.endpoints
	})
	return sizes
}

// unit is what a metric's name has in brackets, or after its last space.
func unit(metric string) string {
	if _, after, ok := strings.Cut(metric, "("); ok {
		return strings.TrimSuffix(after, ")")
	}
	return ""
}

// more says that more of a metric is better.
func more(metric string) bool {
	return metric == newConnections || metric == elements || metric == "changes/s"
}

// written is a value with its unit.
func written(metric string, v float64) string {
	switch unit(metric) {
	case "s":
		return seconds(v)
	case "bytes":
		if math.Abs(v) < 1e6 {
			return "< 1 MB"
		}
		return fmt.Sprintf("%.3g MB", v/1e6)
	case "s per s":
		return fmt.Sprintf("%.1f %%", v*100)
	}
	if v >= 1000 {
		return grouped(v)
	}
	return fmt.Sprintf("%.3g", v)
}

// grouped is a large number with its thousands apart.
func grouped(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + " " + text[at:]
	}
	return text
}

// seconds is a time with three digits.
func seconds(v float64) string {
	d := time.Duration(v * float64(time.Second))
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}, {time.Nanosecond, "ns"}} {
		if d >= u.size {
			n := float64(d) / float64(u.size)
			return strings.TrimSuffix(fmt.Sprintf("%.*f", max(0, 2-int(math.Log10(n))), n), ".") + " " + u.name
		}
	}
	return d.String()
}

// times is a ratio.
func times(v float64) string {
	switch {
	case math.IsInf(v, 0) || math.IsNaN(v) || v < 0:
		return "-"
	case v >= 1000:
		return grouped(v) + "x"
	case v >= 10:
		return fmt.Sprintf("%.0fx", v)
	case v >= 1:
		return fmt.Sprintf("%.1fx", v)
	}
	return fmt.Sprintf("%.2fx", v)
}
