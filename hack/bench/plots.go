package main

import (
	"fmt"
	"image/color"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// chart is a plot and where in the report it belongs.
type chart struct {
	file, title, after string
	across             string // what goes to the right
	metric             string
	lines              []line
}

// line is a figure by size.
type line struct {
	name   string
	peer   string
	dashed bool
	at     func(f figures) plotter.XYs
}

// colors tell the peers apart, also for those who see few colours.
var colors = map[string]color.Color{
	ours:       color.RGBA{R: 0, G: 114, B: 178, A: 255},
	nftMode:    color.RGBA{R: 213, G: 94, B: 0, A: 255},
	iptsMode:   color.RGBA{R: 0, G: 158, B: 115, A: 255},
	nobody:     color.Gray{Y: 128},
	handPacked: color.Gray{Y: 128},
	sameScript: color.RGBA{R: 204, G: 121, B: 167, A: 255},
	theirRules: color.RGBA{R: 213, G: 94, B: 0, A: 255},
}

const bySizeAxis = "Services with 10 endpoints each"

// services are the quantiles by number of Services, of clusters with ten endpoints each.
func services(k key, q float64) func(figures) plotter.XYs {
	return func(f figures) (xys plotter.XYs) {
		for _, text := range bySize(f.distinct(k, sizeOf)) {
			size, err := parseSize(text)
			k := k
			k.size = text
			all := f.values(k)
			if err == nil && size.endpoints == 10 && len(all) > 0 && quantile(all, q) > 0 {
				xys = append(xys, plotter.XY{X: float64(size.services), Y: quantile(all, q)})
			}
		}
		return xys
	}
}

// everybody has a line for each proxy.
func everybody(scenario, what, metric string, dashed string, q float64) (lines []line) {
	for _, peer := range []string{ours, nftMode, iptsMode} {
		name := peer
		if dashed != "" {
			name += ", " + dashed
		}
		lines = append(lines, line{name, peer, dashed != "", services(key{scenario, "", peer, what, metric}, q)})
	}
	return lines
}

// affinityLines are by the number of endpoints, in the usual cluster or the largest.
func affinityLines() (lines []line) {
	for _, peer := range []string{ours, nftMode, iptsMode} {
		lines = append(lines, line{name: peer, peer: peer, at: func(f figures) (xys plotter.XYs) {
			for _, n := range []int{10, 100, 1000} {
				all := f.values(key{packetScenario, "", peer, fmt.Sprintf(withAffinity, n), firstPacket})
				if len(all) > 0 {
					xys = append(xys, plotter.XY{X: float64(n), Y: median(all)})
				}
			}
			return xys
		}})
	}
	return lines
}

func writerLines() (lines []line) {
	for _, s := range sides {
		lines = append(lines, line{name: s.name, peer: s.name, at: services(key{writerScenario, "", s.name, loading, took}, 0.5)})
	}
	return lines
}

// charts are the report's.
func charts() []chart {
	return []chart{
		{"cold-start.svg", "Cold start, until all Services are programmed", "Cold start", bySizeAxis, "programmed after (s)",
			append(everybody(coldScenario, "", "programmed after (s)", "", 0.5),
				line{"a client that only reads", nobody, true, services(key{coldScenario, "", nobody, "", "programmed after (s)"}, 0.5)})},
		{"latency.svg", "Write to accepted packet at 100 changes/s, median and 99 %", "Network programming latency", bySizeAxis, accepted,
			append(everybody(latencyScenario, underLoad, accepted, "", 0.5), everybody(latencyScenario, underLoad, accepted, "99 %", 0.99)...)},
		{"restart.svg", "Restart with an unchanged cluster, until ready", "Restart", bySizeAxis, "ready after (s)",
			everybody(restartScenario, "", "ready after (s)", "", 0.5)},
		{"first-packet.svg", "First packet of a connection, all Services in turn", "First packet", bySizeAxis, firstPacket,
			append(everybody(packetScenario, "ClusterIP, all in turn", firstPacket, "", 0.5), everybody(packetScenario, "ClusterIP, last", firstPacket, "last Service", 0.5)...)},
		{"affinity.svg", "First packet with session affinity, at all sizes", "First packet", "endpoints of the Service", firstPacket, affinityLines()},
		{"memory.svg", "Most resident memory during a cold start, children included", "CPU and memory", bySizeAxis, "most memory (bytes)",
			everybody(coldScenario, "", "most memory (bytes)", "", 0.5)},
		{"cpu.svg", "CPU at 100 changes/s, share of one processor", "CPU and memory", bySizeAxis, "CPU (s per s)",
			everybody(usageScenario, "at 100 changes/s", "CPU (s per s)", "", 0.5)},
		{"writer.svg", "The writer alone: load", writerScenario, bySizeAxis, took, writerLines()},
	}
}

// plots draws the charts that have something in them, and says which these are.
func (f figures) plots(dir string) (drawn []chart, err error) {
	for _, c := range charts() {
		there, err := f.draw(dir, c)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", c.file, err)
		}
		if there {
			drawn = append(drawn, c)
		}
	}
	return drawn, nil
}

func (f figures) draw(dir string, c chart) (there bool, err error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = c.title, c.across
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker = ticks(func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) })
	p.Y.Tick.Marker = ticks(func(v float64) string { return written(c.metric, v) })
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for _, l := range c.lines {
		xys := l.at(f)
		if len(xys) == 0 {
			continue
		}
		there = true
		drawn, points, err := plotter.NewLinePoints(xys)
		if err != nil {
			return false, err
		}
		drawn.Color, points.Color, points.Shape = colors[l.peer], colors[l.peer], draw.CircleGlyph{}
		drawn.Width = vg.Points(1.5)
		if l.dashed {
			drawn.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		p.Add(drawn, points)
		p.Legend.Add(l.name, drawn, points)
	}
	if !there {
		return false, nil
	}
	// Room around what is drawn, and for the legend above it.
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.3
	p.Y.Min, p.Y.Max = p.Y.Min/1.5, p.Y.Max*20
	return true, p.Save(18*vg.Centimeter, 11*vg.Centimeter, filepath.Join(dir, c.file))
}

// ticks are those of powers of ten, and of their double and fivefold without a name.
func ticks(name func(float64) string) plot.TickerFunc {
	return func(low, high float64) (all []plot.Tick) {
		for power := 1e-9; power <= high; power *= 10 {
			for _, n := range []float64{1, 2, 5} {
				v := power * n
				if v < low || v > high {
					continue
				}
				label := ""
				if n == 1 || high/low < 100 {
					label = name(v)
				}
				all = append(all, plot.Tick{Value: v, Label: label})
			}
		}
		return all
	}
}
