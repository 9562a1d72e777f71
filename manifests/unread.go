package manifests

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// objectError is about one object that could not be read, and whose name could.
type objectError struct {
	error
	// service is the Service that it was part of; empty if it was of none.
	service types.NamespacedName
}

func (e *objectError) Unwrap() error { return e.error }

// Unread are the Services of which something could not be read. All is true if that may
// be any other Service as well: an error names none.
func (o *Objects) Unread() (services map[types.NamespacedName]bool, all bool) {
	services = map[types.NamespacedName]bool{}
	var look func(err error)
	look = func(err error) {
		switch e := err.(type) {
		case *objectError:
			if e.service.Name != "" {
				services[e.service] = true
			}
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				look(err)
			}
		default:
			all = true
		}
	}
	for _, err := range o.Errors {
		look(err)
	}
	return services, all
}

// of is an error about an object of a kind, by what can be read of it.
func of(kind string, text []byte, err error) error {
	var named struct {
		Metadata struct {
			Namespace string            `json:"namespace"`
			Name      string            `json:"name"`
			Labels    map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	unnamed := json.Unmarshal(text, &named) != nil || named.Metadata.Name == ""
	service := types.NamespacedName{Namespace: named.Metadata.Namespace, Name: named.Metadata.Name}
	switch kind {
	case "Service", "Endpoints":
	case "EndpointSlice":
		service.Name = named.Metadata.Labels[discoveryv1.LabelServiceName]
		unnamed = unnamed || service.Name == ""
	default:
		return &objectError{error: err}
	}
	if unnamed {
		return err
	}
	defaultNamespace(&service.Namespace)
	return &objectError{err, service}
}

// ofService is an error about a Service that was read and is left out.
func ofService(svc *corev1.Service, err error) error {
	return &objectError{err, types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}}
}
