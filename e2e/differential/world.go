package differential

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func pair(v4, v6 string) []netip.Addr { return []netip.Addr{addr(v4), addr(v6)} }

// NodeName is the node that both proxies take themselves for; otherNode runs the
// remote pods.
const (
	NodeName  = "node-a"
	otherNode = "node-b"
	podCIDRs  = "10.244.0.0/16,fd00:10:244::/64"
)

// nodeAddrs are the node's addresses; the second pair is not its primary one.
var nodeAddrs = append(pair("10.240.0.11", "fd00:10:240::11"), pair("10.241.0.11", "fd00:10:241::11")...)

// places are the hosts of each side, by name. Pods a and b are local, c and d
// remote. All of them serve, and so does the node itself ("n").
var places = map[string][]netip.Addr{
	"a": pair("10.244.0.1", "fd00:10:244::1"), "b": pair("10.244.0.2", "fd00:10:244::2"),
	"c": pair("10.244.1.1", "fd00:10:244::101"), "d": pair("10.244.1.2", "fd00:10:244::102"),
	"n": nodeAddrs[:2], "pod": pair("10.244.0.9", "fd00:10:244::9"),
	"othernode": pair("10.240.0.12", "fd00:10:240::12"), "outside": pair("198.18.7.2", "fd00:198::7:2"),
}

// vantages are where clients ask: an ordinary pod, one that is an endpoint, the
// node itself, another node, and a host outside of the cluster. A pod on another
// node asks that one.
var vantages = []string{"pod", "a", "node", "othernode", "outside"}

// serverPorts are what every server listens on, over TCP and UDP.
var serverPorts = []uint16{8080, 8081}

// side is a node with its neighbours and the proxy that programs it.
type side struct {
	name  string
	node  *testbed.Node
	way   *testbed.Way
	hosts map[string]*testbed.Namespace
	sctp  map[string]*testbed.SCTPCatcher
	proxy *testbed.Process
}

// newSide makes a node, its neighbours, and its way to the API server if there is
// one.
func newSide(name string, api *testbed.ControlPlane) (*side, error) {
	node, err := testbed.NewNode(nodeAddrs...)
	if err != nil {
		return nil, err
	}
	s := &side{name: name, node: node, hosts: map[string]*testbed.Namespace{"node": node.Namespace, "n": node.Namespace}, sctp: map[string]*testbed.SCTPCatcher{}}
	if api != nil {
		if s.way, err = testbed.NewWay(api, node); err != nil {
			return s, err
		}
	}
	for place, addrs := range places {
		add := node.AddPod
		switch place {
		case "n":
			continue
		case "c", "d", "othernode", "outside":
			add = node.AddClient
		}
		host, err := add(place, addrs...)
		if err != nil {
			return s, err
		}
		s.hosts[place] = host.Namespace
	}
	for _, place := range []string{"a", "b", "c", "d", "n"} {
		if s.sctp[place], err = s.hosts[place].CatchSCTP(); err != nil {
			return s, err
		}
		for _, a := range places[place] {
			for _, port := range serverPorts {
				for _, protocol := range []string{"tcp", "udp"} {
					if _, err := s.hosts[place].Serve(protocol, netip.AddrPortFrom(a, port)); err != nil {
						return s, fmt.Errorf("%s: %w", place, err)
					}
				}
			}
		}
	}
	// A process of the node's listens on what may become a NodePort.
	for _, a := range nodeAddrs {
		if _, err := node.Serve("tcp", netip.AddrPortFrom(a, takenNodePort)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// takenNodePort is the first NodePort of Service 1.
const takenNodePort = 30100

func (s *side) close() {
	if s.proxy != nil {
		_ = s.proxy.Stop()
	}
	for _, catcher := range s.sctp {
		if catcher != nil {
			catcher.Close()
		}
	}
	if s.way != nil {
		s.way.Cut()
	}
	s.node.Close()
}

// options are what both proxies are told alike.
type options struct {
	nodePortAddresses string
	masqueradeAll     bool
	podInterface      string // what the names of pods' interfaces start with
	// gates are those of ours alone.
	gates string
}

// startPeer starts the real kube-proxy in nftables mode.
func (s *side) startPeer(api *testbed.ControlPlane, o options, dir string) error {
	path, err := testbed.Tool("kube-proxy")
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "kube-proxy.yaml")
	mode := "ClusterCIDR"
	if o.podInterface != "" {
		mode = "InterfaceNamePrefix"
	}
	text := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: %s
clientConnection: {kubeconfig: %s}
clusterCIDR: %s
detectLocalMode: %s
detectLocal: {interfaceNamePrefix: "%s"}
nodePortAddresses: [%s]
nftables: {minSyncPeriod: 10ms, masqueradeAll: %t}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, NodeName, api.Kubeconfig(), podCIDRs, mode, o.podInterface, quoted(o.nodePortAddresses), o.masqueradeAll)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	s.proxy, err = s.node.Start(path, "--config="+config)
	return err
}

// startOurs starts kube-verdict.
func (s *side) startOurs(api *testbed.ControlPlane, o options, program string) error {
	args := []string{"run", "--kubeconfig=" + api.Kubeconfig(), "--node-name=" + NodeName,
		"--nodeport-addresses=" + o.nodePortAddresses, fmt.Sprintf("--masquerade-all=%t", o.masqueradeAll)}
	if o.podInterface != "" {
		args = append(args, "--pod-interface="+o.podInterface+"*")
	} else {
		args = append(args, "--pod-cidrs="+podCIDRs)
	}
	if o.gates != "" {
		args = append(args, "--feature-gates="+o.gates)
	}
	var err error
	s.proxy, err = s.node.Start(program, args...)
	return err
}

// quoted is a list for YAML: addresses of IPv6 have colons.
func quoted(list string) string { return `"` + strings.ReplaceAll(list, ",", `", "`) + `"` }
