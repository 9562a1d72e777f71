package charts_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/agent/features"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// values are the chart's values, by the types of what they become.
type values struct {
	Global                map[string]any                `json:"global"`
	Image                 image                         `json:"image"`
	ImagePullSecrets      []corev1.LocalObjectReference `json:"imagePullSecrets"`
	Scope                 proxy.Scope                   `json:"scope"`
	FeatureGates          map[string]bool               `json:"featureGates"`
	Configuration         config.Configuration          `json:"configuration"`
	HealthPort            int                           `json:"healthPort"`
	PodCIDRs              []string                      `json:"podCIDRs"`
	NodePortAddresses     []string                      `json:"nodePortAddresses"`
	NodeSysctls           bool                          `json:"nodeSysctls"`
	KubernetesServiceHost string                        `json:"kubernetesServiceHost"`
	KubernetesServicePort int                           `json:"kubernetesServicePort"`
	Metrics               struct {
		Address    string `json:"address"`
		Port       int    `json:"port"`
		PodMonitor struct {
			monitoring `json:",inline"`
			Job        string `json:"job"`
			Interval   string `json:"interval"`
		} `json:"podMonitor"`
	} `json:"metrics"`
	OpenShift struct {
		Enabled bool `json:"enabled"`
	} `json:"openshift"`
	ExtraEnv          []corev1.EnvVar             `json:"extraEnv"`
	PriorityClassName string                      `json:"priorityClassName"`
	NodeSelector      map[string]string           `json:"nodeSelector"`
	Tolerations       []corev1.Toleration         `json:"tolerations"`
	Affinity          corev1.Affinity             `json:"affinity"`
	UpdateStrategy    updateStrategy              `json:"updateStrategy"`
	PodLabels         map[string]string           `json:"podLabels"`
	PodAnnotations    map[string]string           `json:"podAnnotations"`
	Dashboard         monitoring                  `json:"dashboard"`
	Alerts            monitoring                  `json:"alerts"`
	Verbosity         int                         `json:"verbosity"`
	ExtraArgs         []string                    `json:"extraArgs"`
	Resources         corev1.ResourceRequirements `json:"resources"`
}

type image struct {
	Registry   string            `json:"registry"`
	Repository string            `json:"repository"`
	Tag        string            `json:"tag"`
	Digest     string            `json:"digest"`
	PullPolicy corev1.PullPolicy `json:"pullPolicy"`
}

type monitoring struct {
	Enabled bool              `json:"enabled"`
	Labels  map[string]string `json:"labels"`
}

// updateStrategy is a DaemonSet's, whose part for rolling updates null takes away.
type updateStrategy struct {
	Type          string `json:"type"`
	RollingUpdate *struct {
		MaxUnavailable *intstr.IntOrString `json:"maxUnavailable"`
		MaxSurge       *intstr.IntOrString `json:"maxSurge"`
	} `json:"rollingUpdate"`
}

// schema is one in the words of JSON Schema.
type schema = map[string]any

func oneOf[T any](all ...T) schema { return schema{"enum": all} }

func text(pattern string) schema { return schema{"type": "string", "pattern": pattern} }

func number(from, to int) schema { return schema{"type": "integer", "minimum": from, "maximum": to} }

func atLeast(n int) schema { return schema{"type": "integer", "minimum": n} }

// listOf is a list of items, or of one keyword alone.
func listOf(item schema, alone ...string) schema {
	return schema{"oneOf": []schema{
		{"type": "array", "minItems": 1, "maxItems": 1, "items": oneOf(alone...)},
		{"type": "array", "items": item},
	}}
}

// special are the types that are not written as Go has them.
var special = map[reflect.Type]schema{
	reflect.TypeFor[metav1.Duration]():    text(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`),
	reflect.TypeFor[resource.Quantity]():  {"type": []string{"string", "number"}, "pattern": `^[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$`},
	reflect.TypeFor[intstr.IntOrString](): {"type": []string{"string", "integer"}},
	reflect.TypeFor[proxy.Scope]():        oneOf(proxy.Scopes()...),
	reflect.TypeFor[corev1.PullPolicy]():  oneOf(corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever),
}

// narrower is what the types don't say, by path; [] is each item of a list.
func narrower() map[string]schema {
	cidr, port := text(`^[0-9a-fA-F.:]+/[0-9]{1,3}$`), number(1, 65535)
	gates := schema{"AllAlpha": schema{"type": "boolean"}, "AllBeta": schema{"type": "boolean"}}
	for _, g := range features.All() {
		gates[string(g.Name)] = schema{"type": "boolean"}
	}
	name := schema{"type": "string", "minLength": 1}
	nodePorts := schema{"type": "array", "uniqueItems": true, "items": schema{"anyOf": []schema{cidr, oneOf("primary", "all", "localhost")}}}
	return map[string]schema{
		"global": {"type": "object", "properties": schema{ // and what other charts take
			"imageRegistry":    schema{"type": "string"},
			"imagePullSecrets": schema{"type": "array", "items": schema{"anyOf": []schema{name, {"type": "object", "required": []string{"name"}}}}},
		}},
		"image.repository":            name,
		"image.digest":                text(`^$|^[a-z0-9]+:[0-9a-f]{32,}$`),
		"imagePullSecrets[].name":     name,
		"featureGates":                {"type": "object", "properties": gates, "additionalProperties": false},
		"healthPort":                  port,
		"kubernetesServicePort":       port,
		"podCIDRs":                    listOf(cidr, config.PodCIDRsOfNode),
		"nodePortAddresses":           nodePorts,
		"metrics.address":             text(`^[0-9a-fA-F.:]*$`),
		"metrics.port":                port,
		"metrics.podMonitor.interval": text(`^([0-9]+(ms|s|m|h))*$`),
		"extraArgs[]":                 text("^-"),
		"extraEnv[].name":             name,
		"verbosity":                   atLeast(0),
		"updateStrategy.type":         oneOf("RollingUpdate", "OnDelete"),
		"updateStrategy.rollingUpdate.maxUnavailable": {"type": []string{"integer", "string"}, "minimum": 1, "pattern": "^[1-9][0-9]*%$"},
		"updateStrategy.rollingUpdate.maxSurge":       oneOf[any](0, "0%"), // two agents cannot share a node

		"configuration.detectLocal.podCIDRs":     listOf(cidr, config.PodCIDRsOfNode),
		"configuration.nodePortAddresses":        nodePorts,
		"configuration.masqueradeBit":            number(0, 31),
		"configuration.maxServiceElements":       atLeast(0),
		"configuration.clientConnection.qps":     {"type": "number", "minimum": 0},
		"configuration.clientConnection.burst":   atLeast(0),
		"configuration.logging.verbosity":        atLeast(0),
		"configuration.logging.format":           oneOf(config.FormatJSON, config.FormatText),
		"configuration.conntrack.maxPerCore":     atLeast(0),
		"configuration.conntrack.min":            atLeast(0),
		"configuration.detectLocal.podInterface": {"type": "string", "maxLength": 16},
		// The template has these.
		"configuration.apiVersion": nil,
		"configuration.kind":       nil,
	}
}

// required are the fields without which an object means nothing.
var required = map[string][]string{"image": {"repository"}, "imagePullSecrets[]": {"name"}, "extraEnv[]": {"name"}}

// generator makes schemas of types.
type generator struct {
	narrower map[string]schema
	used     map[string]bool
}

func (g *generator) of(typ reflect.Type, path string) schema {
	if s, ok := g.narrower[path]; ok {
		g.used[path] = true
		return s
	}
	if s, ok := special[typ]; ok {
		return s
	}
	switch typ.Kind() {
	case reflect.Pointer:
		s := g.of(typ.Elem(), path)
		if s["type"] == "object" { // null takes a default away
			s["type"] = []string{"object", "null"}
		}
		return s
	case reflect.Struct:
		properties := schema{}
		g.fields(typ, path, properties)
		s := schema{"type": "object", "properties": properties, "additionalProperties": false}
		if names := required[path]; names != nil {
			s["required"] = names
		}
		return s
	case reflect.Map:
		if typ.Elem().Kind() == reflect.Interface {
			return schema{"type": "object"}
		}
		return schema{"type": "object", "additionalProperties": g.of(typ.Elem(), path+"{}")}
	case reflect.Slice:
		return schema{"type": "array", "items": g.of(typ.Elem(), path+"[]")}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	default:
		return schema{"type": "integer"}
	}
}

func (g *generator) fields(typ reflect.Type, path string, to schema) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			g.fields(f.Type, path, to)
		default:
			if s := g.of(f.Type, strings.TrimPrefix(path+"."+name, ".")); s != nil {
				to[name] = s
			}
		}
	}
}

// generated is the schema of the values.
func generated(t *testing.T) []byte {
	t.Helper()
	g := &generator{narrower(), map[string]bool{}}
	s := g.of(reflect.TypeFor[values](), "")
	for path := range g.narrower {
		if !g.used[path] {
			t.Errorf("there is no value %s", path)
		}
	}
	s["$schema"] = "https://json-schema.org/draft-07/schema#"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The schema that is committed is that of the types: of the agent's configuration, and
// of what Kubernetes has in pods.
func TestSchemaIsThatOfTheTypes(t *testing.T) {
	const name = "kube-verdict/values.schema.json"
	want := generated(t)
	if os.Getenv("UPDATE") == "true" {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if file(t, name) != string(want) {
		t.Errorf("%s is not that of the types; UPDATE=true go test ./charts -run TestSchemaIsThatOfTheTypes writes it", name)
	}
	// And the values are of these types, each of them.
	var v values
	text := file(t, "kube-verdict/values.yaml")
	if err := yaml.UnmarshalStrict([]byte(text), &v); err != nil {
		t.Errorf("values.yaml: %v", err)
	}
}
