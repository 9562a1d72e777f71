package explain

import (
	"fmt"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// standing is an endpoint's reason under a policy, in words.
func (b *builder) standing(e *proxy.EndpointExplanation, reason proxy.Reason, port *proxy.PortExplanation) *Standing {
	return &Standing{In: reason.In(), Reason: reason.String(), Why: b.why(e, reason, port)}
}

func (b *builder) why(e *proxy.EndpointExplanation, reason proxy.Reason, port *proxy.PortExplanation) string {
	hints := e.Object().Hints
	switch reason {
	case proxy.Ready:
		return "ready"
	case proxy.LastServing:
		return "terminating, but it still serves, and no endpoint that could be chosen is ready"
	case proxy.NotReady:
		return "not ready"
	case proxy.Terminating:
		return "terminating: it still serves, but others are ready"
	case proxy.Stopped:
		return "terminating, and it serves no more"
	case proxy.ForOtherNodes:
		return fmt.Sprintf("hints keep it for node %s; this is %s", orNone(nodesOf(hints)), b.node.Name)
	case proxy.ForOtherZones:
		return fmt.Sprintf("hints keep it for zone %s; this node is in %s", orNone(zonesOf(hints)), zoneName(b.node.Zone))
	case proxy.OnOtherNode:
		if e.Object().NodeName == nil {
			return "on no node that its slice names; the traffic policy Local wants one on this node"
		}
		return fmt.Sprintf("on node %s; the traffic policy Local wants one on this node", *e.Object().NodeName)
	case proxy.Twice:
		return fmt.Sprintf("%s is there once more, in a state that counts at least as much", e.AddrPort)
	case proxy.OtherPort:
		return fmt.Sprintf("its slice has no port %s, only %s", portName(port), slicePorts(e.Slice))
	case proxy.OtherFamily:
		return fmt.Sprintf("it is %s, and the Service has no ClusterIP of that family", e.Detail)
	case proxy.NoAddress:
		return fmt.Sprintf("its slice is of the type %s, which is no IP address", e.Detail)
	}
	return e.Detail
}

func portName(p *proxy.PortExplanation) string {
	if p.Name == "" {
		return "without a name over " + p.Protocol.String()
	}
	return fmt.Sprintf("named %s over %s", p.Name, p.Protocol)
}

func slicePorts(s *discoveryv1.EndpointSlice) string {
	var all []string
	for _, p := range s.Ports {
		name, protocol := `""`, "TCP"
		if p.Name != nil && *p.Name != "" {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = string(*p.Protocol)
		}
		all = append(all, name+"/"+strings.ToLower(protocol))
	}
	return orNone(all)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func zoneName(zone string) string {
	if zone == "" {
		return "no zone"
	}
	return zone
}

func nodesOf(h *discoveryv1.EndpointHints) (names []string) {
	if h != nil {
		for _, n := range h.ForNodes {
			names = append(names, n.Name)
		}
	}
	return names
}

func zonesOf(h *discoveryv1.EndpointHints) (names []string) {
	if h != nil {
		for _, z := range h.ForZones {
			names = append(names, z.Name)
		}
	}
	return names
}

// state is an endpoint's conditions in words. Those that are not there are as the
// API defines them.
func state(c discoveryv1.EndpointConditions) string {
	ready := c.Ready == nil || *c.Ready
	serving := c.Serving == nil || *c.Serving
	terminating := c.Terminating != nil && *c.Terminating
	switch {
	case terminating && ready:
		return "ready, terminating"
	case ready:
		return "ready"
	case terminating && serving:
		return "terminating, serving"
	case terminating:
		return "terminating, not serving"
	}
	return "not ready"
}
