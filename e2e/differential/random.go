package differential

import (
	"fmt"
	"math/rand/v2"
)

// Random makes a cluster of a few Services and changes of it, the same for the same
// seed. Each step changes one thing, as people and controllers do.
func Random(seed uint64, changes int) Scenario {
	r := rand.New(rand.NewPCG(seed, 0))
	var services []Service
	for i := range 1 + r.IntN(3) {
		services = append(services, randomService(r, i+1))
	}
	s := Scenario{Name: fmt.Sprintf("seed %d", seed), Steps: [][]Service{services}}
	for range changes {
		services = append([]Service(nil), services...)
		i := r.IntN(len(services))
		services[i] = changed(r, services[i])
		s.Steps = append(s.Steps, services)
	}
	return s
}

func randomService(r *rand.Rand, number int) Service {
	s := Service{
		Number:   number,
		Families: pick(r, "4", "6", "46", "46", "46"),
		Type:     pick(r, "ClusterIP", "NodePort", "LoadBalancer"),
		ITPLocal: r.IntN(4) == 0,
		External: r.IntN(3) == 0,
	}
	s.Ports = []Port{{"TCP", 80, 8080}}
	if r.IntN(2) == 0 {
		s.Ports = append(s.Ports, Port{"UDP", 80, 8080})
	}
	if r.IntN(3) == 0 {
		s.Ports = append(s.Ports, Port{"TCP", 81, 8081})
	}
	if r.IntN(4) == 0 {
		s.Ports = append(s.Ports, Port{"SCTP", 80, 8080})
	}
	if r.IntN(4) == 0 {
		s.Affinity = 100
	}
	s.Taken = randomTaken(r, number)
	s.Endpoints = randomEndpoints(r)
	return outside(r, s)
}

// randomTaken is whose address a Service has as an external IP, too. It is one Service's
// alone: what becomes of an address that two claim is not asked (see wanted).
func randomTaken(r *rand.Rand, number int) string {
	if number > 1 {
		return ""
	}
	return pick(r, "", "", "", "node", "pod")
}

// outside is what only Services that are reached from outside may have.
func outside(r *rand.Rand, s Service) Service {
	s.ETPLocal, s.Balancer, s.Ranges = false, "", nil
	if s.Type != "ClusterIP" || s.External || s.Taken != "" {
		s.ETPLocal = r.IntN(2) == 0
	}
	if s.Type == "LoadBalancer" {
		s.Balancer = pick(r, "VIP", "VIP", "VIP", "Proxy", "")
		if r.IntN(3) == 0 {
			s.Ranges = []string{pick(r, "198.18.7.0/24", "10.244.0.0/16", "10.240.0.0/16", "0.0.0.0/0", "fd00:198::/64", "192.168.0.0/16")}
		}
	}
	return s
}

func randomEndpoints(r *rand.Rand) []Endpoint {
	var all []Endpoint
	hints := r.IntN(4)
	for _, place := range []string{"a", "b", "c", "d", "n"} {
		if r.IntN(2) == 0 {
			continue
		}
		e := Endpoint{Place: place, State: pick(r, "", "", "", "", "notready", "terminating", "stopped")}
		if hints == 0 {
			e.Zone = pick(r, "zone-a", "zone-b")
		}
		if hints == 1 {
			e.Node = pick(r, NodeName, otherNode)
		}
		all = append(all, e)
	}
	return all
}

func changed(r *rand.Rand, s Service) Service {
	switch r.IntN(9) {
	case 0:
		s.Type = pick(r, "ClusterIP", "NodePort", "LoadBalancer")
		return outside(r, s)
	case 1:
		s.External = !s.External
		return outside(r, s)
	case 2:
		s.ITPLocal = !s.ITPLocal
	case 3:
		return outside(r, s)
	case 4:
		s.Affinity = map[bool]int{true: 0, false: 100}[s.Affinity > 0]
	case 5:
		s.Proxy = map[bool]string{true: "", false: "another"}[s.Proxy != ""]
	case 6:
		s.Taken = randomTaken(r, s.Number)
		return outside(r, s)
	default:
		s.Endpoints = randomEndpoints(r)
	}
	return s
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }
