package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/shadow"
)

// What a configuration file starts with.
const (
	APIVersion = "kubeverdict.io/v1alpha1"
	Kind       = "KubeVerdictConfiguration"
)

// Configuration is a KubeVerdictConfiguration. Fields describes each field.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`

	Scope              proxy.Scope      `json:"scope"`
	ShadowPeriod       metav1.Duration  `json:"shadowPeriod"`
	FeatureGates       map[string]bool  `json:"featureGates"`
	NodeName           string           `json:"nodeName"`
	DetectLocal        DetectLocal      `json:"detectLocal"`
	NodePortAddresses  []string         `json:"nodePortAddresses"`
	MasqueradeAll      bool             `json:"masqueradeAll"`
	MasqueradeBit      int              `json:"masqueradeBit"`
	MaxServiceElements int              `json:"maxServiceElements"`
	MetricsBindAddress string           `json:"metricsBindAddress"`
	HealthzBindAddress string           `json:"healthzBindAddress"`
	ClientConnection   ClientConnection `json:"clientConnection"`
	Logging            Logging          `json:"logging"`
	Conntrack          Conntrack        `json:"conntrack"`
}

// DetectLocal says how traffic from pods is told from other traffic.
type DetectLocal struct {
	PodCIDRs     []string `json:"podCIDRs"`
	PodInterface string   `json:"podInterface"`
}

// ClientConnection is how the API server is talked to.
type ClientConnection struct {
	Kubeconfig         string  `json:"kubeconfig"`
	QPS                float32 `json:"qps"`
	Burst              int     `json:"burst"`
	DisableCompression bool    `json:"disableCompression"`
}

// Logging is what the log looks like.
type Logging struct {
	Verbosity int    `json:"verbosity"`
	Format    string `json:"format"`
}

// Formats of the log.
const (
	FormatJSON = "json"
	FormatText = "text"
)

// Conntrack has the kernel's settings for connection tracking.
type Conntrack struct {
	MaxPerCore            int             `json:"maxPerCore"`
	Min                   int             `json:"min"`
	TCPEstablishedTimeout metav1.Duration `json:"tcpEstablishedTimeout"`
	TCPCloseWaitTimeout   metav1.Duration `json:"tcpCloseWaitTimeout"`
	TCPBeLiberal          bool            `json:"tcpBeLiberal"`
	UDPTimeout            metav1.Duration `json:"udpTimeout"`
	UDPStreamTimeout      metav1.Duration `json:"udpStreamTimeout"`
}

// Default is the configuration that a file changes. The ports are next to those of
// kube-proxy, which may run beside.
func Default() Configuration {
	hours := func(n time.Duration) metav1.Duration { return metav1.Duration{Duration: n * time.Hour} }
	return Configuration{
		TypeMeta:           metav1.TypeMeta{APIVersion: APIVersion, Kind: Kind},
		Scope:              proxy.ScopeAll,
		ShadowPeriod:       metav1.Duration{Duration: shadow.DefaultPeriod},
		FeatureGates:       map[string]bool{},
		DetectLocal:        DetectLocal{PodCIDRs: []string{}},
		NodePortAddresses:  []string{"primary"},
		MasqueradeBit:      layout.DefaultMasqueradeBit,
		MaxServiceElements: proxy.DefaultMaxElements,
		MetricsBindAddress: "127.0.0.1:10349",
		HealthzBindAddress: ":10356",
		ClientConnection:   ClientConnection{QPS: 5, Burst: 10, DisableCompression: true},
		Logging:            Logging{Format: FormatJSON},
		Conntrack: Conntrack{
			MaxPerCore: 32 << 10, Min: 128 << 10,
			TCPEstablishedTimeout: hours(24), TCPCloseWaitTimeout: hours(1),
		},
	}
}

// Field is a field as it is documented.
type Field struct {
	Path string
	// Flag overrides it, if there is one.
	Flag    string
	Meaning string
}

// Fields are all fields, in the file's order.
func Fields() []Field {
	return []Field{
		{"scope", "scope", "Which Services are ours. `shadow`: those of `all`, but packets pass by what is programmed, and another proxy serves. `labelled`: those with the label `service.kubernetes.io/service-proxy-name: kube-verdict`, which kube-proxy leaves alone, and those with `kubeverdict.io/serve: \"true\"`, which kube-proxy has as well. `all`: all but those that this label gives to another proxy."},
		{"shadowPeriod", "shadow-period", "In the scope `shadow`, the time between two comparisons with kube-proxy's rules; longer where one takes more than a fiftieth of it."},
		{"featureGates", "feature-gates", "Features to switch on or off, by name; see [feature gates](gates.md). The flag's gates are added to the file's."},
		{"nodeName", "node-name", "Name of the Node object that stands for this machine, taken in lower case; empty for $NODE_NAME, else the host name."},
		{"detectLocal.podCIDRs", "pod-cidrs", "Addresses of the cluster's pods, IPv4 and IPv6, or `node` for those of this node's Node object. Traffic to a ClusterIP from elsewhere is masqueraded; with none, none is."},
		{"detectLocal.podInterface", "pod-interface", "Tells traffic from pods by the interface that it comes in by: a bridge's name, or, with * at its end, what the names of pods' interfaces start with."},
		{"nodePortAddresses", "nodeport-addresses", "Addresses of this node that accept NodePort traffic, in any mix: CIDRs, `primary` (the Node's first of each family, internal before external), `all` (but loopback and link-local ones), `localhost` (127.0.0.0/8). In a family that the list has no address of, all do, as with kube-proxy. Empty is `primary`."},
		{"masqueradeAll", "masquerade-all", "Masquerade all traffic to ClusterIPs, from pods as well."},
		{"masqueradeBit", "masquerade-bit", "Bit of the packet mark, 0 to 31, for traffic to masquerade; no other software on the node may use it."},
		{"maxServiceElements", "max-service-elements", "Map elements that one Service may take: about its addresses times its ports times the endpoints of each. A larger one is refused with an Event, and keeps what it had. 0 is for no bound."},
		{"metricsBindAddress", "metrics-bind-address", "Address for `/metrics`, `/configz`, `/statusz`, `/flagz`, `/proxyMode` and probes; `0` for none."},
		{"healthzBindAddress", "health-probe-bind-address", "Address for `/livez`, `/readyz`, and `/healthz` as kube-proxy answers it to load balancers; `0` for none."},
		{"clientConnection.kubeconfig", "kubeconfig", "File that says how to reach the API server; empty for the files in $KUBECONFIG, or without it ~/.kube/config; where there is none, the pod's service account."},
		{"clientConnection.qps", "", "Requests a second to the API server, on average."},
		{"clientConnection.burst", "", "Requests to the API server at once."},
		{"clientConnection.disableCompression", "", "Have the API server send what it could compress as it is. A start is quicker so, and takes three times the bytes; a change takes 15 % more: see [measurements](measurements.md#compression). Turn it off where bytes are dearer than the API server's processors."},
		{"logging.verbosity", "verbosity", "Log more: 1 for every batch of changes, 4 for the client's requests."},
		{"logging.format", "", "`json`, or `text` for people."},
		{"conntrack.maxPerCore", "", "Connections that the kernel tracks, for each core; never more than 1048576 in all. 0 leaves the kernel's limit. This and the rest of `conntrack` is set in the scope `all` only, as in the others another proxy sets it."},
		{"conntrack.min", "", "Connections that the kernel tracks at least, whatever the number of cores."},
		{"conntrack.tcpEstablishedTimeout", "", "How long an idle TCP connection is remembered; 0 leaves the kernel's time."},
		{"conntrack.tcpCloseWaitTimeout", "", "How long a TCP connection is that one side has closed; 0 leaves the kernel's time."},
		{"conntrack.tcpBeLiberal", "", "Take packets outside of the TCP window for part of their connection."},
		{"conntrack.udpTimeout", "", "How long a UDP flow is remembered that has had no answer; 0 leaves the kernel's time."},
		{"conntrack.udpStreamTimeout", "", "How long one is that has had; 0 leaves the kernel's time."},
	}
}

// Gates are the features as the configuration has them.
func (c *Configuration) Gates() (features.Gates, error) {
	gates := features.New()
	return gates, gates.SetFromMap(c.FeatureGates)
}

// Table is the fields as docs/configuration.md lists them.
func Table() string {
	var b strings.Builder
	b.WriteString("| field | flag | default | |\n|---|---|---|---|\n")
	c := Default()
	for _, f := range Fields() {
		flag := ""
		if f.Flag != "" {
			flag = "`--" + f.Flag + "`"
		}
		text, _ := json.Marshal(value(&c, f.Path).Interface()) // plain values
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", f.Path, flag, text, f.Meaning)
	}
	return b.String()
}
