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
		if err := apply(context.Background(), suite.api.Client, []Service{bystander}); err != nil { // families can't be changed
			t.Fatal(err)
		}
		for n, step := range scenario.Steps {
			differences, err := suite.Step(context.Background(), step)
			if err != nil {
				t.Fatalf("%s, step %d: %v", scenario.Name, n+1, err)
			}
			steps++
			if len(differences) == 0 {
				continue
			}
			failed++
			t.Errorf("%s, step %d (again with %s=%d %s=1): %d differences, the first: %s\nin %+v", scenario.Name, n+1,
				seedVariable, seed+i, runsVariable, len(differences), differences[0], suite.shrink(t, step))
		}
		if runs > runsDefault && i%10 == 9 {
			fmt.Fprintf(os.Stderr, "%d of %d clusters, %d steps, %d that differ\n", i+1, runs, steps, failed)
		}
	}
	t.Logf("%d steps compared, %d differ", steps, failed)
}

// shrink leaves out what a difference does not need: Services, then endpoints.
func (s *Suite) shrink(t *testing.T, services []Service) []Service {
	differs := func(smaller []Service) bool {
		differences, err := s.Step(context.Background(), smaller)
		if err != nil {
			t.Fatalf("shrinking: %v", err)
		}
		return len(differences) > 0
	}
	for i := len(services) - 1; i >= 0 && len(services) > 1; i-- {
		smaller := append(append([]Service(nil), services[:i]...), services[i+1:]...)
		if differs(smaller) {
			services = smaller
		}
	}
	for i := range services {
		for j := len(services[i].Endpoints) - 1; j >= 0; j-- {
			smaller := append([]Service(nil), services...)
			endpoints := services[i].Endpoints
			smaller[i].Endpoints = append(append([]Endpoint(nil), endpoints[:j]...), endpoints[j+1:]...)
			if differs(smaller) {
				services = smaller
			}
		}
	}
	return services
}
