package charts_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// The agent has one capability. Without a right at the API server it says which,
// works as far as it can, and goes on by itself when it is granted.
func TestMissingRightsAreNamed(t *testing.T) {
	node := testbed.NewTestNode(t, netip.MustParseAddr("10.240.0.11"))
	host, err := node.AddClient("control-plane", netip.MustParseAddr("198.18.0.10"))
	if err != nil {
		t.Fatal(err)
	}
	plane := testbed.NewTestControlPlane(t, testbed.ControlPlaneOptions{Host: host})
	i := bases(t)
	i.account.Namespace = "kube-system"
	whole := i.role.DeepCopy()
	i.role.Rules = without(i.role.Rules, "nodes", "servicecidrs", "endpointslices")
	for _, object := range []client.Object{i.account, i.role, i.binding} {
		if err := plane.Client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	args := append(i.args(t), "--node-name=worker", "--kubeconfig", as(t, plane, "system:serviceaccount:kube-system:kube-verdict"))
	agent := confined(t, node, args...)
	wait := func(what string, check func() error) {
		t.Helper()
		if err := testbed.Wait(time.Minute, what, check); err != nil {
			t.Fatalf("%v; the agent said:\n%s", err, agent.Output())
		}
	}
	wait("the agent to have one capability", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", agent.Pid()))
		for _, want := range []string{"CapPrm:\t0000000000001000", "CapEff:\t0000000000001000", "CapBnd:\t0000000000001000", "NoNewPrivs:\t1"} {
			if err == nil && !strings.Contains(string(status), want) {
				err = errors.New("it lacks " + want)
			}
		}
		return err
	})
	said := func(text string) {
		t.Helper()
		wait("the agent to say "+text, func() error {
			if !strings.Contains(agent.Output(), text) {
				return errors.New("it has not")
			}
			return nil
		})
	}
	grant := func(rules []rbacv1.PolicyRule) {
		t.Helper()
		i.role.Rules = rules
		if err := plane.Client.Update(t.Context(), i.role); err != nil {
			t.Fatal(err)
		}
	}
	said(`"right":"list nodes"`)
	said(`"right":"list servicecidrs.networking.k8s.io"`)
	said(`"right":"list endpointslices.discovery.k8s.io"`)
	wait("readiness to say what is missing", func() error {
		body, err := fetch(node, "127.0.0.1:10356", "/readyz")
		if !strings.Contains(body, "the Services are not programmed yet: may not list endpointslices.discovery.k8s.io") {
			return fmt.Errorf("it says %q, %v", body, err)
		}
		return nil
	})

	// Without Nodes and ServiceCIDRs it serves.
	grant(without(whole.Rules, "nodes", "servicecidrs"))
	wait("the agent to be ready", func() error { return get(node, "127.0.0.1:10356", "/readyz") })
	listing, err := node.Run("nft", "list", "map", "ip", "kube-verdict", "services")
	if err != nil || !strings.Contains(listing, `"default/kubernetes:https"`) {
		t.Errorf("the Service kubernetes is not programmed: %v\n%s", err, listing)
	}
	cidrs := func() string {
		out, err := node.Run("nft", "list", "set", "ip", "kube-verdict", "service-cidrs")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	// It also hears of changes.
	later := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "later"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if err := plane.Client.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	wait("the new Service to be programmed", func() error {
		listing, err := node.Run("nft", "list", "set", "ip", "kube-verdict", "no-endpoints")
		if err == nil && !strings.Contains(listing, `"default/later"`) {
			err = errors.New(listing)
		}
		return err
	})
	if strings.Contains(cidrs(), "elements") {
		t.Error("it knows the ServiceCIDRs, which it may not read")
	}
	grant(whole.Rules)
	if older, err := plane.Before(33); err != nil || older {
		said("The API server is too old for a request")
		if err != nil || strings.Contains(cidrs(), "elements") {
			t.Errorf("there are no ServiceCIDRs: %v, %s", err, cidrs())
		}
		return
	}
	wait("the ServiceCIDRs to be programmed", func() error {
		if !strings.Contains(cidrs(), "10.96.0.0/16") {
			return errors.New("they are not")
		}
		return nil
	})
}

// without are rules that leave resources out.
func without(rules []rbacv1.PolicyRule, resources ...string) (left []rbacv1.PolicyRule) {
	for _, rule := range rules {
		rule = *rule.DeepCopy()
		rule.Resources = slices.DeleteFunc(rule.Resources, func(r string) bool { return slices.Contains(resources, r) })
		if len(rule.Resources) > 0 {
			left = append(left, rule)
		}
	}
	return left
}
