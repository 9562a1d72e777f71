package view

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Difference is what connections to one Service meet otherwise than they should.
type Difference struct {
	// Service is namespace/name, or empty for frontends of which no source says
	// whose they are.
	Service  string    `json:"service"`
	Findings []Finding `json:"findings"`
}

// Finding is one thing that is different at one frontend.
type Finding struct {
	Frontend Key `json:"frontend"`
	// What is different: "frontend", "fate", "endpoint IP:PORT", "policy", "local
	// endpoint IP:PORT", "masquerade", "affinity", "endpoints that get no answer from
	// themselves", "sources" or "rules".
	What string `json:"what"`
	// Want and Have are the two sides of it, empty where a side has nothing.
	Want string `json:"want,omitempty"`
	Have string `json:"have,omitempty"`
}

// Text is the difference in a line for the Service and one for each finding, with
// the names of the two sides.
func (d Difference) Text(want, have string) string {
	var b strings.Builder
	b.WriteString(cmp.Or(d.Service, "unknown Service"))
	b.WriteByte('\n')
	for _, f := range d.Findings {
		b.WriteString("  " + f.Text(want, have) + "\n")
	}
	return b.String()
}

// Text is the finding in one line, with the names of the two sides.
func (f Finding) Text(want, have string) string {
	return fmt.Sprintf("%s %s: %s in %s, %s in %s", f.Frontend, f.What, cmp.Or(f.Want, "none"), want, cmp.Or(f.Have, "none"), have)
}

// Compare says how two views differ, by Service and in order. Two that behave
// alike don't: shares may be rounded, lists may be in any order.
func Compare(want, have View) []Difference {
	found := map[string][]Finding{}
	note := func(key Key, w, h *Port) {
		if findings := compare(key, w, h); len(findings) > 0 {
			service := cmp.Or(serviceOf(w), serviceOf(h))
			found[service] = append(found[service], findings...)
		}
	}
	for key, w := range want {
		if h, ok := have[key]; ok {
			note(key, &w, &h)
		} else {
			note(key, &w, nil)
		}
	}
	for key, h := range have {
		if _, ok := want[key]; !ok {
			note(key, nil, &h)
		}
	}
	var all []Difference
	for _, service := range slices.Sorted(maps.Keys(found)) {
		findings := found[service]
		slices.SortStableFunc(findings, func(a, b Finding) int { return compareKeys(a.Frontend, b.Frontend) })
		all = append(all, Difference{service, findings})
	}
	return all
}

// Same says that connections meet the same at either.
func Same(a, b Port) bool { return len(compare(Key{}, &a, &b)) == 0 }

func compareKeys(a, b Key) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func serviceOf(p *Port) string {
	if p == nil {
		return ""
	}
	return p.ServiceName()
}

func compare(key Key, want, have *Port) []Finding {
	var list []Finding
	note := func(what, w, h string) {
		if w != h {
			list = append(list, Finding{key, what, w, h})
		}
	}
	switch {
	case want == nil:
		note("frontend", "", have.summary())
		return list
	case have == nil:
		note("frontend", want.summary(), "")
		return list
	}
	if want.Unclear != "" || have.Unclear != "" {
		note("rules", want.summary(), have.summary())
		return list
	}
	if want.Fate != have.Fate {
		note("fate", want.summary(), have.summary())
		return list
	}
	if want.Fate != Balanced {
		return list
	}
	if !sameSources(want.Sources, have.Sources) {
		note("sources", sourcesText(want.Sources), sourcesText(have.Sources))
	}
	list = append(list, compareEndpoints(key, "endpoint ", want.Endpoints, have.Endpoints)...)
	note("policy", policyText(want.LocalOnly), policyText(have.LocalOnly))
	if want.LocalOnly && have.LocalOnly {
		list = append(list, compareEndpoints(key, "local endpoint ", want.Local, have.Local)...)
	}
	note("masquerade", want.Masquerade.String(), have.Masquerade.String())
	note("affinity", affinityText(want.Affinity), affinityText(have.Affinity))
	note("endpoints that get no answer from themselves", addressesText(want.Unanswered), addressesText(have.Unanswered))
	return list
}

// summary is a Port in a few words.
func (p *Port) summary() string {
	if p.Unclear != "" {
		return "unclear (" + p.Unclear + ")"
	}
	if p.Fate != Balanced {
		return p.Fate.String()
	}
	if n := len(p.Endpoints); n != 1 {
		return fmt.Sprintf("balanced over %d endpoints", n)
	}
	return "balanced over 1 endpoint"
}

// compareEndpoints tells of each endpoint that only one side has. An endpoint more
// or less changes the shares of all others; those are told only where that is not
// the whole reason.
func compareEndpoints(key Key, what string, want, have []Endpoint) []Finding {
	if SameEndpoints(want, have) {
		return nil
	}
	type pair struct{ want, have float64 }
	both := map[netip.AddrPort]pair{}
	for _, e := range want {
		both[e.AddrPort] = pair{want: e.Share}
	}
	for _, e := range have {
		both[e.AddrPort] = pair{both[e.AddrPort].want, e.Share}
	}
	shares := len(want) == len(both) && len(have) == len(both) || !SameShares(want) || !SameShares(have)
	var list []Finding
	for at, share := range both {
		missing := share.want == 0 || share.have == 0
		if missing && share.want != share.have || shares && !sameShare(share.want, share.have) {
			list = append(list, Finding{key, what + at.String(), shareText(share.want), shareText(share.have)})
		}
	}
	slices.SortFunc(list, func(a, b Finding) int { return strings.Compare(a.What, b.What) })
	return list
}

func sameSources(a, b []netip.Prefix) bool {
	return slices.Equal(a, b) || slices.Equal(Union(a), Union(b))
}

func addressesText(list []netip.AddrPort) string {
	var texts []string
	for _, a := range list {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

func sourcesText(list []netip.Prefix) string {
	if list = Union(list); len(list) == 0 {
		return "anywhere"
	}
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// shareText is a share in percent, empty for none.
func shareText(share float64) string {
	if share == 0 {
		return ""
	}
	return strconv.FormatFloat(100*share, 'g', 4, 64) + "%"
}

func policyText(local bool) string {
	if local {
		return "Local"
	}
	return "Cluster"
}

func affinityText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
