package translate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Manifests writes the Services and EndpointSlices that the rules stand for as
// YAML that "kube-verdict apply" reads. What has no place in them is added to the
// Reading's warnings.
func Manifests(w io.Writer, r *iptables.Reading, node string) error {
	objects, lost := Objects(r.Model(), node)
	for _, text := range lost {
		r.Warnings = append(r.Warnings, iptables.Warning{Text: text})
	}
	for key, p := range r.View {
		if !view.SameShares(p.Endpoints) || !view.SameShares(p.Local) {
			r.Warnings = append(r.Warnings, iptables.Warning{Line: r.Frontends[key].Line,
				Text: fmt.Sprintf("the endpoints of %s at %s have different shares, which EndpointSlices can't say: each will have the same", p.Service, key)})
		}
	}
	slices.SortFunc(r.Warnings, func(a, b iptables.Warning) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Text, b.Text))
	})
	if len(objects) == 0 && !r.Empty {
		return errors.New("there is no Service among the rules: the input is what iptables-save prints on a node with kube-proxy in iptables mode")
	}
	fmt.Fprintf(w, "# kube-verdict apply -f - --node-name %s%s\n", node, flags(r))
	for i, o := range objects {
		if i > 0 {
			fmt.Fprintln(w, "---")
		}
		text, err := marshal(o)
		if err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// flags are those that make the node as the rules have it.
func flags(r *iptables.Reading) string {
	var all strings.Builder
	for i, p := range r.PodCIDRs {
		sep := ","
		if i == 0 {
			sep = " --pod-cidrs "
		}
		all.WriteString(sep + p.String())
	}
	for _, name := range r.PodInterfaces {
		all.WriteString(" --pod-interface '" + strings.Replace(name, "+", "*", 1) + "'")
	}
	switch {
	case r.AllNodePortAddresses:
		all.WriteString(" --nodeport-addresses all")
	case len(r.NodePortAddresses) > 0:
		for i, a := range r.NodePortAddresses {
			sep := ","
			if i == 0 {
				sep = " --nodeport-addresses "
			}
			all.WriteString(sep + netip.PrefixFrom(a, a.BitLen()).String())
		}
	}
	for key, p := range r.View {
		if p.Masquerade == view.All && r.Frontends[key].Kind == proxy.ClusterIP && !key.IsNodePort() {
			all.WriteString(" --masquerade-all")
			break
		}
	}
	return all.String()
}

// marshal writes an object without the fields that only the API server sets.
func marshal(o runtime.Object) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	if metadata, ok := fields["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
	}
	if status, ok := fields["status"].(map[string]any); ok {
		if balancer, ok := status["loadBalancer"].(map[string]any); ok && len(balancer) == 0 {
			delete(fields, "status")
		}
	}
	return yaml.Marshal(fields)
}
