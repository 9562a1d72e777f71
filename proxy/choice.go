package proxy

// Reason says why an endpoint gets traffic under a traffic policy, or gets none.
// Endpoints are chosen by their reasons: those whose reason is In.
type Reason uint8

// Reasons. A Service port's own endpoints have one of those up to OnOtherNode.
const (
	// Ready endpoints get traffic.
	Ready Reason = iota
	// LastServing endpoints are terminating but still serve, and no other
	// endpoint is ready (KEP-1669).
	LastServing

	// NotReady endpoints get no traffic.
	NotReady
	// Terminating endpoints still serve, but others are ready.
	Terminating
	// Stopped endpoints are terminating and serve no more.
	Stopped
	// ForOtherNodes are endpoints that hints keep for other nodes (KEP-3015).
	ForOtherNodes
	// ForOtherZones are endpoints that hints keep for other zones (KEP-2433).
	ForOtherZones
	// OnOtherNode is for the traffic policy Local.
	OnOtherNode

	// Twice is for an endpoint that is there with the same address and port
	// already, in a state that counts more.
	Twice
	// OtherPort is for endpoints whose slice has no port of that name and
	// protocol.
	OtherPort
	// OtherFamily is for endpoints of a family that the Service does not have.
	OtherFamily
	// NoAddress is for slices of names, or of types of addresses that are unknown.
	NoAddress
	// Invalid is for an address that can't be read or can't be an endpoint's.
	Invalid
)

// In says that an endpoint with this reason gets traffic.
func (r Reason) In() bool { return r <= LastServing }

// String is the reason's name in programs.
func (r Reason) String() string {
	return [...]string{
		"Ready", "LastServing", "NotReady", "Terminating", "Stopped", "ForOtherNodes", "ForOtherZones", "OnOtherNode",
		"Twice", "OtherPort", "OtherFamily", "NoAddress", "Invalid",
	}[r]
}

// choice is what the reasons of a Service port's endpoints depend on besides the
// endpoint itself.
type choice struct {
	// ready says that one is ready on some node, readyHere that one is on this.
	ready, readyHere bool
	// byNode and byZone say whether hints count: only if every ready endpoint has
	// one, and one is meant for us. Those for nodes come first.
	byNode, byZone bool
}

func choiceOf(candidates []candidate) choice {
	s := choice{byNode: true, byZone: true}
	var ourNode, ourZone bool
	for i := range candidates {
		c := &candidates[i]
		if !c.ready {
			continue
		}
		s.ready, s.readyHere = true, s.readyHere || c.Local
		s.byNode, ourNode = s.byNode && c.node != noHint, ourNode || c.node == forUs
		s.byZone, ourZone = s.byZone && c.zone != noHint, ourZone || c.zone == forUs
	}
	s.byNode = s.byNode && ourNode
	s.byZone = s.byZone && ourZone && !s.byNode
	return s
}

// underCluster is an endpoint's reason under the traffic policy Cluster.
func (s *choice) underCluster(c *candidate) Reason {
	reason := c.reason(s.ready)
	switch {
	case reason == Ready && s.byNode && c.node != forUs:
		return ForOtherNodes
	case reason == Ready && s.byZone && c.zone != forUs:
		return ForOtherZones
	}
	return reason
}

// underLocal is an endpoint's reason under the traffic policy Local, which looks
// only at endpoints on this node, and at no hints.
func (s *choice) underLocal(c *candidate) Reason {
	if !c.Local {
		return OnOtherNode
	}
	return c.reason(s.readyHere)
}

// reason is an endpoint's reason by its conditions; ready says that one among
// those that could be chosen is ready.
func (c *candidate) reason(ready bool) Reason {
	switch {
	case c.ready:
		return Ready
	case c.terminating && c.serving && ready:
		return Terminating
	case c.terminating && c.serving:
		return LastServing
	case c.terminating:
		return Stopped
	}
	return NotReady
}
