// Package e2e tests the agent as it is run: its own process in a node's
// namespace, a real API server with real controllers, and real packets.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-verdict/kube-verdict/cli"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// programName makes the test binary kube-verdict when it is started under that
// name: what runs on the nodes is then tested with the race detector, too.
const programName = "kube-verdict"

// program is the path to start it by.
var program string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		os.Exit(cli.Main(os.Args[1:]))
	}
	log.SetLogger(logr.Discard()) // warnings of the API server, in the tests' own clients
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kube-verdict-e2e-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, programName)
		var self string
		if self, err = os.Executable(); err == nil {
			err = os.Symlink(self, program)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stopShared()
	return m.Run()
}

var (
	shared     sync.Once
	sharedAPI  *testbed.ControlPlane
	sharedErr  error
	stopShared = func() {}
)

// controlPlane is the one that the tests share; each has a namespace and a node
// of its own.
func controlPlane(t *testing.T) *testbed.ControlPlane {
	t.Helper()
	testbed.Need(t)
	shared.Do(func() { sharedAPI, stopShared, sharedErr = startControlPlane() })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return sharedAPI
}

// startControlPlane starts a control plane on a host outside of a node, so that
// it has an address that the Service "kubernetes" can lead to.
func startControlPlane() (api *testbed.ControlPlane, stop func(), err error) {
	node, err := testbed.NewNode(addr("10.240.0.1"))
	if err != nil {
		return nil, func() {}, err
	}
	host, err := node.AddClient("control-plane", addr("198.18.0.2"))
	if err == nil {
		api, err = testbed.StartControlPlane(testbed.ControlPlaneOptions{Host: host})
	}
	if err != nil {
		node.Close()
		return nil, func() {}, err
	}
	return api, func() {
		api.Stop()
		node.Close()
	}, nil
}
