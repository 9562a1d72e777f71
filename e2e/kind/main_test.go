// Package kind tests what users install, on a cluster as they have it: the image and
// the chart, in a kind cluster of two nodes with both families, with real pods.
//
// "make e2e" brings the cluster up and runs the tests, one after the other: each takes
// the cluster as the one before has left it, makes of it what it needs, and can be run
// alone. Clients are sockets of the test itself, in the network namespaces of pods, of
// nodes, and of a container outside of the cluster.
package kind

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// core are the tests that E2E=core chooses, in less than five minutes.
const core = "^(TestUpgradeBreaksNoConnection|TestAgentRunsUnderSeccomp|TestNothingToServe|TestServiceTypes|TestTakeOverInNFTablesMode)$"

// environment is what the tests take from "make e2e", and what for.
var environment = []struct{ variable, what string }{
	{"KUBECONFIG", "the cluster"},
	{"KIND_CLUSTER", "its name, from which those of the nodes' containers are made"},
	{"KUBE_VERDICT_IMAGE", "what \"make image\" has made, under the name that the chart has for it, which the nodes have"},
	{"KUBE_VERDICT_IMAGE_2", "the same under another tag, to upgrade to"},
	{"AGNHOST_IMAGE", "what the tests' pods run"},
	{"E2E_LOGS", "a directory for what is kept of a failure"},
}

// shared is the cluster of all tests.
var shared *cluster

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(logr.Discard())
	if testing.Short() {
		os.Exit(m.Run()) // all are skipped
	}
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e/kind:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := shared.tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e/kind:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp() (err error) {
	var missing []string
	for _, e := range environment {
		if os.Getenv(e.variable) == "" {
			missing = append(missing, fmt.Sprintf("%s (%s)", e.variable, e.what))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("run \"make e2e\", which brings a cluster up; these tests need one, and miss %s", strings.Join(missing, ", "))
	}
	switch chosen := os.Getenv("E2E"); chosen {
	case "":
	case "core":
		if run := flag.Lookup("test.run"); run.Value.String() == "" {
			if err := run.Value.Set(core); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("E2E=%s: leave it out for all tests, or choose core", chosen)
	}
	shared, err = newCluster(os.Getenv("KIND_CLUSTER"))
	return err
}
