package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestZZHold(t *testing.T) {
	testbed.Need(t)
	dir := os.Getenv("HOLD")
	api, stop, err := startControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w := newWorldAt(t, api)
	f := newFleet(w)
	n := rounds(t, scaleVariable, 1000)
	var group errgroup.Group
	group.SetLimit(16)
	for ; f.n < n; f.n++ {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("svc-%d", f.n)},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
		slice := f.slice(f.n, perService)
		group.Go(func() error {
			if _, err := f.clients.CoreV1().Services(f.w.namespace).Create(f.w.ctx, svc, metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := f.clients.DiscoveryV1().EndpointSlices(f.w.namespace).Create(f.w.ctx, slice, metav1.CreateOptions{})
			return err
		})
	}
	w.must(group.Wait())
	os.WriteFile(dir+"/env", []byte(fmt.Sprintf("NS=/proc/%d/fd/%d\nKC=%s\nNODE=%s\nNSPACE=%s\n", os.Getpid(), w.node.Fd(), api.Kubeconfig(), w.name, w.namespace)), 0o644)
	for {
		if _, err := os.Stat(dir + "/stop"); err == nil {
			return
		}
		if _, err := os.Stat(dir + "/kubeproxy"); err == nil {
			os.Remove(dir + "/kubeproxy")
			p := f.kubeProxy()
			t.Log("kube-proxy", memory(p.Process))
			os.WriteFile(dir+"/kubeproxy.out", []byte(memory(p.Process)), 0o644)
		}
		// CHURN: number of changes a second for a minute
		if b, err := os.ReadFile(dir + "/churn"); err == nil {
			os.Remove(dir + "/churn")
			var rate int
			fmt.Sscan(string(b), &rate)
			f.steadily(time.Now().Add(60 * time.Second))
			os.WriteFile(dir+"/churn.done", nil, 0o644)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
