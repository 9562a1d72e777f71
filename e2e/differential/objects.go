package differential

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const namespace = "differential"

type object = map[string]any

func named(apiVersion, kind, name string, labels map[string]any) object {
	return object{"apiVersion": apiVersion, "kind": kind, "metadata": object{"namespace": namespace, "name": name, "labels": labels}}
}

// object is the Service's API object.
func (s Service) object() object {
	o := named("v1", "Service", s.name(), object{})
	if s.Proxy != "" {
		o["metadata"].(object)["labels"] = object{"service.kubernetes.io/service-proxy-name": s.Proxy}
	}
	policy := "SingleStack"
	families, ips := []any{}, []any{}
	for _, f := range s.families() {
		families, ips = append(families, "IPv"+f), append(ips, s.address("cluster", f))
	}
	if len(families) > 1 {
		policy = "RequireDualStack"
	}
	kind := s.Type
	if kind == "" {
		kind = "ClusterIP"
	}
	spec := object{"type": kind, "clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": families, "ipFamilyPolicy": policy}
	var ports []any
	for i, p := range s.Ports {
		port := object{"name": fmt.Sprintf("p%d", i), "protocol": p.Protocol, "port": int64(p.Port), "targetPort": int64(p.Target)}
		if n := s.nodePort(i); n > 0 {
			port["nodePort"] = int64(n)
		}
		ports = append(ports, port)
	}
	spec["ports"] = ports
	var external []any
	for _, f := range s.families() {
		if s.External {
			external = append(external, s.address("external", f))
		}
		if s.Taken != "" {
			external = append(external, s.taken(f))
		}
	}
	if external != nil {
		spec["externalIPs"] = external
	}
	if s.ITPLocal {
		spec["internalTrafficPolicy"] = "Local"
	}
	if s.ETPLocal {
		spec["externalTrafficPolicy"] = "Local"
	}
	if len(s.Ranges) > 0 {
		var all []any
		for _, r := range s.Ranges {
			all = append(all, r)
		}
		spec["loadBalancerSourceRanges"] = all
	}
	if s.Affinity > 0 {
		spec["sessionAffinity"] = "ClientIP"
		spec["sessionAffinityConfig"] = object{"clientIP": object{"timeoutSeconds": int64(s.Affinity)}}
	}
	o["spec"] = spec
	return o
}

// status is the Service with what its load balancer would say.
func (s Service) status() object {
	o := named("v1", "Service", s.name(), object{})
	var ingress []any
	if s.Balancer != "" {
		for _, f := range s.families() {
			ingress = append(ingress, object{"ip": s.address("balancer", f), "ipMode": s.Balancer})
		}
	}
	o["status"] = object{"loadBalancer": object{"ingress": ingress}}
	return o
}

// slices are its EndpointSlices, one a family.
func (s Service) slices() []object {
	var all []object
	for _, family := range s.families() {
		o := named("discovery.k8s.io/v1", "EndpointSlice", s.name()+"-v"+family, object{"kubernetes.io/service-name": s.name()})
		o["addressType"] = "IPv" + family
		var ports []any
		for i, p := range s.Ports {
			ports = append(ports, object{"name": fmt.Sprintf("p%d", i), "protocol": p.Protocol, "port": int64(p.Target)})
		}
		o["ports"] = ports
		endpoints := []any{}
		for _, e := range s.Endpoints {
			endpoints = append(endpoints, e.object(family))
		}
		o["endpoints"] = endpoints
		all = append(all, o)
	}
	return all
}

func (e Endpoint) object(family string) object {
	at := places[e.Place][0]
	if family == "6" {
		at = places[e.Place][1]
	}
	conditions := map[string]object{
		"":            {"ready": true, "serving": true, "terminating": false},
		"notready":    {"ready": false, "serving": false, "terminating": false},
		"terminating": {"ready": false, "serving": true, "terminating": true},
		"stopped":     {"ready": false, "serving": false, "terminating": true},
	}[e.State]
	node := NodeName
	if e.Place == "c" || e.Place == "d" {
		node = otherNode
	}
	o := object{"addresses": []any{at.String()}, "nodeName": node, "conditions": conditions}
	hints := object{}
	if e.Zone != "" {
		hints["forZones"] = []any{object{"name": e.Zone}}
	}
	if e.Node != "" {
		hints["forNodes"] = []any{object{"name": e.Node}}
	}
	if len(hints) > 0 {
		o["hints"] = hints
	}
	return o
}

// apply makes the cluster's Services those of a step.
func apply(ctx context.Context, c client.Client, services []Service) error {
	wanted := map[string]bool{}
	put := func(o object, status bool) error {
		u := &unstructured.Unstructured{Object: o}
		wanted[u.GetKind()+"/"+u.GetName()] = true
		config := client.ApplyConfigurationFromUnstructured(u)
		if status {
			return c.Status().Apply(ctx, config, client.ForceOwnership, client.FieldOwner("balancer"))
		}
		return c.Apply(ctx, config, client.ForceOwnership, client.FieldOwner("differential"))
	}
	for _, s := range services {
		if err := put(s.object(), false); err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		if s.Type == "LoadBalancer" {
			if err := put(s.status(), true); err != nil {
				return fmt.Errorf("%s: %w", s.name(), err)
			}
		}
		for _, slice := range s.slices() {
			if err := put(slice, false); err != nil {
				return fmt.Errorf("%s: %w", s.name(), err)
			}
		}
	}
	for _, kind := range []struct{ apiVersion, kind string }{{"v1", "Service"}, {"discovery.k8s.io/v1", "EndpointSlice"}} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(kind.apiVersion)
		list.SetKind(kind.kind + "List")
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if o := &list.Items[i]; !wanted[o.GetKind()+"/"+o.GetName()] && o.GetLabels()["marker"] == "" {
				if err := c.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
					return err
				}
			}
		}
	}
	return nil
}

// mark makes a Service that nobody has seen before, and gives its ClusterIPs. When a
// node serves both, it has everything that was written before: kube-proxy programs each
// family by itself.
func mark(ctx context.Context, c client.Client, number int) (ips []string, err error) {
	name := markerName(number)
	service := named("v1", "Service", name, object{"marker": "true"})
	service["spec"] = object{
		"ipFamilyPolicy": "RequireDualStack", "ipFamilies": []any{"IPv4", "IPv6"},
		"ports": []any{object{"name": "p", "protocol": "TCP", "port": int64(80)}},
	}
	made := &unstructured.Unstructured{Object: service}
	if err := c.Create(ctx, made); err != nil {
		return nil, err
	}
	for i, family := range markerFamilies {
		slice := named("discovery.k8s.io/v1", "EndpointSlice", name+family, object{"marker": "true", "kubernetes.io/service-name": name})
		slice["addressType"] = "IP" + strings.TrimPrefix(family, "-")
		slice["ports"] = []any{object{"name": "p", "protocol": "TCP", "port": int64(8080)}}
		slice["endpoints"] = []any{object{"addresses": []any{places["a"][i].String()}}}
		if err := c.Create(ctx, &unstructured.Unstructured{Object: slice}); err != nil {
			return nil, err
		}
	}
	ips, _, err = unstructured.NestedStringSlice(made.Object, "spec", "clusterIPs")
	return ips, err
}

func markerName(number int) string { return fmt.Sprintf("marker-%d", number) }

// markerFamilies are what the names of a marker's slices end with.
var markerFamilies = []string{"-v4", "-v6"}

// unmark removes a marker.
func unmark(ctx context.Context, c client.Client, number int) error {
	name := markerName(number)
	for _, it := range []struct{ apiVersion, kind, name string }{
		{"v1", "Service", name},
		{"discovery.k8s.io/v1", "EndpointSlice", name + markerFamilies[0]},
		{"discovery.k8s.io/v1", "EndpointSlice", name + markerFamilies[1]},
	} {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion(it.apiVersion)
		o.SetKind(it.kind)
		o.SetNamespace(namespace)
		o.SetName(it.name)
		if err := c.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}
