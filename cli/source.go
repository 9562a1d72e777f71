package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/controllers"
	"github.com/kube-verdict/kube-verdict/manifests"
)

// source is where a command that looks at objects has them from: manifests, or
// the API server.
type source struct {
	files      []string
	kubeconfig string
}

func (s *source) addTo(flags *pflag.FlagSet) {
	flags.StringSliceVarP(&s.files, "filename", "f", nil, "take the objects from a file, a directory (its *.yaml, *.yml and *.json), or - for standard input, not from the API server; may be given several times")
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", kubeconfigUsage)
}

// objects are a cluster's, as far as they could be read.
type objects struct {
	*manifests.Objects
	// notSeen is what could not be, and why.
	notSeen []string
}

// wanted says which objects to read besides Services, the Node and ServiceCIDRs.
type wanted struct {
	node string
	// slicesOf is the Service whose EndpointSlices are wanted; all, without a name.
	slicesOf types.NamespacedName
}

// read reads the objects. What is wrong with manifests is told on errs; what the
// API server doesn't give is noted, but for the Services themselves.
func (s *source) read(ctx context.Context, stdin io.Reader, errs io.Writer, want wanted) (*objects, error) {
	if len(s.files) > 0 {
		read, err := readManifests(ctx, s.files, stdin, errs)
		if err != nil {
			return nil, err
		}
		all := &objects{Objects: read}
		if len(all.Services) == 0 && len(all.Errors) > 0 {
			return nil, fmt.Errorf("no Service could be read (see above)")
		}
		return all, nil
	}
	reader, err := newReader(s.kubeconfig)
	if err != nil {
		return nil, err
	}
	return readAPI(ctx, reader, want)
}

// newReader is a client that reads from the API server itself.
func newReader(kubeconfig string) (client.Reader, error) {
	api, err := apiConfig(config.ClientConnection{Kubeconfig: kubeconfig})
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	mapper, err := controllers.Kinds(nil, nil)
	if err != nil {
		return nil, err
	}
	return client.New(api, client.Options{Scheme: scheme, Mapper: mapper})
}

func readAPI(ctx context.Context, from client.Reader, want wanted) (*objects, error) {
	all := &objects{Objects: &manifests.Objects{Slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{}, Nodes: map[string]*corev1.Node{}}}
	var services corev1.ServiceList
	if err := from.List(ctx, &services); err != nil {
		// Whoever may not list them may get the one that is asked for.
		one := &corev1.Service{}
		if !apierrors.IsForbidden(err) || want.slicesOf.Name == "" {
			return nil, fmt.Errorf("list Services: %w", err)
		}
		if err := from.Get(ctx, want.slicesOf, one); err != nil {
			return nil, fmt.Errorf("get Service %s: %w", want.slicesOf, err)
		}
		services.Items = []corev1.Service{*one}
		all.notSeen = append(all.notSeen, fmt.Sprintf("other Services, which may have the same addresses: %v", err))
	}
	for i := range services.Items {
		all.Services = append(all.Services, &services.Items[i])
	}
	var slices discoveryv1.EndpointSliceList
	var options []client.ListOption
	if want.slicesOf.Name != "" {
		options = []client.ListOption{client.InNamespace(want.slicesOf.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: want.slicesOf.Name}}
	}
	if err := from.List(ctx, &slices, options...); err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	for i := range slices.Items {
		slice := &slices.Items[i]
		if name := slice.Labels[discoveryv1.LabelServiceName]; name != "" {
			key := types.NamespacedName{Namespace: slice.Namespace, Name: name}
			all.Slices[key] = append(all.Slices[key], slice)
		}
	}
	node := &corev1.Node{}
	if err := from.Get(ctx, types.NamespacedName{Name: want.node}, node); err == nil {
		all.Nodes[want.node] = node
	} else {
		all.notSeen = append(all.notSeen, fmt.Sprintf("the Node %s, so that its zone is not known and its addresses are this machine's: %v (--node-name says which Node this is)", want.node, err))
	}
	var cidrs networkingv1.ServiceCIDRList
	if err := from.List(ctx, &cidrs); err != nil {
		all.notSeen = append(all.notSeen, fmt.Sprintf("which addresses ClusterIPs are allocated from: %v", err))
	}
	for i := range cidrs.Items {
		all.ServiceCIDRs = append(all.ServiceCIDRs, &cidrs.Items[i])
	}
	return all, nil
}
