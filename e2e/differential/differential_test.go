package differential

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kube-verdict/kube-verdict/cli"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// programName makes the test binary kube-verdict when it is started under that
// name.
const programName = "kube-verdict"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		os.Exit(cli.Main(os.Args[1:]))
	}
	ctrl.SetLogger(logr.Discard()) // the API server's warnings
	os.Exit(m.Run())
}

// newTestSuite is a Suite for the duration of the test.
func newTestSuite(t testing.TB, o options) *Suite {
	t.Helper()
	testbed.Need(t)
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, programName)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	if o.nodePortAddresses == "" {
		o.nodePortAddresses = "primary"
	}
	s, err := NewSuite(t.Context(), o, program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// check runs a scenario's steps.
func (s *Suite) check(t *testing.T, scenario Scenario) {
	t.Helper()
	for i, step := range scenario.Steps {
		differences, err := s.Step(context.Background(), step)
		if err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
		for _, d := range differences {
			t.Errorf("step %d: %s", i+1, d)
		}
		if len(differences) > 0 {
			t.Logf("step %d is %s", i+1, fmt.Sprintf("%+v", step))
		}
	}
}

// eachLayout runs a test with either layout of our tables, by the gates for it.
func eachLayout(t *testing.T, test func(t *testing.T, gates string)) {
	t.Run("maps", func(t *testing.T) { test(t, "") })
	t.Run("chains", func(t *testing.T) { test(t, "ChainLayout=true") })
}

// Every behaviour of a Service is as kube-proxy's.
func TestNamed(t *testing.T) {
	eachLayout(t, func(t *testing.T, gates string) {
		suites := map[options]*Suite{}
		for _, scenario := range Named() {
			scenario.gates = gates
			suite := suites[scenario.options]
			if suite == nil {
				suite = newTestSuite(t, scenario.options)
				suites[scenario.options] = suite
			}
			t.Run(scenario.Name, func(t *testing.T) { suite.check(t, scenario) })
		}
	})
}
