package differential

import (
	"errors"
	"reflect"
	"slices"
	"testing"
)

// What a difference does not need is left out, and nothing that it needs.
func TestShrink(t *testing.T) {
	// The fault of this test: a Service with affinity that loses endpoint b while
	// it is a NodePort.
	faulty := func(steps [][]Service) bool {
		has := func(step []Service) bool {
			return slices.ContainsFunc(step, func(s Service) bool {
				return s.Affinity > 0 && s.Type == "NodePort" && slices.ContainsFunc(s.Endpoints, func(e Endpoint) bool { return e.Place == "b" })
			})
		}
		return len(steps) > 1 && has(steps[len(steps)-2]) && !has(steps[len(steps)-1])
	}
	two := []Port{{"TCP", 80, 8080}, {"UDP", 80, 8080}}
	first := Service{Number: 1, Families: "46", Type: "LoadBalancer", Balancer: "VIP", ETPLocal: true, Ports: two, Endpoints: []Endpoint{{Place: "a"}}}
	second := Service{
		Number: 2, Families: "46", Type: "NodePort", ETPLocal: true, ITPLocal: true, Affinity: 100, Ports: two,
		Endpoints: []Endpoint{{Place: "a", State: "terminating"}, {Place: "b", Zone: "zone-a"}, {Place: "c"}},
	}
	less := second
	less.Endpoints = second.Endpoints[:1]
	asked := 0
	got, err := shrink([][]Service{{first}, {first, second}, {first, less}}, func(steps [][]Service) (bool, error) {
		asked++
		return faulty(steps), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	plain := Service{Number: 2, Families: "4", Type: "NodePort", Affinity: 100, Ports: two[:1], Endpoints: []Endpoint{{Place: "b"}}}
	gone := plain
	gone.Endpoints = nil
	if want := [][]Service{{plain}, {gone}}; literal("", got) != literal("", want) {
		t.Errorf("shrunk, after %d questions, to\n%s\nwant\n%s", asked, literal("got", got), literal("want", want))
	}
}

// A question that can't be asked ends it.
func TestShrinkFails(t *testing.T) {
	steps := [][]Service{{{Number: 1}}, {{Number: 1}}}
	failed := errors.New("failed")
	got, err := shrink(steps, func([][]Service) (bool, error) { return true, failed })
	if !errors.Is(err, failed) || !reflect.DeepEqual(got, steps) {
		t.Errorf("%v, %v; want what was there, and the error", got, err)
	}
}

// What is printed goes into named.go as it is.
func TestLiteral(t *testing.T) {
	got := literal("seed 7", [][]Service{{
		{Number: 1, Type: "NodePort", Ports: []Port{{"TCP", 80, 8080}}, Endpoints: []Endpoint{{Place: "a", Zone: "zone-a"}}}, {Number: 2},
	}, {}})
	want := `{Name: "seed 7", Steps: [][]Service{
	{{Number: 1, Type: "NodePort", Ports: []Port{Port{Protocol:"TCP", Port:80, Target:8080}}, Endpoints: []Endpoint{Endpoint{Place:"a", State:"", Zone:"zone-a", Node:""}}}, {Number: 2}},
	{},
}},`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
