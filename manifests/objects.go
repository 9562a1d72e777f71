package manifests

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Objects is what manifests hold.
type Objects struct {
	// Services are in the order in which they were read.
	Services []*corev1.Service
	// Slices are the EndpointSlices of each Service.
	Slices map[types.NamespacedName][]*discoveryv1.EndpointSlice
	Nodes  map[string]*corev1.Node
	// ServiceCIDRs are in the order in which they were read.
	ServiceCIDRs []*networkingv1.ServiceCIDR
	// PassedOver counts the objects of other kinds.
	PassedOver map[string]int
	// Errors are what could not be read; Warnings what was, but looks wrong.
	Errors, Warnings []error

	endpoints []*endpoints      // in the order in which they were read
	places    map[string]string // by kind, namespace and name: where it was read
}

// Read reads files, directories, and standard input for the path "-". Of a
// directory it reads the *.yaml, *.yml and *.json files, not those in
// directories below, and no other than regular files. When the context ends, what has
// not been read is among the errors.
func Read(ctx context.Context, paths []string, stdin io.Reader) *Objects {
	o := &Objects{
		Slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{},
		Nodes:  map[string]*corev1.Node{}, PassedOver: map[string]int{}, places: map[string]string{},
	}
	for _, path := range paths {
		for _, f := range files(path) {
			o.file(ctx, f, stdin)
		}
	}
	o.mirror()
	return o
}

func (o *Objects) file(ctx context.Context, f file, stdin io.Reader) {
	if f.err != nil {
		o.Errors = append(o.Errors, f.err)
		return
	}
	text, err := f.read(ctx, stdin)
	if err != nil {
		o.Errors = append(o.Errors, err)
		return
	}
	for _, d := range decodeAll(split(f.name, text)) {
		if d.err != nil {
			o.Errors = append(o.Errors, d.err)
		}
		o.Warnings = append(o.Warnings, d.warnings...)
		for _, object := range d.objects {
			o.add(object)
		}
	}
}

// add takes an object in, with what the API server would have filled in.
func (o *Objects) add(object found) {
	switch v := object.object.(type) {
	case *corev1.Service:
		defaultNamespace(&v.Namespace)
		if !o.first("Service", v.Namespace, v.Name, object.place) {
			return
		}
		for i, port := range v.Spec.Ports {
			if wrong := validation.IsDNS1123Label(port.Name); port.Name != "" && len(wrong) > 0 {
				o.Errors = append(o.Errors, ofService(v, fmt.Errorf("%s: service %s/%s: spec.ports[%d].name: %q is no name: %s; the object is left out",
					object.place, v.Namespace, v.Name, i, port.Name, wrong[0])))
				return
			}
		}
		o.Services = append(o.Services, v)
	case *discoveryv1.EndpointSlice:
		defaultNamespace(&v.Namespace)
		if !o.first("EndpointSlice", v.Namespace, v.Name, object.place) {
			return
		}
		service := v.Labels[discoveryv1.LabelServiceName]
		if service == "" {
			o.Errors = append(o.Errors, fmt.Errorf("%s: endpointslice %s/%s belongs to no Service: give it the label %s: <name of the Service>",
				object.place, v.Namespace, v.Name, discoveryv1.LabelServiceName))
			return
		}
		key := types.NamespacedName{Namespace: v.Namespace, Name: service}
		o.Slices[key] = append(o.Slices[key], v)
	case *endpoints:
		defaultNamespace(&v.Namespace)
		if o.first("Endpoints", v.Namespace, v.Name, object.place) {
			o.endpoints = append(o.endpoints, v)
		}
	case *corev1.Node:
		if o.first("Node", "", v.Name, object.place) {
			o.Nodes[v.Name] = v
		}
	case *networkingv1.ServiceCIDR:
		if o.first("ServiceCIDR", "", v.Name, object.place) {
			o.ServiceCIDRs = append(o.ServiceCIDRs, v)
		}
	default:
		o.PassedOver[object.kind]++
	}
}

func defaultNamespace(namespace *string) {
	if *namespace == "" {
		*namespace = "default"
	}
}

// first says whether an object is the first of its name. The API server lets only
// names pass that fit into a comment of nftables, with nothing in them to escape.
func (o *Objects) first(kind, namespace, name, place string) bool {
	full := strings.TrimPrefix(namespace+"/"+name, "/")
	if name == "" {
		o.Errors = append(o.Errors, fmt.Errorf("%s: a %s without a name: give it metadata.name", place, kind))
		return false
	}
	wrong := validation.IsDNS1123Subdomain(name)
	if kind == "Service" {
		wrong = validation.IsDNS1123Label(name)
	}
	if namespace != "" {
		wrong = append(wrong, validation.IsDNS1123Label(namespace)...)
	}
	if len(wrong) > 0 {
		o.Errors = append(o.Errors, fmt.Errorf("%s: %s %q is no name: %s; the object is left out", place, strings.ToLower(kind), full, wrong[0]))
		return false
	}
	key := kind + " " + full
	if before, twice := o.places[key]; twice {
		o.Errors = append(o.Errors, &objectError{error: fmt.Errorf("%s: %s %s is in %s already, which stays; remove one of them", place, strings.ToLower(kind), full, before)})
		return false
	}
	o.places[key] = place
	return true
}

// PassedOverText says what was passed over, as in "3 Deployment, 1 Pod"; empty
// if nothing was.
func (o *Objects) PassedOverText() string {
	var parts []string
	for kind, n := range o.PassedOver {
		parts = append(parts, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
