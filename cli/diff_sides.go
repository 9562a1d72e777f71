package cli

import (
	"fmt"
	"io"
	gomaps "maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/kubeproxy"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Names of sources.
const (
	sideDesired  = "desired"
	sideKernel   = "kernel"
	sideProxy    = "kube-proxy"
	sideNftables = "kube-proxy-nftables"
	sideIptables = "kube-proxy-iptables"
)

// modesOf are the modes that a source named for kube-proxy may be in.
var modesOf = map[string][]kubeproxy.Mode{
	sideProxy:    nil,
	sideNftables: {kubeproxy.Nftables},
	sideIptables: {kubeproxy.IptablesNft, kubeproxy.IptablesLegacy},
}

// side is one of the two that are compared.
type side struct {
	name  string
	view  view.View
	notes []string
	// unhooked is what base chains should lead to and don't.
	unhooked []string
}

// read reads both sides. Our tables are read last, what is desired first: which
// frontends are NodePorts shows by the other side, and by the Node's addresses.
func (d *differ) read(names ...string) (sides [2]side, err error) {
	if names[0] == names[1] {
		return sides, fmt.Errorf("%s is both sides: name two sources that may differ", names[0])
	}
	known := func(name string) bool {
		_, proxy := modesOf[name]
		return proxy || name == sideDesired || name == sideKernel
	}
	theirs := slices.ContainsFunc(names, func(name string) bool { return name != sideDesired && name != sideKernel })
	order := []int{0, 1}
	if names[0] == sideKernel || names[1] == sideDesired {
		order = []int{1, 0}
	}
	for _, i := range order {
		name := names[i]
		switch modes := modesOf[name]; {
		case name == sideDesired:
			sides[i], err = d.desired(theirs)
		case name == sideKernel:
			sides[i], err = d.kernel(sides[1-i].view)
		case known(name):
			sides[i], err = d.kubeProxy(modes)
		default:
			sides[i], err = d.dump(name)
		}
		if err != nil {
			return sides, err
		}
		sides[i].name = name
	}
	for i, name := range names {
		if !known(name) {
			sides[i].name = filepath.Base(name)
			sides[1-i].view = familiesOf(sides[i].view, sides[1-i].view)
		}
	}
	return sides, nil
}

// desired is what Services mean on this node; with theirs, without those that are
// not kube-proxy's.
func (d *differ) desired(theirs bool) (side, error) {
	node, err := d.options.node()
	if err != nil {
		return side{}, err
	}
	errs := d.cmd.ErrOrStderr()
	all, err := d.source.read(d.cmd.Context(), d.cmd.InOrStdin(), errs, wanted{node: node})
	if err != nil {
		return side{}, err
	}
	s := side{}
	for _, missing := range all.notSeen {
		s.notes = append(s.notes, "not seen: "+missing)
	}
	local, err := d.options.local(all.Nodes[node])
	if err != nil {
		return side{}, err
	}
	d.known = slices.Concat(local.NodePorts, local.Addresses)
	config, scope, err := d.config(theirs)
	if err != nil {
		return side{}, err
	}
	if scope == proxy.ScopeLabelled {
		s.notes = append(s.notes, "desired are the Services of the scope labelled alone")
	}
	in := &input{}
	for _, svc := range all.Services {
		if _, others := svc.Labels[proxy.LabelProxyName]; !proxy.Handles(svc, scope) || theirs && others {
			continue
		}
		model, problems := proxy.Build(svc, all.Slices[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}], local.Node)
		in.tell(errs, problems)
		in.services = append(in.services, model)
		d.onNode = append(d.onNode, model.OnNode()...)
	}
	s.view = config.Of(in.granted(errs))
	return s, nil
}

// config gives how pods are recognised and which Services are desired, from flags or from
// our tables. What kube-proxy serves does not depend on our scope.
func (d *differ) config(theirs bool) (view.Config, proxy.Scope, error) {
	config, err := d.options.layout()
	if err != nil {
		return view.Config{}, "", err
	}
	held, err := readKernel(config, d.cmd.Flags().Changed)
	switch {
	case err == nil && held.any():
		if !theirs && !d.cmd.Flags().Changed("scope") {
			return held.config.View(), held.scope(), nil
		}
		return held.config.View(), d.scope, nil
	case slices.ContainsFunc([]string{"pod-cidrs", "pod-interface", "masquerade-all"}, d.cmd.Flags().Changed):
		return config.View(), d.scope, nil
	}
	// Who may not read the kernel compares manifests and dumps all the same.
	return view.Config{}, d.scope, nil
}

// kernel is what our tables do.
func (d *differ) kernel(other view.View) (side, error) {
	addrs, err := d.nodeAddrs()
	if err != nil {
		return side{}, err
	}
	held, err := d.held()
	if err != nil {
		return side{}, err
	}
	if !held.any() {
		return side{}, fmt.Errorf("this network namespace has no table %s of ours: is the agent running here, or has kube-verdict apply been?", layout.TableName)
	}
	s := side{}
	bypassed := false
	s.view, bypassed, err = held.view(walk.Options{
		NodeAddrs: addrs, OnNode: d.onNode,
		// A Service may have one of the node's addresses as its own.
		NodePort: func(key view.Key) bool { _, own := other[key]; return !own },
	})
	if bypassed {
		s.notes = []string{passedBy}
	}
	return s, err
}

// held is what the kernel has of ours.
func (d *differ) held() (*held, error) {
	config, err := d.options.layout()
	if err != nil {
		return nil, err
	}
	return readKernel(config, d.cmd.Flags().Changed)
}

// nodeAddrs are all addresses that are this node's: the machine's, and those that
// its Node object has, if that was read.
func (d *differ) nodeAddrs() ([]netip.Addr, error) {
	local, err := d.options.local(nil)
	return slices.Concat(local.NodePorts, local.Addresses, d.known), err
}

// kubeProxy is what kube-proxy has.
func (d *differ) kubeProxy(modes []kubeproxy.Mode) (side, error) {
	reader, err := kubeproxy.Open()
	if err != nil {
		return side{}, err
	}
	defer func() { _ = reader.Close() }()
	addrs, err := d.nodeAddrs()
	if err != nil {
		return side{}, err
	}
	found, err := reader.Find(addrs, modes...)
	if err != nil {
		return side{}, err
	}
	return side{view: found.View, notes: found.Notes, unhooked: found.Unhooked}, nil
}

// dump is what a file of iptables-save means.
func (d *differ) dump(name string) (side, error) {
	var from io.Reader = d.cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if os.IsNotExist(err) && !strings.ContainsAny(name, "./") {
			return side{}, fmt.Errorf("%q is neither a file nor one of %s, %s", name, strings.Join(slices.Sorted(gomaps.Keys(modesOf)), ", "), sideDesired+" and "+sideKernel)
		}
		if err != nil {
			return side{}, err
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	dump, err := iptables.Parse(from)
	if err != nil {
		return side{}, fmt.Errorf("%s: %w", name, err)
	}
	reading := iptables.InterpretHooked(iptables.Complete(dump))
	if len(reading.View)+len(reading.Unhooked) == 0 {
		return side{}, fmt.Errorf("%s has no Service: a dump of iptables-save with kube-proxy's chains is wanted", name)
	}
	s := side{view: reading.View}
	for _, u := range reading.Unhooked {
		s.unhooked = append(s.unhooked, u.String())
	}
	for _, w := range reading.Warnings {
		s.notes = append(s.notes, fmt.Sprintf("%s: %s", name, w))
	}
	return s, nil
}

// familiesOf leaves only the families in a View that are in another.
func familiesOf(like, of view.View) view.View {
	has := map[bool]bool{}
	for key := range like {
		has[key.Addr.Is4()] = true
	}
	kept := gomaps.Clone(of)
	gomaps.DeleteFunc(kept, func(key view.Key, _ view.Port) bool { return !has[key.Addr.Is4()] })
	return kept
}
