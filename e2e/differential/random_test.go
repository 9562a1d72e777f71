package differential

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// The random run: how many clusters, with how many changes of each, from which
// seed on.
//
//	make differential RUNS=500 SEED=1
const (
	runsVariable = "DIFFERENTIAL_RUNS"
	seedVariable = "DIFFERENTIAL_SEED"
	runsDefault  = 5
	changesEach  = 4
)

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Clusters that nobody thought of get the same answers, too.
func TestRandom(t *testing.T) { eachLayout(t, testRandom) }

func testRandom(t *testing.T, gates string) {
	suite := newTestSuite(t, options{gates: gates})
	runs := setting(t, runsVariable, runsDefault)
	seed := setting(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%d clusters with %d changes each, from seed %d on", runs, changesEach, seed)
	steps, failed := 0, 0
	for i := range runs {
		scenario := Random(seed+i, changesEach)
		n, differences, err := suite.run(t.Context(), scenario.Steps)
		if err != nil {
			t.Fatalf("%s, step %d: %v", scenario.Name, n, err)
		}
		steps += n
		if len(differences) > 0 {
			failed++
			t.Errorf("%s, step %d (again with make differential %s=%d %s=1): %d differences, the first: %s", scenario.Name, n,
				"SEED", seed+i, "RUNS", len(differences), differences[0])
			t.Logf("shrunk to\n%s", literal(scenario.Name, suite.shrunk(t, scenario.Steps[:n])))
		}
		if runs > runsDefault && i%10 == 9 {
			fmt.Fprintf(os.Stderr, "%d of %d clusters, %d steps, %d that differ\n", i+1, runs, steps, failed)
		}
	}
	t.Logf("%d steps compared, %d clusters differ", steps, failed)
}

// run goes through steps from an empty cluster to the first that differs.
func (s *Suite) run(ctx context.Context, steps [][]Service) (n int, differences []Difference, err error) {
	if err := s.Reset(ctx); err != nil { // families can't be changed
		return 0, nil, err
	}
	for _, step := range steps {
		n++
		if differences, err = s.Step(ctx, step); err != nil || len(differences) > 0 {
			break
		}
	}
	return n, differences, err
}

// shrunk is what is needed for steps to differ.
func (s *Suite) shrunk(t *testing.T, steps [][]Service) [][]Service {
	t.Helper()
	steps, err := shrink(steps, func(smaller [][]Service) (bool, error) {
		_, differences, err := s.run(t.Context(), smaller)
		return len(differences) > 0, err
	})
	if err != nil {
		t.Errorf("shrinking: %v", err)
	}
	return steps
}
