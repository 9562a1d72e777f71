package manifests_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/manifests"
)

// service is a Service as a document.
func service(name string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\n"
}

// contents is what was read, as lines: objects in order, then what was passed
// over, errors and warnings.
func contents(o *manifests.Objects) string {
	var b strings.Builder
	for _, s := range o.Services {
		fmt.Fprintf(&b, "service %s/%s %s\n", s.Namespace, s.Name, s.Spec.ClusterIP)
	}
	var owners []string
	for owner, list := range o.Slices {
		for _, s := range list {
			owners = append(owners, fmt.Sprintf("slice %s/%s of %s\n", s.Namespace, s.Name, owner))
		}
	}
	slices.Sort(owners)
	b.WriteString(strings.Join(owners, ""))
	for _, name := range slices.Sorted(maps.Keys(o.Nodes)) {
		fmt.Fprintf(&b, "node %s\n", name)
	}
	for _, c := range o.ServiceCIDRs {
		fmt.Fprintf(&b, "cidrs %s %v\n", c.Name, c.Spec.CIDRs)
	}
	if text := o.PassedOverText(); text != "" {
		fmt.Fprintf(&b, "passed over: %s\n", text)
	}
	for _, err := range o.Errors {
		fmt.Fprintf(&b, "error: %s\n", err)
	}
	for _, err := range o.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", err)
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func read(text string) string {
	return strings.ReplaceAll(contents(manifests.Read(context.Background(), []string{"-"}, strings.NewReader(text))), "standard input", "in")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is read as\n%s\nwant\n%s", what, got, want)
	}
}

// write makes files, by their names in a new directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	return dir
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDocuments(t *testing.T) {
	const a, b, c = "service default/a\n", "service default/b\n", "service default/c\n"
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"only comments", "# a\n---\n# b\n", ""},
		{"two documents", service("a") + "---\n" + service("b"), a + b},
		{"without a last line end", strings.TrimSuffix(service("a"), "\n"), a},
		{"empty documents and comments", "---\n---\n\n# a\n---   \n" + service("a") + "---\n \n---\n" + service("b") + "---\n", a + b},
		// go-yaml reads one document and leaves the rest: what isn't cut is lost.
		{"a comment behind the dashes", service("a") + "--- # b follows\n" + service("b"), a + b},
		{"a document behind the dashes", service("a") + "--- {apiVersion: v1, kind: Service, metadata: {name: b}}\n", a + b},
		{"dots where a document ends", service("a") + "...\n" + service("b") + "... # end\n", a + b},
		{"dashes that are no boundary", "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    x: |\n      ---\n    ---y: z\n", a},
		{"CRLF", strings.ReplaceAll(service("a")+"---\n"+service("b"), "\n", "\r\n"), a + b},
		{"a byte order mark", "\ufeff" + service("a"), a},
		{"a byte order mark before dashes", "\ufeff---\n" + service("a"), a},
		{"a byte order mark before JSON", "\ufeff" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`, a},
		{"JSON values", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n" + `  {"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}} `, a + b},
		{"JSON between dashes", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n---\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}`, a + b},
		{"JSON and YAML between dashes", service("a") + "---\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}} {"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}` + "\n---\n" + service("d"), a + b + c + "service default/d\n"},
		{"YAML that begins like JSON", "{apiVersion: v1, kind: Service, metadata: {name: a}}\n---\n" + service("b"), a + b},
		{"namespaces", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\n---\n" + service("a"), "service x/a\n" + a},
		{
			"all kinds", service("a") + `---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, endpoints: []}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-2, namespace: x, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, endpoints: []}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: c}, spec: {cidrs: [10.96.0.0/16]}}
`, a + "slice default/a-1 of default/a\nslice x/a-2 of x/a\nnode n1\ncidrs c [10.96.0.0/16]\n",
		},
		{"other kinds", "{apiVersion: apps/v1, kind: Deployment}\n---\n{apiVersion: v1, kind: Pod}\n---\n{apiVersion: apps/v1, kind: Deployment, spec: 5}\n", "passed over: 1 Pod, 2 Deployment\n"},
		// By its kind alone it would look as if Services could not be read at all.
		{"a kind of our names in another group", "---\n{apiVersion: serving.knative.dev/v1, kind: Service}\n", "passed over: 1 Service of serving.knative.dev/v1\n"},
		{
			"a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: v1, kind: Pod}\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service, metadata: {name: b}}]}\n",
			a + b + "passed over: 1 Pod\n",
		},
		{"a list of one kind", "{apiVersion: v1, kind: ServiceList, items: [{metadata: {name: a}}, {apiVersion: v1, kind: Service, metadata: {name: b}}, {apiVersion: v1, metadata: {name: c}}]}", a + b + "service default/c\n"},
		{"a list of slices", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSliceList, items: [{metadata: {name: s, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, endpoints: []}]}", "slice default/s of default/a\n"},
		{"a list of another kind", "{apiVersion: apps/v1, kind: DeploymentList, items: [{metadata: {name: x}}]}", "passed over: 1 Deployment\n"},
		{"an empty list", "{apiVersion: v1, kind: List, items: []}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) { want(t, tc.text, read(tc.text), tc.want) })
	}
}

const label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"

// Whatever is wrong is named with its place, and what is right is read.
func TestMistakes(t *testing.T) {
	const a, b, c = "service default/a\n", "service default/b\n", "service default/c\n"
	for _, tc := range []struct{ name, text, want string }{
		{
			"not YAML", "# first\n\n---\n" + service("a") + "---\n# third\nkind: Service\n  x: y\n---\n" + service("b"),
			a + b + "error: in:8: document 3 is not YAML: line 10: mapping values are not allowed in this context; the document is left out\n",
		},
		{"not YAML, with CRLF", "---\r\n---\r\na: b\r\n\tc: d\r\n", "error: in:3: document 1 is not YAML: line 4: found a tab character that violates indentation; the document is left out\n"},
		{"not YAML behind the dashes", "--- {a\n", "error: in:1: document 1 is not YAML: line 1: did not find expected ',' or '}'; the document is left out\n"},
		// go-yaml counts the lines of some mistakes from 0.
		{"not YAML behind a byte order mark and dashes", "\ufeff---\n- a\nb: c\n", "error: in:2: document 1 is not YAML: line 2: did not find expected '-' indicator; the document is left out\n"},
		{"an alias of nothing", "a: *b", "error: in:1: document 1 is not YAML: unknown anchor 'b' referenced; the document is left out\n"},
		{
			"aliases that grow", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
			"error: in:1: document 1 is not YAML: document contains excessive aliasing; the document is left out\n",
		},
		{"text", "hello", "error: in:1: not a Kubernetes object: it has no apiVersion and kind\n"},
		{"a sequence", "- a\n- b\n", "error: in:1: not a Kubernetes object: it has no apiVersion and kind\n"},
		{"no kind", "---\n# what?\napiVersion: v1\n", "error: in:2: not a Kubernetes object: it has no apiVersion and kind\n"},
		// Without this it would count as another kind, and be gone without a word.
		{"no API version", "kind: Service\nmetadata: {name: a}\n", "error: in:1: not a Kubernetes object: it has no apiVersion and kind\n"},
		{"a field of another type", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\nspec: {ports: 80}\n---\n" + service("b"), b + "error: in:1: service x/a: json: cannot unmarshal number into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort; the object is left out\n"},
		{"an unknown field", service("a") + "spec: {clusterIp: 10.96.0.1}\n", a + "warning: in:1: service a: unknown field \"spec.clusterIp\"\n"},
		{"a key twice", "---\n" + service("a") + "spec:\n  clusterIP: 10.96.0.1\n  clusterIP: 10.96.0.2\n", "service default/a 10.96.0.2\nwarning: in:2: document 1: line 7: key \"clusterIP\" already set in map; the last one counts\n"},
		{"two keys twice", service("a") + "x: 1\nx: 2\nz: 1\nz: 2\n", a + "warning: in:1: document 1: line 5: key \"x\" already set in map, line 7: key \"z\" already set in map; the last one counts\nwarning: in:1: service a: unknown field \"x\"\nwarning: in:1: service a: unknown field \"z\"\n"},
		{"a key twice in JSON", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"clusterIP":"10.96.0.1","clusterIP":"10.96.0.2"}}`, "service default/a 10.96.0.2\nwarning: in:1: service a: duplicate field \"spec.clusterIP\"\n"},
		// Without its slices a Service would lose its endpoints.
		{"other versions", "{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {name: a, namespace: x}}\n---\n{apiVersion: v2, kind: Service, metadata: {name: a}}\n", "error: in:1: endpointslice x/a: apiVersion discovery.k8s.io/v1beta1 is not read: write discovery.k8s.io/v1\nerror: in:3: service a: apiVersion v2 is not read: write v1\n"},
		// Two documents of it would be taken for one.
		{"UTF-16", "\xff\xfek\x00i\x00n\x00d\x00", "error: in:1: not UTF-8; nothing in it was read\n"},
		// Some names could end the comment, and the script, that they are to be in.
		{"a name that is none", "apiVersion: v1\nkind: Service\nmetadata: {name: 'a\" }'}\n", `error: in:1: service "default/a\" }" is no name: ` + label + "; the object is left out\n"},
		{"a namespace that is none", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x/y}\n", `error: in:1: service "x/y/a" is no name: ` + label + "; the object is left out\n"},
		{"a name that is too long, and the longest", service(strings.Repeat("n", 64)) + "---\n" + service(strings.Repeat("n", 63)),
			"service default/" + strings.Repeat("n", 63) + "\nerror: in:1: service \"default/" + strings.Repeat("n", 64) + "\" is no name: must be no more than 63 characters; the object is left out\n"},
		{"a port's name that is none", service("a") + "spec: {ports: [{name: http}, {name: 'ht tp'}]}\n", `error: in:1: service default/a: spec.ports[1].name: "ht tp" is no name: ` + label + "; the object is left out\n"},
		{"a node's name, which may have dots", "apiVersion: v1\nkind: Node\nmetadata: {name: a.example.org}\n", "node a.example.org\n"},
		{"no name", "{apiVersion: v1, kind: Service}", "error: in:1: a Service without a name: give it metadata.name\n"},
		{"an object twice", service("a") + "---\n" + service("b") + "---\n" + strings.Replace(service("a"), "{", "{namespace: default, ", 1), a + b + "error: in:9: service default/a is in in:1 already, which stays; remove one of them\n"},
		{"a node twice, a Service of its name", "{apiVersion: v1, kind: Node, metadata: {name: a}}\n---\n" + service("a") + "---\n{apiVersion: v1, kind: Node, metadata: {name: a}}\n", a + "node a\nerror: in:7: node a is in in:1 already, which stays; remove one of them\n"},
		{"a slice of no Service", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s}, addressType: IPv4, endpoints: []}", "error: in:1: endpointslice default/s belongs to no Service: give it the label kubernetes.io/service-name: <name of the Service>\n"},
		{"items that are no list", "{apiVersion: v1, kind: List, items: {a: b}}", "error: in:1: a List whose items are not a list: json: cannot unmarshal object into Go struct field .items of type []json.RawMessage\n"},
		{
			"items that are no objects", "apiVersion: v1\nkind: ServiceList\nitems: [null, 5, '', {}, {metadata: {name: a}}, {spec: 5}]\n",
			a + "error: in:1 (item 0): not a Kubernetes object: it has no apiVersion and kind\nin:1 (item 1): not a Kubernetes object: it has no apiVersion and kind\nin:1 (item 2): not a Kubernetes object: it has no apiVersion and kind\n" +
				"in:1 (item 5): service: json: cannot unmarshal number into Go struct field Service.spec of type v1.ServiceSpec; the object is left out\nerror: in:1 (item 3): a Service without a name: give it metadata.name\n",
		},
		{"an item of a plain list without kind", "{apiVersion: v1, kind: List, items: [{metadata: {name: a}}]}", "error: in:1 (item 0): not a Kubernetes object: it has no apiVersion and kind\n"},
		{
			"JSON that ends", "\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":` + "\n",
			a + "error: in:3: not JSON: unexpected EOF; nothing from here to the end of the document was read\n",
		},
		{
			"JSON with a mistake", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n{\n\n\"kind\": x}\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}`,
			a + "error: in:4: not JSON: invalid character 'x' looking for beginning of value; nothing from here to the end of the document was read\n",
		},
		{
			"JSON with a mistake between dashes", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n---\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}} {` + "\n---\n" + `{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}`,
			a + b + c + "error: in:3: not JSON: unexpected EOF; nothing from here to the end of the document was read\n",
		},
		{"JSON that is no object", `[{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}]`, "error: in:1: not a Kubernetes object: it has no apiVersion and kind\n"},
	} {
		t.Run(tc.name, func(t *testing.T) { want(t, tc.text, read(tc.text), tc.want) })
	}
}

// The order is that of the paths, and of names in a directory: it tells which of
// two documents of one object stays.
func TestPaths(t *testing.T) {
	dir := write(t, map[string]string{
		"b.yaml": service("b"), "a.yml": service("a"), "c.json": `{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}`,
		"B.yaml": service("upper"), "d.txt": "x: [", "e.yaml.bak": "x: [", "f": "x: [", "yaml": "x: [", "g.YAML": "x: [",
		"below/h.yaml": "x: [", "dir.yaml/i.yaml": "x: [", "j.yaml": "",
	})
	want(t, "a directory", contents(manifests.Read(t.Context(), []string{dir}, nil)), "service default/upper\nservice default/a\nservice default/b\nservice default/c\n")

	jq := `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}` + "\n---\n{\n\t" + `"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}` + "\n"
	want(t, "a *.json with dashes", contents(manifests.Read(t.Context(), []string{filepath.Join(write(t, map[string]string{"a.json": jq}), "a.json")}, nil)), "service default/a\nservice default/b\n")

	other := write(t, map[string]string{"x.txt": service("x"), "y.conf": service("a")})
	got := contents(manifests.Read(t.Context(), []string{filepath.Join(other, "x.txt"), "-", dir, filepath.Join(other, "y.conf")}, strings.NewReader(service("in"))))
	want(t, "several paths", got, "service default/x\nservice default/in\nservice default/upper\nservice default/a\nservice default/b\nservice default/c\n"+
		fmt.Sprintf("error: %s:1: service default/a is in %s:1 already, which stays; remove one of them\n", filepath.Join(other, "y.conf"), filepath.Join(dir, "a.yml")))

	empty := write(t, map[string]string{".hidden.yaml": "x: [", "README.md": "x: ["})
	want(t, "a directory without manifests", contents(manifests.Read(t.Context(), []string{empty}, nil)), "error: "+empty+": there is no *.yaml, *.yml or *.json in this directory\n")
	want(t, "no path", contents(manifests.Read(t.Context(), nil, nil)), "")
}

func TestPathsThatCannotBeRead(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": service("a")})
	if err := os.Symlink("gone", filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.yaml", filepath.Join(dir, "c.txt")); err != nil {
		t.Fatal(err)
	}
	// A file that is there by name but not to be read is not passed over.
	want(t, "a directory with a broken symlink", contents(manifests.Read(t.Context(), []string{dir}, nil)), "service default/a\nerror: open "+dir+"/b.yaml: no such file or directory\n")
	want(t, "a symlink", contents(manifests.Read(t.Context(), []string{dir + "/c.txt"}, nil)), "service default/a\n")
	want(t, "paths of which one is missing", contents(manifests.Read(t.Context(), []string{dir + "/none", dir + "/a.yaml"}, nil)),
		"service default/a\nerror: stat "+dir+"/none: no such file or directory: name a file, a directory, or - for standard input\n")

	o := manifests.Read(t.Context(), []string{"-"}, io.MultiReader(strings.NewReader(service("a")), iotest.ErrReader(io.ErrClosedPipe)))
	if len(o.Services) > 0 || len(o.Errors) != 1 || !errors.Is(o.Errors[0], io.ErrClosedPipe) || !strings.HasPrefix(o.Errors[0].Error(), "read standard input: ") {
		// Half of an input is no input: the rest may be another Service's slices.
		t.Errorf("unreadable input is read as\n%s", contents(o))
	}
	loop := filepath.Join(dir, "loop.yaml")
	if err := os.Symlink("loop.yaml", loop); err != nil {
		t.Fatal(err)
	}
	if o := manifests.Read(t.Context(), []string{loop}, nil); len(o.Errors) != 1 || !strings.Contains(o.Errors[0].Error(), loop) {
		t.Errorf("a symlink to itself is read as\n%s", contents(o))
	}
}

// Many documents are decoded at once, and come out in order all the same.
func TestManyDocumentsKeepTheirOrder(t *testing.T) {
	var in, out strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "%s---\n", service(fmt.Sprintf("s%d", i)))
		fmt.Fprintf(&out, "service default/s%d\n", i)
	}
	want(t, "many documents", read(in.String()), out.String())
}

// FuzzRead: whatever comes in, each document is read, passed over or named, and
// nothing panics.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		service("a") + "---\n" + service("b"),
		"\ufeff--- # c\r\n" + service("a") + "...\r\n--- {a: b}\n",
		`{"apiVersion":"v1","kind":"ServiceList","items":[{},null,{"metadata":{"name":"a"}},5]}`,
		`{"apiVersion":"v1","kind":"Node"}` + "\n{",
		"{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ServiceList, items: [{a: b}]}]}",
		"a: &a [*a]\n", "a: b\na: c\n", "[", "{}{}", "%YAML 1.1\n---\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o := manifests.Read(t.Context(), []string{"-"}, strings.NewReader(string(text)))
		for _, err := range o.Errors {
			for line := range strings.Lines(err.Error()) {
				// Errors of YAML and JSON may quote the input, line ends and all.
				if strings.HasPrefix(line, "standard input:0") {
					t.Errorf("no line is 0: %s", line)
				}
			}
		}
		for _, s := range o.Services {
			if s.Name == "" || s.Namespace == "" {
				t.Errorf("a Service %q/%q", s.Namespace, s.Name)
			}
		}
		// What is read is the same when it is read again: documents are decoded
		// at once, but counted in order.
		if again := manifests.Read(t.Context(), []string{"-"}, strings.NewReader(string(text))); contents(o) != contents(again) {
			t.Errorf("read as\n%s\nand then as\n%s", contents(o), contents(again))
		}
	})
}

// A directory may hold what is no file to read: a pipe nobody writes to would hold up
// all others.
func TestOnlyRegularFilesOfADirectory(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"a.yaml": service("a"), "z.yaml": service("z"), "aside/pipe": ""})
	pipe := filepath.Join(dir, "aside", "fifo")
	for _, name := range []string{pipe, filepath.Join(dir, "b.yaml")} {
		if err := unix.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	symlink(t, pipe, filepath.Join(dir, "c.yaml"))
	symlink(t, "/dev/zero", filepath.Join(dir, "d.yaml"))
	socket, err := net.Listen("unix", filepath.Join(dir, "e.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	put(t, filepath.Join(dir, "f.yaml"), "")
	if err := os.Truncate(filepath.Join(dir, "f.yaml"), 1<<40); err != nil {
		t.Fatal(err)
	}
	wrong := ""
	for _, name := range []string{"b.yaml", "c.yaml", "d.yaml"} {
		wrong += "error: " + filepath.Join(dir, name) + ": not a regular file: remove it from the directory, or name it itself\n"
	}
	wrong += "error: open " + filepath.Join(dir, "e.yaml") + ": no such device or address\n"
	wrong += "error: " + filepath.Join(dir, "f.yaml") + ": longer than 256 MiB; nothing in it was read: split it\n"
	want(t, "a directory with pipes, a device and a socket", contents(manifests.Read(t.Context(), []string{dir}, nil)), "service default/a\nservice default/z\n"+wrong)
}

// A pipe that somebody names is read to its end, as a shell makes them for <(command);
// or until the context ends.
func TestNamedPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(pipe, []byte(service("a")), 0) }()
	want(t, "a pipe", contents(manifests.Read(t.Context(), []string{pipe}, nil)), "service default/a\n")

	ctx, end := context.WithCancelCause(t.Context())
	end(errors.New("told to end"))
	silent, _ := io.Pipe()
	want(t, "pipes that nobody writes to", contents(manifests.Read(ctx, []string{pipe, "-"}, silent)),
		"error: read "+pipe+": told to end\nerror: read standard input: told to end\n")
}
