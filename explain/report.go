package explain

// Report is what is known of a Service. Its fields' names in JSON and YAML are
// those below.
type Report struct {
	// Verdict is what matters most, in a line.
	Verdict string `json:"verdict"`
	Service string `json:"service"`
	// Node is the name of the node that this is the view of, Zone its zone.
	Node string `json:"node"`
	Zone string `json:"zone,omitempty"`
	// NotOurs says why its traffic is not ours; empty if it is.
	NotOurs    string            `json:"notOurs,omitempty"`
	Definition Definition        `json:"definition"`
	Selector   map[string]string `json:"selector,omitempty"`
	Pods       []Pod             `json:"pods"`
	Ports      []Port            `json:"ports"`
	// LeftOut are endpoints that can't be any port's.
	LeftOut []Endpoint `json:"leftOut,omitempty"`
	// Problems are what is wrong with its objects, Conflicts the frontends that
	// older Services have.
	Problems  []string `json:"problems,omitempty"`
	Conflicts []string `json:"conflicts,omitempty"`
	Kernel    Kernel   `json:"kernel"`
	// NotSeen is what could not be looked at, and why.
	NotSeen []string `json:"notSeen,omitempty"`
}

// Definition is the Service's spec, as far as it is about traffic.
type Definition struct {
	Type                  string        `json:"type"`
	ClusterIPs            []string      `json:"clusterIPs"`
	ExternalIPs           []string      `json:"externalIPs,omitempty"`
	LoadBalancerIPs       []string      `json:"loadBalancerIPs,omitempty"`
	SourceRanges          []string      `json:"sourceRanges,omitempty"`
	InternalTrafficPolicy string        `json:"internalTrafficPolicy"`
	ExternalTrafficPolicy string        `json:"externalTrafficPolicy,omitempty"`
	TrafficDistribution   string        `json:"trafficDistribution,omitempty"`
	SessionAffinity       string        `json:"sessionAffinity"`
	AffinitySeconds       int           `json:"affinitySeconds,omitempty"`
	HealthCheckNodePort   int           `json:"healthCheckNodePort,omitempty"`
	Ports                 []DefinedPort `json:"ports"`
}

// DefinedPort is a port of the spec.
type DefinedPort struct {
	Name       string `json:"name,omitempty"`
	Protocol   string `json:"protocol"`
	Port       int    `json:"port"`
	TargetPort string `json:"targetPort,omitempty"`
	NodePort   int    `json:"nodePort,omitempty"`
}

// Pod is what an EndpointSlice says of one endpoint, whatever its ports.
type Pod struct {
	// Name is what the endpoint stands for; empty if the slice does not say.
	Name     string   `json:"name,omitempty"`
	Address  string   `json:"address"`
	NodeName string   `json:"nodeName,omitempty"`
	Here     bool     `json:"here"`
	Zone     string   `json:"zone,omitempty"`
	State    string   `json:"state"`
	Slice    string   `json:"slice"`
	ForNodes []string `json:"forNodes,omitempty"`
	ForZones []string `json:"forZones,omitempty"`
}

// Port is a Service port in one family.
type Port struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol"`
	Port     int    `json:"port"`
	Family   string `json:"family"`
	// Hints says which hints narrow the choice down: node, zone, or none.
	Hints     string     `json:"hints"`
	Frontends []Frontend `json:"frontends"`
	// Cascades are kube-proxy's chains that spread connections.
	Cascades  []Cascade  `json:"cascades"`
	Endpoints []Endpoint `json:"endpoints"`
	Elements  []Element  `json:"elements"`
	// Chains are those that the Service port has for itself, in the layout that has
	// such.
	Chains []Chain `json:"chains,omitempty"`
	// Connections are the new ones since its elements were written, where they are
	// counted.
	Connections *uint64 `json:"connections,omitempty"`
}

// Chain is a chain of our tables.
type Chain struct {
	Table string   `json:"table"`
	Name  string   `json:"name"`
	Rules []string `json:"rules"`
	// Kernel says whether the kernel has it, as an Element's does.
	Kernel string `json:"kernel"`
}

// Frontend is an address at which clients reach a Service port.
type Frontend struct {
	Kind    string `json:"kind"`
	Address string `json:"address"`
	// Chains are those of kube-proxy that a connection goes through.
	Chains []string `json:"chains"`
	// Match is how KUBE-SERVICES or KUBE-NODEPORTS tell it.
	Match string `json:"match"`
	// Meets is what a connection to it meets, in words.
	Meets string `json:"meets"`
}

// Cascade is a chain of rules that are tried one after another.
type Cascade struct {
	Chain string `json:"chain"`
	For   string `json:"for"`
	Rules []Rule `json:"rules"`
}

// Rule is one rule of a cascade, with the endpoint that it leads to.
type Rule struct {
	Endpoint string `json:"endpoint"`
	Chain    string `json:"chain"`
	// Probability is as iptables-save prints it; the last rule has none.
	Probability string `json:"probability,omitempty"`
	// Reached is the part of all connections that get as far as this rule, Share
	// the part that it takes.
	Reached string  `json:"reached"`
	Share   string  `json:"share"`
	Value   float64 `json:"shareValue"`
}

// Endpoint is an endpoint of a port, and why it gets traffic or none.
type Endpoint struct {
	Pod
	// Endpoint is address and port.
	Endpoint string `json:"endpoint"`
	Chain    string `json:"chain,omitempty"`
	// Cluster and Local are what the traffic policies say of it; a policy that no
	// frontend has is left out.
	Cluster *Standing `json:"cluster,omitempty"`
	Local   *Standing `json:"local,omitempty"`
	// Clients are those that session affinity keeps at it.
	Clients int `json:"clients,omitempty"`
	// Connections are the new ones since its element was written, where they are
	// counted. Those of clients that affinity keeps count for the port alone.
	Connections *uint64 `json:"connections,omitempty"`
}

// Standing is an endpoint's under one traffic policy.
type Standing struct {
	In     bool   `json:"in"`
	Reason string `json:"reason"`
	Why    string `json:"why"`
}

// Element is an element of our tables.
type Element struct {
	Table string `json:"table"`
	Set   string `json:"set"`
	// Text is the element as nft lists it.
	Text string `json:"text"`
	// Kernel says whether the kernel has it: yes, missing, differs, surplus, or
	// unknown.
	Kernel string `json:"kernel"`
	// Held is what the kernel has instead, or besides.
	Held string `json:"held,omitempty"`
}

// Kernel is what the kernel says.
type Kernel struct {
	// State is agrees, differs, absent (it has nothing of this Service), nothing
	// (there is no table of ours), or unknown.
	State string `json:"state"`
	// Tables are those of ours that it has.
	Tables   []string `json:"tables,omitempty"`
	Elements int      `json:"elements"`
	// Differences are how connections are handled differently from what the Service asks
	// for; Deviations are objects in the tables that are not as we write them.
	Differences []string `json:"differences,omitempty"`
	Deviations  []string `json:"deviations,omitempty"`
	// Bypassed says that no packet comes to them: another proxy serves, and ours
	// are in its shadow.
	Bypassed bool `json:"bypassed,omitempty"`
}

// What the kernel says of an element or of all.
const (
	Yes     = "yes"
	Missing = "missing"
	Differs = "differs"
	Surplus = "surplus"
	Unknown = "unknown"
	Agrees  = "agrees"
	Absent  = "absent"
	Nothing = "nothing"
)
