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
	var out decoded
	text := d.text
	if !d.json {
		var strict, err error
		if text, strict = yaml.YAMLToJSONStrict(d.text); strict != nil {
			if text, err = yaml.YAMLToJSON(d.text); err != nil {
				return decoded{err: fmt.Errorf("%s: document %d is not YAML: %s; the document is left out", d.place(), d.number, inFile(err, d.line))}
			}
			out.warnings = append(out.warnings, fmt.Errorf("%s: document %d: %s; the last one counts", d.place(), d.number, inFile(strict, d.line)))
		}
	}
	if string(text) == "null" {
		return decoded{} // only comments
	}
	out.object(d.place(), text)
	return out
}

// lineOf finds the line in a YAML error, which counts from the document's first.
var lineOf = regexp.MustCompile(`line (\d+)`)

// inFile makes the lines in a YAML error those of the file.
func inFile(err error, first int) string {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "yaml: "), "unmarshal errors:\n  ")
	return lineOf.ReplaceAllStringFunc(strings.ReplaceAll(text, "\n  ", ", "), func(m string) string {
		n, err := strconv.Atoi(strings.TrimPrefix(m, "line "))
		if err != nil {
			return m
		}
		return fmt.Sprintf("line %d", n+first-1)
	})
}

// versions are those in which our kinds are read.
var versions = map[string]string{
	"Service": "v1", "Node": "v1", "Endpoints": "v1", "EndpointSlice": "discovery.k8s.io/v1", "ServiceCIDR": "networking.k8s.io/v1",
}

func groupOf(apiVersion string) string {
	return apiVersion[:max(strings.IndexByte(apiVersion, '/'), 0)]
}

// object decodes one object, or those of a list.
func (out *decoded) object(place string, text []byte) {
	var typ metav1.TypeMeta
	if err := json.Unmarshal(text, &typ); err != nil || typ.Kind == "" || typ.APIVersion == "" {
		out.fail(fmt.Errorf("%s: not a Kubernetes object: it has no apiVersion and kind", place))
		return
	}
	var object any
	switch typ.APIVersion + "/" + typ.Kind {
	case "v1/Service":
		object = &corev1.Service{}
	case "v1/Endpoints":
		object = &endpoints{}
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
		kind := typ.Kind
		switch wanted, ours := versions[kind]; {
		case ours && groupOf(wanted) == groupOf(typ.APIVersion):
			// Passed over, it would be missed: slices by their Service.
			out.fail(of(kind, text, fmt.Errorf("%s: %s%s: apiVersion %s is not read: write %s", place, strings.ToLower(kind), nameOf(text), typ.APIVersion, wanted)))
			return
		case ours:
			kind += " of " + typ.APIVersion // not the one that is wanted
		}
		out.objects = append(out.objects, found{kind: kind, place: place})
		return
	}
	strict, err := kjson.UnmarshalStrict(text, object)
	if err != nil {
		out.fail(of(typ.Kind, text, fmt.Errorf("%s: %s%s: %w; the object is left out", place, strings.ToLower(typ.Kind), nameOf(text), err)))
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
			item = withType(item, metav1.TypeMeta{APIVersion: list.APIVersion, Kind: kind})
		}
		out.object(at, item)
	}
}

// withType gives a JSON object an API version, unless it has one, and a kind.
func withType(object []byte, typ metav1.TypeMeta) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil || fields == nil {
		return object // null
	}
	text := fmt.Appendf([]byte("{"), `"kind":%q`, typ.Kind)
	if _, has := fields["apiVersion"]; !has {
		text = fmt.Appendf(text, `,"apiVersion":%q`, typ.APIVersion)
	}
	if len(fields) > 0 {
		text = append(text, ',')
	}
	return append(text, object[1:]...)
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
