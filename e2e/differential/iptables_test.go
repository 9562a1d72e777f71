package differential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/translate"
	"github.com/kube-verdict/kube-verdict/view"
)

// iptablesSide is a node with kube-proxy in iptables mode.
type iptablesSide struct {
	api     *testbed.ControlPlane
	node    *testbed.Node
	proxy   *testbed.Process
	program string
}

// newIptablesSide starts the API server and kube-proxy in iptables mode.
func newIptablesSide(t *testing.T) *iptablesSide {
	t.Helper()
	testbed.Need(t)
	path, err := testbed.Tool("kube-proxy")
	if err != nil {
		t.Fatal(err)
	}
	outer := testbed.NewTestNode(t, addr("10.240.0.1"))
	host, err := outer.AddClient("control-plane", addr("198.18.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	s := &iptablesSide{api: testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{Host: host}), node: testbed.NewTestNode(t, nodeAddrs...)}
	way, err := testbed.NewWay(s.api, s.node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(way.Cut)
	if err := s.api.Namespace(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	if _, err := s.api.Node(t.Context(), NodeName, map[string]string{corev1.LabelTopologyZone: "zone-a"}, nodeAddrs[:2]...); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "kube-proxy.yaml")
	text := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: %s
clientConnection: {kubeconfig: %s}
clusterCIDR: %s
iptables: {minSyncPeriod: 10ms}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, NodeName, s.api.Kubeconfig(), podCIDRs)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.proxy, err = s.node.Start(path, "--config="+config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.proxy.Stop() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.program = filepath.Join(dir, programName)
	if err := os.Symlink(self, s.program); err != nil {
		t.Fatal(err)
	}
	return s
}

// family is one family's program and settings.
type family struct {
	name, program string
	config        iptables.Config
}

func families() []family {
	common := iptables.Config{Mark: iptables.DefaultMark, AllNodePortAddresses: true}
	four, six := common, common
	cidrs := strings.Split(podCIDRs, ",")
	four.PodCIDR, six.PodCIDR, six.IPv6 = netip.MustParsePrefix(cidrs[0]), netip.MustParsePrefix(cidrs[1]), true
	return []family{{"ipv4", "iptables-save", four}, {"ipv6", "ip6tables-save", six}}
}

// iptablesNode is the node as kube-proxy sees it: NodePorts are at any address.
var iptablesNode = proxy.Node{
	Name: NodeName, Zone: "zone-a", Addresses: nodeAddrs,
	NodePorts: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()},
}

// build is the model of objects.
func build(services []*corev1.Service, slicesOf map[types.NamespacedName][]*discoveryv1.EndpointSlice) ([]proxy.Service, error) {
	cluster := proxy.NewCluster()
	for _, svc := range services {
		if !proxy.Handles(svc, proxy.ScopeAll) {
			continue
		}
		built, problems := proxy.Build(svc, slicesOf[client.ObjectKeyFromObject(svc)], iptablesNode)
		for _, p := range problems {
			return nil, p
		}
		cluster.Set(built)
	}
	return slices.Collect(cluster.All()), nil
}

// model is that of what the API server has.
func (s *iptablesSide) model(ctx context.Context) ([]proxy.Service, error) {
	var list corev1.ServiceList
	var all discoveryv1.EndpointSliceList
	if err := errors.Join(s.api.Client.List(ctx, &list), s.api.Client.List(ctx, &all)); err != nil {
		return nil, err
	}
	var services []*corev1.Service
	of := map[types.NamespacedName][]*discoveryv1.EndpointSlice{}
	for i := range list.Items {
		services = append(services, &list.Items[i])
	}
	for i := range all.Items {
		key := types.NamespacedName{Namespace: all.Items[i].Namespace, Name: all.Items[i].Labels[discoveryv1.LabelServiceName]}
		of[key] = append(of[key], &all.Items[i])
	}
	return build(services, of)
}

// dump is what kube-proxy has in the kernel.
func (s *iptablesSide) dump(f family) (*iptables.Dump, error) {
	text, err := s.node.Run(f.program)
	if err != nil {
		return nil, err
	}
	d, err := iptables.Parse(strings.NewReader(text))
	if err == nil && d.String() != text {
		err = errors.New("the dump does not print as it was")
	}
	return d, err
}

// check waits until kube-proxy has what is rendered of the model, and then looks at
// what the rules mean and what they are translated to.
func (s *iptablesSide) check(ctx context.Context) error {
	services, err := s.model(ctx)
	if err != nil {
		return err
	}
	read := view.View{}
	for _, f := range families() {
		var theirs *iptables.Dump
		err := testbed.Wait(20*time.Second, "kube-proxy to have the rules that are rendered", func() error {
			var err error
			if theirs, err = s.dump(f); err != nil {
				return err
			}
			f.config.Accounting = strings.Contains(theirs.String(), "-m nfacct")
			return sameLines(theirs, iptables.Render(services, f.config))
		})
		if err != nil {
			return err
		}
		reading := iptables.Interpret(theirs)
		want := view.View{}
		for key, port := range view.Of(services) {
			if port.Fate != view.Balanced {
				port.Sources = nil // kube-proxy guards no address without endpoints
			}
			if key.Addr.Is6() == f.config.IPv6 {
				want[key] = port
			}
		}
		if err := sameViews("what the rules mean", want, reading.View); err != nil {
			return err
		}
		maps.Copy(read, reading.View)
		// That there is no Service is said in one.
		if n := len(reading.Warnings); n > 1 || n == 1 && !reading.Empty {
			return fmt.Errorf("warnings: %v", reading.Warnings)
		}
		if err := thereAndBack(reading, want); err != nil {
			return err
		}
	}
	found, err := rulesOn(s.node.Namespace)
	if err != nil {
		return err
	}
	return sameViews("what is read from the kernel", read, found)
}

// rulesOn is what kube-proxy's rules on a node do, read from the kernel.
func rulesOn(node *testbed.Namespace) (v view.View, err error) {
	err = node.Do(func() error {
		reader, err := kubeproxy.Open()
		if err != nil {
			return err
		}
		defer func() { _ = reader.Close() }()
		found, err := reader.Find(nodeAddrs)
		if err == nil {
			v = found.View
		}
		return err
	})
	return v, err
}

// thereAndBack makes manifests of rules, and compares what they stand for. Where
// connections are dropped as the endpoints are on other nodes, rules do not have
// these.
func thereAndBack(reading *iptables.Reading, want view.View) error {
	if len(want) == 0 {
		return nil
	}
	var text bytes.Buffer
	if err := translate.Manifests(&text, reading, NodeName); err != nil {
		return err
	}
	objects := manifests.Read(context.Background(), []string{"-"}, &text)
	if err := errors.Join(objects.Errors...); err != nil {
		return err
	}
	services, err := build(objects.Services, objects.Slices)
	if err != nil {
		return fmt.Errorf("%w in\n%s", err, text.String())
	}
	have := view.Of(services)
	for key, port := range want {
		if port.Fate == view.Dropped {
			delete(want, key)
			delete(have, key)
		}
	}
	return sameViews("what manifests made of the rules mean", want, have)
}

func sameLines(want, got *iptables.Dump) error {
	w, g := want.Lines(), got.Lines()
	for i := range max(len(w), len(g)) {
		switch {
		case i >= len(w):
			return fmt.Errorf("kube-proxy does not have %s", g[i])
		case i >= len(g):
			return fmt.Errorf("only kube-proxy has %s", w[i])
		case w[i] != g[i]:
			return fmt.Errorf("kube-proxy has\n%s\nrendered is\n%s", w[i], g[i])
		}
	}
	return nil
}

func sameViews(what string, want, have view.View) error {
	var all strings.Builder
	for _, d := range view.Compare(want, have) {
		all.WriteString(d.Text("the model", "the other"))
	}
	if all.Len() > 0 {
		return fmt.Errorf("%s: %s", what, all.String())
	}
	return nil
}

// What the real kube-proxy has in iptables mode for clusters that nobody thought of
// is what we render, line by line; and it means what the model says, read from the
// rules themselves and from the manifests that they are translated to.
func TestIptables(t *testing.T) {
	s := newIptablesSide(t)
	runs := setting(t, runsVariable, 3)
	seed := setting(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%d clusters with %d changes each, from seed %d on", runs, changesEach, seed)
	for i := range runs {
		scenario := Random(seed+i, changesEach)
		if err := apply(t.Context(), s.api.Client, nil); err != nil { // families can't be changed
			t.Fatal(err)
		}
		for n, step := range scenario.Steps {
			if err := apply(t.Context(), s.api.Client, step); err != nil {
				t.Fatal(err)
			}
			if err := s.check(t.Context()); err != nil {
				t.Errorf("%s, step %d (again with %s=%d %s=1): %v\nin %+v", scenario.Name, n+1, seedVariable, seed+i, runsVariable, err, step)
			}
		}
	}
	// The program itself, from the API server.
	for _, f := range families() {
		text, err := s.node.Run(s.program, "iptables-save", "--kubeconfig="+s.api.Kubeconfig(), "--node-name="+NodeName, "--pod-cidrs="+podCIDRs, "--family="+f.name)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := iptables.Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := s.dump(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(theirs.String(), "-m nfacct") {
			without(ours)
		}
		if err := sameLines(theirs, ours); err != nil {
			t.Errorf("the program: %v", err)
		}
	}
}

// without takes nfacct's counters off, which this kernel may not have.
func without(d *iptables.Dump) {
	for i := range d.Tables {
		for _, c := range d.Tables[i].Chains {
			c.Rules = slices.DeleteFunc(c.Rules, func(r iptables.Rule) bool {
				return r.Destination.Prefix.Addr().IsLoopback() && c.Name == "KUBE-NODEPORTS"
			})
			for j := range c.Rules {
				c.Rules[j].Matches = slices.DeleteFunc(c.Rules[j].Matches, func(m iptables.Match) bool {
					o, ok := m.(iptables.Other)
					return ok && o.Has("nfacct")
				})
			}
		}
	}
}
