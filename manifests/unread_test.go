package manifests_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/manifests"
)

// An object that can't be read is some Service's alone, if it names that; a document that
// can't be read may be any one's.
func TestWhoseIsUnread(t *testing.T) {
	const slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
	for _, tc := range []struct {
		text, want string
		all        bool
	}{
		{service("a"), "", false},
		{service("a") + "spec: {ports: [{port: none}]}\n", "default/a", false},
		{service("a") + "spec: {ports: [{port: 80, name: A_B}]}\n", "default/a", false},
		{strings.Replace(service("a"), "v1", "v1beta1", 1), "default/a", false},
		{slice + "metadata: {name: a-1, namespace: x, labels: {kubernetes.io/service-name: a}}\nports: [{port: none}]\n", "x/a", false},
		{slice + "metadata: {name: a-1}\nports: [{port: none}]\n", "", true},
		{"apiVersion: v1\nkind: Service\nspec: {ports: [{port: none}]}\n", "", true},
		{"apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: 5\n", "", false},
		{service("a") + "---\n" + service("a"), "", false},
		{"kind: Service\n x: y\n", "", true},
		{"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: 5}\n- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: 5}\n", "default/a default/b", false},
		{"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: 5}\n- 5\n", "default/a", true},
	} {
		services, all := manifests.Read(t.Context(), []string{"-"}, strings.NewReader(tc.text)).Unread()
		for want := range strings.FieldsSeq(tc.want) {
			found := false
			for name := range services {
				found = found || name.String() == want
			}
			if !found {
				t.Errorf("%s: unread are %v, want %s", tc.text, services, want)
			}
		}
		if got := fmt.Sprint(len(services), all); got != fmt.Sprint(len(strings.Fields(tc.want)), tc.all) {
			t.Errorf("%s: unread are %v and all others: %t, want %q and %t", tc.text, services, all, tc.want, tc.all)
		}
	}
}
