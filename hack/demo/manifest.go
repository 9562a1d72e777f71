package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/manifests"
)

const manifest = "examples/dns-default.yaml"

// objects are a Service and its only EndpointSlice.
type objects struct {
	service *corev1.Service
	slice   *discoveryv1.EndpointSlice
}

func readObjects(path string) (*objects, error) {
	read := manifests.Read(context.Background(), []string{path}, nil)
	if err := errors.Join(read.Errors...); err != nil {
		return nil, err
	}
	name := types.NamespacedName{Namespace: "openshift-dns", Name: "dns-default"}
	found := read.Slices[name]
	if len(read.Services) != 1 || len(found) != 1 {
		return nil, fmt.Errorf("%s has to be the Service %s with one EndpointSlice", path, name)
	}
	return &objects{read.Services[0], found[0]}, nil
}

// pods are the endpoints.
func (o *objects) pods() ([]pod, error) {
	var pods []pod
	for _, e := range o.slice.Endpoints {
		ip, err := netip.ParseAddr(e.Addresses[0])
		if err != nil || e.TargetRef == nil || e.NodeName == nil {
			return nil, fmt.Errorf("endpoint %q of %s needs an address, a targetRef and a nodeName", e.Addresses[0], o.slice.Name)
		}
		pods = append(pods, pod{name: e.TargetRef.Name, ip: ip, node: *e.NodeName})
	}
	return pods, nil
}

// with is the manifest with these pods for endpoints.
func (o *objects) with(pods []pod) (string, error) {
	slice := o.slice.DeepCopy()
	slice.Endpoints = nil
	for _, p := range pods {
		e := o.slice.Endpoints[0].DeepCopy()
		e.Addresses, e.NodeName, e.TargetRef.Name = []string{p.ip.String()}, &p.node, p.name
		slice.Endpoints = append(slice.Endpoints, *e)
	}
	var text strings.Builder
	for _, object := range []any{o.service, slice} {
		document, err := yaml.Marshal(object)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "---\n%s", document)
	}
	return text.String(), nil
}
