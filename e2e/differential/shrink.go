package differential

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// shrink leaves out of a scenario all that its last step does not need to differ:
// steps before it, Services, endpoints, and what is special about a Service.
func shrink(steps [][]Service, differs func([][]Service) (bool, error)) ([][]Service, error) {
	for again := true; again; {
		again = false
		for _, smaller := range simpler(steps) {
			is, err := differs(smaller)
			if err != nil {
				return steps, err
			}
			if is {
				steps, again = smaller, true
				break
			}
		}
	}
	return steps, nil
}

// simpler are scenarios with one thing less, those with much less first.
func simpler(steps [][]Service) [][][]Service {
	var all [][][]Service
	if last := len(steps) - 1; last > 0 {
		all = append(all, steps[last:])
		for i := range last {
			all = append(all, slices.Concat(steps[:i], steps[i+1:]))
		}
	}
	numbers, endpoints := map[int]bool{}, map[string]bool{}
	for _, s := range slices.Concat(steps...) {
		numbers[s.Number] = true
		for _, e := range s.Endpoints {
			endpoints[e.Place] = true
		}
	}
	// with gives each step's Services as change leaves them; false leaves one out.
	with := func(change func(s *Service) bool) {
		changed := make([][]Service, len(steps))
		for i, step := range steps {
			for _, s := range step {
				if change(&s) {
					changed[i] = append(changed[i], s)
				}
			}
		}
		if !reflect.DeepEqual(changed, steps) {
			all = append(all, changed)
		}
	}
	for _, number := range sorted(numbers) {
		if len(numbers) > 1 {
			with(func(s *Service) bool { return s.Number != number })
		}
	}
	for _, number := range sorted(numbers) {
		for _, place := range sorted(endpoints) {
			with(func(s *Service) bool {
				if s.Number == number {
					s.Endpoints = slices.DeleteFunc(slices.Clone(s.Endpoints), func(e Endpoint) bool { return e.Place == place })
				}
				return true
			})
		}
		for _, plain := range []func(s *Service){
			func(s *Service) { s.Type, s.Balancer, s.Ranges = "", "", nil },
			func(s *Service) { s.Ports = s.Ports[:min(1, len(s.Ports))] },
			func(s *Service) { s.External = false },
			func(s *Service) { s.Taken = "" },
			func(s *Service) { s.Ranges = nil },
			func(s *Service) { s.ITPLocal = false },
			func(s *Service) { s.ETPLocal = false },
			func(s *Service) { s.Affinity = 0 },
			func(s *Service) { s.Proxy = "" },
			func(s *Service) { s.Families = s.Families[:min(1, len(s.Families))] },
			func(s *Service) { s.Endpoints = plainEndpoints(s.Endpoints) },
		} {
			with(func(s *Service) bool {
				if s.Number == number {
					plain(s)
					// The API server takes the policy only where there is traffic from outside.
					s.ETPLocal = s.ETPLocal && (s.External || s.Taken != "" || s.Type != "" && s.Type != "ClusterIP")
				}
				return true
			})
		}
	}
	return all
}

// plainEndpoints are ready and without hints.
func plainEndpoints(endpoints []Endpoint) []Endpoint {
	var plain []Endpoint
	for _, e := range endpoints {
		plain = append(plain, Endpoint{Place: e.Place})
	}
	return plain
}

func sorted[K int | string](set map[K]bool) []K {
	var all []K
	for k := range set {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// literal is a scenario as Go, for named.go.
func literal(name string, steps [][]Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{Name: %q, Steps: [][]Service{\n", name)
	for _, step := range steps {
		b.WriteString("\t{")
		for i, s := range step {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(s.literal())
		}
		b.WriteString("},\n")
	}
	b.WriteString("}},")
	return b.String()
}

// literal is a Service as Go, without the fields that say nothing.
func (s Service) literal() string {
	var fields []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			text := strings.ReplaceAll(fmt.Sprintf("%#v", f), "differential.", "")
			fields = append(fields, v.Type().Field(i).Name+": "+text)
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}
