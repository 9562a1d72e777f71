package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// clusterIP and ports are dns-default's.
var (
	clusterIP = netip.MustParseAddr("172.30.0.10")
	ports     = []servicePort{{"dns", "udp", 53, 5353}, {"dns-tcp", "tcp", 53, 5353}, {"metrics", "tcp", 9153, 9153}}
)

type servicePort struct {
	name, protocol string
	port, target   uint16 // of the Service, of its pods
}

// self is the node whose kernel is programmed.
const self = "worker1.ocp4.labs.semperti.local"

// client is the pod that asks; joining becomes an endpoint in the course of the demo.
var (
	selfIP  = netip.MustParseAddr("10.252.7.236")
	client  = pod{"client", self, netip.MustParseAddr("10.254.4.10")}
	joining = pod{"dns-default-tz7wc", "worker3.ocp4.labs.semperti.local", netip.MustParseAddr("10.254.5.17")}
)

type pod struct {
	name, node string
	ip         netip.Addr
}

// host is the short name of the pod's node.
func (p pod) host() string {
	short, _, _ := strings.Cut(p.node, ".")
	return short
}

// cluster is what one node sees of it: its own pods, and those of the other nodes
// behind its network interface.
type cluster struct {
	node    *testbed.Node
	client  *testbed.Host
	objects *objects
	pods    []pod        // by address, as slots are
	sources atomic.Int32 // how many source ports the client has used
}

func newCluster() (*cluster, error) {
	objects, err := readObjects(manifest)
	if err != nil {
		return nil, err
	}
	pods, err := objects.pods()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(pods, func(a, b pod) int { return a.ip.Compare(b.ip) })
	node, err := testbed.NewNode(selfIP)
	if err != nil {
		return nil, err
	}
	c := &cluster{node: node, objects: objects, pods: pods}
	if err := c.addPods(); err != nil {
		node.Close()
		return nil, err
	}
	// The program looks for its node's name there before it takes the host's.
	return c, os.Setenv("NODE_NAME", self)
}

// addPods starts all pods, with a server on each target port. The one that joins
// later serves from the start: a pod is ready before it is an endpoint.
func (c *cluster) addPods() (err error) {
	if c.client, err = c.node.AddPod(client.name, client.ip); err != nil {
		return err
	}
	for _, p := range append([]pod{joining}, c.pods...) {
		add := c.node.AddClient
		if p.node == self {
			add = c.node.AddPod
		}
		host, err := add(p.name, p.ip)
		if err != nil {
			return err
		}
		for _, s := range ports {
			if _, err := host.Serve(s.protocol, netip.AddrPortFrom(p.ip, s.target)); err != nil {
				return fmt.Errorf("pod %s: %w", p.name, err)
			}
		}
	}
	return nil
}

func (c *cluster) describe(p *page) {
	p.text(`openshift-dns/dns-default has the ClusterIP %s and the ports dns (53/UDP), dns-tcp
(53/TCP) and metrics (9153/TCP). Each pod here is a network namespace with servers that listen on
5353/UDP, 5353/TCP and 9153/TCP and answer with their address. The client is a pod on worker1.
`, clusterIP)
	const row = "%-18s %-13s %s"
	p.text(row, "POD", "POD IP", "NODE")
	for _, pod := range append(slices.Clone(c.pods), client) {
		p.text(row, pod.name, pod.ip, pod.node)
	}
}

func apply(file string) string {
	return fmt.Sprintf("kube-verdict apply -f %s --pod-cidrs 10.254.0.0/16", file)
}

// show runs a command of the shell on the node, and prints both it and its output.
func (c *cluster) show(p *page, command string) (string, error) {
	out, err := c.run(command, "")
	if err == nil {
		p.text("%s# %s\n%s", client.host(), command, strings.ReplaceAll(out, "\t", "  "))
	}
	return out, err
}

func (c *cluster) run(command, stdin string) (string, error) {
	out, err := c.node.RunInput(strings.NewReader(stdin), "sh", "-c", command)
	return strings.TrimSpace(out), err
}
