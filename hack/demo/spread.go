package main

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

const (
	perPort = 6000
	// improbable is the p-value below which the demo fails. An even choice gets
	// there once in some 30 000 runs, as there are three ports.
	improbable = 0.00001
)

// hits is how often each address answered.
type hits map[netip.Addr]int

// spread sends requests to each port, prints who answers, and returns the hits of
// each port.
func (c *cluster) spread(p *page) ([]hits, error) {
	var all []hits
	for _, port := range ports {
		var asked atomic.Int32
		requests, err := c.traffic(func() (servicePort, bool) { return port, asked.Add(1) <= perPort })
		if err != nil {
			return nil, err
		}
		if err := firstWrong(requests, func(r request) bool { return r.answeredBy(c.pods) }); err != nil {
			return nil, err
		}
		h := hits{}
		for _, r := range requests {
			h[r.answer.Server.Addr()]++
		}
		all = append(all, h)
	}
	printSpread(p, c.pods, all)
	for i, h := range all {
		if _, value := h.evenness(c.pods); value < improbable {
			return nil, fmt.Errorf("port %s: the hits are uneven, with a p-value of %.2g", ports[i].name, value)
		}
	}
	return all, nil
}

// evenness is Pearson's chi-squared of the hits of these pods, and its p-value: how
// probable one as large or larger is when each request chooses evenly.
func (h hits) evenness(pods []pod) (chi, p float64) {
	var got, want []float64
	sum := 0.0
	for _, pod := range pods {
		got = append(got, float64(h[pod.ip]))
		sum += float64(h[pod.ip])
	}
	for range pods {
		want = append(want, sum/float64(len(pods)))
	}
	chi = stat.ChiSquare(got, want)
	return chi, distuv.ChiSquared{K: float64(len(pods) - 1)}.Survival(chi)
}

func printSpread(p *page, pods []pod, all []hits) {
	row := func(endpoint, node string, cells ...string) {
		line := fmt.Sprintf("%-12s %-8s", endpoint, node)
		for _, cell := range cells {
			line += fmt.Sprintf("%19s", cell)
		}
		p.text("%s", line)
	}
	cell := func(n int) string { return fmt.Sprintf("%d   %s", n, percent(float64(n)/perPort)) }

	p.text("%d requests to each port of %s, each from a fresh socket:\n", perPort, clusterIP)
	row("ENDPOINT", "NODE", "DNS (53/UDP)", "DNS-TCP (53/TCP)", "METRICS (9153/TCP)", "EXPECTED")
	for _, pod := range pods {
		var cells []string
		for _, h := range all {
			cells = append(cells, cell(h[pod.ip]))
		}
		row(pod.ip.String(), pod.host(), append(cells, cell(perPort/len(pods)))...)
	}
	var chis, values []string
	for _, h := range all {
		chi, value := h.evenness(pods)
		chis = append(chis, fmt.Sprintf("%.2f", chi))
		values = append(values, fmt.Sprintf("%.3f", value))
	}
	row("chi-squared", "", chis...)
	row("p-value", "", values...)
	p.text(`
The p-value says how often an even choice gives hits at least this uneven; below %.5f the demo
fails. No request failed, and every server saw the client's own address.`, improbable)
}
