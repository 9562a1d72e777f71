package controllers

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// What a reconciliation logs is as it was, its values and where it was logged included.
func TestReconciliationsLog(t *testing.T) {
	var got []string
	log := funcr.New(func(prefix, args string) { got = append(got, prefix+": "+args) }, funcr.Options{LogCaller: funcr.All})
	logger := logs(log, "service")
	of := logger(&reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "front"}}).WithValues("reconcileID", 7)
	of.Info("said", "a", 1)
	of.WithName("more").Error(errors.New("no"), "failed", "b", 2)
	logger(nil).V(1).Info("not logged")
	logger(nil).Info("of the controller")
	want := []struct{ prefix, args string }{
		{"", `"level"=0 "msg"="said" "controller"="service" "namespace"="shop" "name"="front" "reconcileID"=7 "a"=1`},
		{"more", `"msg"="failed" "error"="no" "controller"="service" "namespace"="shop" "name"="front" "reconcileID"=7 "b"=2`},
		{"", `"level"=0 "msg"="of the controller" "controller"="service"`},
	}
	if len(got) != len(want) {
		t.Fatalf("logged are %q", got)
	}
	for i, w := range want {
		prefix, rest, _ := strings.Cut(got[i], ": ")
		if prefix != w.prefix || !strings.Contains(rest, `"file"="log_internal_test.go"`) || !strings.HasSuffix(rest, w.args) {
			t.Errorf("logged is %q, want %q", got[i], w.args)
		}
	}
}
