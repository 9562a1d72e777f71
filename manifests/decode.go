package manifests

import (
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decoded is what a document holds.
type decoded struct {
	objects  []found
	warnings []error
	err      error
}

// found is an object and where it was.
type found struct {
	object any
	kind   string
	place  string
}

// decodeAll decodes documents, on all processors: reading YAML is slow.
func decodeAll(docs []document) []decoded {
	out := make([]decoded, len(docs))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range docs {
		group.Go(func() error {
			out[i] = decode(docs[i])
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	return out
}

func decode(d document) decoded {
	if d.err != nil {
		return decoded{err: d.err}
	}
	text := d.text
	if !d.json {
		var err error
		if text, err = yaml.YAMLToJSON(d.text); err != nil {
			return decoded{err: fmt.Errorf("%s: document %d is not YAML: %s; the document is left out", d.place(), d.number, inFile(err, d.line))}
		}
	}
	if string(text) == "null" {
		return decoded{} // only comments
	}
	var out decoded
	out.object(d.place(), text)
	return out
}

// lineOf finds the line in a YAML error, which counts from the document's first.
var lineOf = regexp.MustCompile(`line (\d+)`)

// inFile makes the lines in a YAML error those of the file.
func inFile(err error, first int) string {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	return lineOf.ReplaceAllStringFunc(strings.TrimPrefix(text, "yaml: "), func(m string) string {
		n, err := strconv.Atoi(strings.TrimPrefix(m, "line "))
		if err != nil {
			return m
		}
		return fmt.Sprintf("line %d", n+first-1)
	})
}

// object decodes one object, or those of a list.
func (out *decoded) object(place string, text []byte) {
	var typ metav1.TypeMeta
	if err := json.Unmarshal(text, &typ); err != nil || typ.Kind == "" {
		out.fail(fmt.Errorf("%s: not a Kubernetes object: it has no apiVersion and kind", place))
		return
	}
	var object any
	switch typ.APIVersion + "/" + typ.Kind {
	case "v1/Service":
		object = &corev1.Service{}
	case "v1/Node":
		object = &corev1.Node{}
	case "discovery.k8s.io/v1/EndpointSlice":
		object = &discoveryv1.EndpointSlice{}
	case "networking.k8s.io/v1/ServiceCIDR":
		object = &networkingv1.ServiceCIDR{}
	default:
		if strings.HasSuffix(typ.Kind, "List") {
			out.list(place, text, typ)
			return
		}
		out.objects = append(out.objects, found{kind: typ.Kind, place: place})
		return
	}
	strict, err := kjson.UnmarshalStrict(text, object)
	if err != nil {
		out.fail(fmt.Errorf("%s: %s%s: %w; the object is left out", place, strings.ToLower(typ.Kind), nameOf(text), err))
		return
	}
	for _, err := range strict {
		out.warnings = append(out.warnings, fmt.Errorf("%s: %s%s: %w", place, strings.ToLower(typ.Kind), nameOf(text), err))
	}
	out.objects = append(out.objects, found{object: object, kind: typ.Kind, place: place})
}

// list decodes the items of a list. Those of a list of one kind may leave
// their own kind out.
func (out *decoded) list(place string, text []byte, list metav1.TypeMeta) {
	var items struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &items); err != nil {
		out.fail(fmt.Errorf("%s: a %s whose items are not a list: %w", place, list.Kind, err))
		return
	}
	for i, item := range items.Items {
		at := fmt.Sprintf("%s (item %d)", place, i)
		var typ metav1.TypeMeta
		kind := strings.TrimSuffix(list.Kind, "List")
		if err := json.Unmarshal(item, &typ); err == nil && typ.Kind == "" && kind != "" {
			item = append(fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,`, list.APIVersion, kind), item[1:]...)
		}
		out.object(at, item)
	}
}

func (out *decoded) fail(err error) {
	if out.err != nil {
		err = fmt.Errorf("%w\n%w", out.err, err)
	}
	out.err = err
}

// nameOf is an object's name for messages, with a space before it.
func nameOf(text []byte) string {
	var named struct {
		Metadata struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
	}
	if json.Unmarshal(text, &named) != nil || named.Metadata.Name == "" {
		return ""
	}
	return " " + strings.TrimPrefix(named.Metadata.Namespace+"/"+named.Metadata.Name, "/")
}
