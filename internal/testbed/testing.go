package testbed

import (
	"flag"
	"net/netip"
	"os"
)

// T is the part of testing.TB that is needed here. The testing package itself is
// not imported, because the demo and the benchmark use this one as well.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Need is called by tests that need root or the tools. Under "go test -short" they
// are skipped, but never in CI, where a test that does not run is a failure.
func Need(t T) {
	t.Helper()
	short := flag.Lookup("test.short")
	if os.Getenv("CI") != "true" && short != nil && short.Value.String() == "true" {
		t.Skipf("needs network namespaces or a control plane, which -short leaves out")
	}
}

// NewTestNamespace makes a namespace for the duration of the test.
func NewTestNamespace(t T) *Namespace {
	t.Helper()
	Need(t)
	ns, err := NewNamespace()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(ns.Close)
	return ns
}

// NewTestNode makes a node for the duration of the test.
func NewTestNode(t T, addrs ...netip.Addr) *Node {
	t.Helper()
	Need(t)
	n, err := NewNode(addrs...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(n.Close)
	return n
}

// NewTestControlPlane starts a control plane for the duration of the test.
func NewTestControlPlane(t T, options ControlPlaneOptions) *ControlPlane {
	t.Helper()
	Need(t)
	c, err := StartControlPlane(options)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(c.Stop)
	return c
}
