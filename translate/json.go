package translate

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Report is a Reading for other programs.
type Report struct {
	Frontends     []ReportedFrontend `json:"frontends"`
	HealthChecks  map[string]uint16  `json:"healthChecks,omitempty"`
	PodCIDRs      []netip.Prefix     `json:"podCIDRs,omitempty"`
	PodInterfaces []string           `json:"podInterfaces,omitempty"`
	// NodePortAddresses are where NodePorts are reached; "all" for all of the node's.
	NodePortAddresses []string          `json:"nodePortAddresses,omitempty"`
	Warnings          []ReportedWarning `json:"warnings"`
}

// ReportedFrontend is what connections to one frontend meet.
type ReportedFrontend struct {
	Service  string   `json:"service"`
	Frontend view.Key `json:"frontend"`
	// Kind is ClusterIP, ExternalIP, LoadBalancerIP or NodePort.
	Kind string `json:"kind"`
	// Line is that of the first rule for it.
	Line       int                `json:"line"`
	Fate       view.Fate          `json:"fate"`
	Endpoints  []ReportedEndpoint `json:"endpoints,omitempty"`
	LocalOnly  bool               `json:"localOnly,omitempty"`
	Local      []ReportedEndpoint `json:"local,omitempty"`
	Masquerade view.Masquerade    `json:"masquerade"`
	// AffinitySeconds is how long a client keeps its endpoint.
	AffinitySeconds int            `json:"affinitySeconds,omitempty"`
	Sources         []netip.Prefix `json:"sources,omitempty"`
}

// ReportedEndpoint is an endpoint and its part of new connections, from 0 to 1.
type ReportedEndpoint struct {
	Endpoint netip.AddrPort `json:"endpoint"`
	Share    float64        `json:"share"`
}

// ReportedWarning is what could not be carried over.
type ReportedWarning struct {
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
}

// JSON writes the Reading as JSON.
func JSON(w io.Writer, r *iptables.Reading) error {
	out := Report{
		Frontends: []ReportedFrontend{}, HealthChecks: r.HealthChecks,
		PodCIDRs: r.PodCIDRs, PodInterfaces: r.PodInterfaces, Warnings: []ReportedWarning{},
	}
	if r.AllNodePortAddresses {
		out.NodePortAddresses = []string{"all"}
	}
	for _, a := range r.NodePortAddresses {
		out.NodePortAddresses = append(out.NodePortAddresses, a.String())
	}
	for _, key := range slices.SortedFunc(maps.Keys(r.View), func(a, b view.Key) int {
		return cmp.Or(strings.Compare(r.View[a].Service, r.View[b].Service), strings.Compare(a.String(), b.String()))
	}) {
		p, from := r.View[key], r.Frontends[key]
		out.Frontends = append(out.Frontends, ReportedFrontend{
			Service: p.Service, Frontend: key, Kind: kindName(from.Kind), Line: from.Line, Fate: p.Fate,
			Endpoints: endpoints(p.Endpoints), LocalOnly: p.LocalOnly, Local: endpoints(p.Local),
			Masquerade: p.Masquerade, AffinitySeconds: int(p.Affinity.Seconds()), Sources: p.Sources,
		})
	}
	for _, w := range r.Warnings {
		out.Warnings = append(out.Warnings, ReportedWarning{w.Line, w.Text})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func endpoints(list []view.Endpoint) []ReportedEndpoint {
	var out []ReportedEndpoint
	for _, e := range list {
		out = append(out, ReportedEndpoint{e.AddrPort, e.Share})
	}
	return out
}

func kindName(k proxy.FrontendKind) string {
	switch k {
	case proxy.ExternalIP:
		return "ExternalIP"
	case proxy.LoadBalancerIP:
		return "LoadBalancerIP"
	case proxy.NodePort:
		return "NodePort"
	}
	return "ClusterIP"
}
