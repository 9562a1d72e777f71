package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// input is what manifests say about Services.
type input struct {
	services []proxy.Service
	networks layout.Networks
	// complete reports whether every document was read: a Service that is missing is
	// gone.
	complete bool
	// wrong says that something was left out.
	wrong bool
}

// read makes the model of manifests, and prints what is wrong with them and which
// objects in them are of no concern.
func (o *options) read(ctx context.Context, files []string, stdin io.Reader, errs io.Writer) (*input, error) {
	objects, err := readManifests(ctx, files, stdin, errs)
	if err != nil {
		return nil, err
	}
	if text := objects.PassedOverText(); text != "" {
		fmt.Fprintf(errs, "passed over: %s\n", text)
	}
	return o.input(objects, errs)
}

// readManifests reads objects, and prints what is wrong with them.
func readManifests(ctx context.Context, files []string, stdin io.Reader, errs io.Writer) (*manifests.Objects, error) {
	objects := manifests.Read(ctx, files, stdin)
	if ctx.Err() != nil {
		return nil, errors.New("ended by a signal before all files were read")
	}
	for _, err := range objects.Errors {
		fmt.Fprintf(errs, "error: %v\n", err)
	}
	for _, err := range objects.Warnings {
		fmt.Fprintf(errs, "warning: %v\n", err)
	}
	return objects, nil
}

// input makes the model of objects and prints what is wrong with them.
func (o *options) input(objects *manifests.Objects, errs io.Writer) (*input, error) {
	unread, all := objects.Unread()
	in := &input{complete: !all, wrong: len(objects.Errors) > 0}
	name, err := o.node()
	if err != nil {
		return nil, err
	}
	local, err := o.local(objects.Nodes[name])
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(objects.Services, hasNodePort) {
		for _, w := range local.Warnings {
			fmt.Fprintf(errs, "warning: %s\n", w)
		}
	}
	config, err := o.layout()
	if err != nil {
		return nil, err
	}
	cidrs, problems := proxy.ServiceCIDRs(objects.ServiceCIDRs, local.Taken(config.PodCIDRs, local.Pods)...)
	in.networks = layout.Networks{Pods: config.PodCIDRs, Services: cidrs}
	if o.podCIDRsOfNode() {
		in.networks.Pods = local.Pods
	}
	in.tell(errs, problems)
	for _, svc := range objects.Services {
		if !proxy.Handles(svc, proxy.ScopeAll) {
			continue
		}
		key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
		if unread[key] || all && len(objects.Slices[key]) == 0 {
			fmt.Fprintf(errs, "warning: service %s is left as it is: its EndpointSlices may be among what could not be read\n", key)
			delete(unread, key)
			in.services = append(in.services, proxy.NothingRead(proxy.Name{Namespace: svc.Namespace, Name: svc.Name}))
			continue
		}
		model, problems := proxy.Build(svc, objects.Slices[key], local.Node)
		in.tell(errs, problems)
		in.services = append(in.services, model)
	}
	for key := range unread {
		in.services = append(in.services, proxy.NothingRead(proxy.Name{Namespace: key.Namespace, Name: key.Name}))
	}
	return in, nil
}

func hasNodePort(svc *corev1.Service) bool {
	return slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort != 0 })
}

// tell prints what is wrong with an object.
func (in *input) tell(errs io.Writer, problems []proxy.Problem) {
	for _, p := range problems {
		kind := "error"
		if p.Warning {
			kind = "warning"
		} else {
			in.wrong = true
		}
		fmt.Fprintf(errs, "%s: %s\n", kind, p.String())
	}
}

// granted are the Services without the frontends that older ones have.
func (in *input) granted(errs io.Writer) []proxy.Service {
	cluster := proxy.NewCluster()
	for _, svc := range in.services {
		cluster.Set(svc)
	}
	var granted []proxy.Service
	for svc := range cluster.All() {
		tellConflicts(errs, svc.Name, cluster.Conflicts(svc.Name))
		granted = append(granted, svc)
	}
	return granted
}

// tellConflicts prints the frontends that a Service does not get.
func tellConflicts(errs io.Writer, name proxy.Name, conflicts []proxy.Conflict) {
	for _, c := range conflicts {
		fmt.Fprintf(errs, "warning: service %s: %s\n", name, c.String())
	}
}
