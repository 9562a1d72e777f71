package differential

// Named are the scenarios that cover the Service contract one behaviour at a time,
// each also as a change of live objects.
func Named() []Scenario {
	http := []Port{{"TCP", 80, 8080}}
	both := []Port{{"TCP", 80, 8080}, {"UDP", 80, 8080}, {"TCP", 81, 8081}}
	at := func(places ...string) []Endpoint {
		var all []Endpoint
		for _, p := range places {
			all = append(all, Endpoint{Place: p})
		}
		return all
	}
	state := func(state string, places ...string) []Endpoint {
		all := at(places...)
		for i := range all {
			all[i].State = state
		}
		return all
	}
	one := func(s Service) []Service {
		if s.Number == 0 {
			s.Number = 1
		}
		if s.Ports == nil {
			s.Ports = http
		}
		return []Service{s}
	}
	steps := func(services ...Service) [][]Service {
		var all [][]Service
		for _, s := range services {
			all = append(all, one(s))
		}
		return all
	}
	hinted := func(zones map[string]string, nodes map[string]string) []Endpoint {
		all := at("a", "b", "c")
		for i := range all {
			all[i].Zone, all[i].Node = zones[all[i].Place], nodes[all[i].Place]
		}
		return all
	}
	return []Scenario{
		{Name: "ClusterIP", Steps: steps(
			Service{Ports: both, Endpoints: at("a", "c")},
			Service{Ports: both, Endpoints: at("a", "b", "c", "d")},
			Service{Ports: both, Endpoints: at("d")},
			Service{Ports: both},
			Service{Ports: both, Endpoints: at("n")},
			Service{Ports: http, Endpoints: at("b")},
			Service{Ports: []Port{{"TCP", 80, 8081}, {"UDP", 90, 8080}}, Endpoints: at("b", "c")},
		)},
		{Name: "SCTP", Steps: steps(
			Service{Type: "NodePort", Ports: []Port{{"SCTP", 80, 8080}, {"TCP", 80, 8080}}, Endpoints: at("a", "c")},
			Service{Type: "NodePort", Ports: []Port{{"SCTP", 80, 8081}}, ETPLocal: true, Endpoints: at("a", "b", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", Ports: []Port{{"SCTP", 80, 8081}}, Ranges: []string{"198.18.7.0/24"}, Endpoints: at("c", "d")},
			Service{Ports: []Port{{"SCTP", 80, 8080}}, ITPLocal: true, Endpoints: at("c")},
			Service{Ports: []Port{{"SCTP", 80, 8080}}},
		)},
		{Name: "families", Steps: steps(
			Service{Families: "4", Endpoints: at("a", "c")},
			Service{Families: "46", Endpoints: at("a", "c")},
			Service{Families: "4", Endpoints: at("a", "c")},
		)},
		{Name: "states of endpoints", Steps: steps(
			Service{Endpoints: append(state("notready", "a"), at("b")...)},
			Service{Endpoints: append(state("terminating", "a"), at("c")...)},
			Service{Endpoints: append(state("terminating", "a", "c"), state("notready", "b")...)},
			Service{Endpoints: state("stopped", "a", "c")},
			Service{Endpoints: state("notready", "a", "c")},
		)},
		{Name: "NodePort", Steps: steps(
			Service{Type: "NodePort", Ports: both, Endpoints: at("a", "c")},
			Service{Type: "NodePort", Ports: both, Endpoints: at("n", "c")},
			Service{Type: "NodePort", Ports: both},
			Service{Type: "ClusterIP", Ports: both, Endpoints: at("c")},
			Service{Type: "NodePort", Ports: both, ETPLocal: true, Endpoints: at("a", "c")},
			Service{Type: "NodePort", Ports: both, ETPLocal: true, Endpoints: at("c", "d")},
			Service{Type: "NodePort", Ports: both, ETPLocal: true},
			Service{Type: "NodePort", Ports: both, ETPLocal: true, Endpoints: append(state("terminating", "a"), at("c")...)},
			Service{Type: "NodePort", Ports: both, ETPLocal: true, Endpoints: at("a", "b", "n")},
		)},
		{Name: "NodePorts at all addresses", options: options{nodePortAddresses: "all"}, Steps: steps(
			Service{Type: "NodePort", Ports: both, Endpoints: at("a", "c")},
			Service{Type: "NodePort", Ports: both},
		)},
		{Name: "NodePorts at some addresses", options: options{nodePortAddresses: "10.241.0.0/16,fd00:10:241::/64"}, Steps: steps(
			Service{Type: "NodePort", Endpoints: at("a", "c")},
		)},
		{Name: "load balancers and external IPs", Steps: steps(
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, Ports: both, Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "Proxy", Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, ETPLocal: true, Ports: both, Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, ETPLocal: true, Ports: both, Endpoints: at("c", "d")},
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, ETPLocal: true, Ports: both},
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, Ports: both},
			Service{Type: "ClusterIP", External: true, Endpoints: at("b")},
			Service{Type: "ClusterIP", External: true, ETPLocal: true, Endpoints: at("b", "c")},
		)},
		{Name: "addresses that somebody has", Steps: steps(
			Service{Taken: "node", Ports: both, Endpoints: at("a", "c")},
			Service{Taken: "node", Ports: both},
			Service{Taken: "pod", Ports: both, Endpoints: at("a", "c")},
			Service{Taken: "pod", Ports: both},
			Service{Taken: "pod", ETPLocal: true, Ports: both, Endpoints: at("c")},
		)},
		{Name: "source ranges", Steps: steps(
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, Ports: both, Ranges: []string{"198.18.7.0/24", "fd00:198::/64"}, Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", External: true, Ports: both, Ranges: []string{"10.244.0.0/16", "198.18.6.0/24"}, Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", Ports: both, Ranges: []string{"10.240.0.0/16", "fd00:10:240::/64"}, Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", Ports: both, Ranges: []string{"0.0.0.0/0", "fd00:10:244::/64"}, Endpoints: at("a", "c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", Ports: both, Ranges: []string{"198.18.7.0/24"}},
			Service{Type: "LoadBalancer", Balancer: "VIP", Ports: both, ETPLocal: true, Ranges: []string{"198.18.7.2/32"}, Endpoints: at("c")},
			Service{Type: "LoadBalancer", Balancer: "VIP", Ports: both, Endpoints: at("c")},
		)},
		{Name: "internal policy Local", Steps: steps(
			Service{ITPLocal: true, Ports: both, Endpoints: at("a", "c")},
			Service{ITPLocal: true, Ports: both, Endpoints: at("c", "d")},
			Service{ITPLocal: true, Ports: both},
			Service{ITPLocal: true, Ports: both, Endpoints: append(state("terminating", "a"), at("c")...)},
			Service{ITPLocal: true, Type: "NodePort", Endpoints: at("c")},
			Service{ITPLocal: true, ETPLocal: true, Type: "NodePort", Endpoints: at("a", "n", "d")},
			Service{Endpoints: at("c")},
		)},
		{Name: "session affinity", Steps: steps(
			Service{Affinity: 100, Ports: both, Endpoints: at("a", "b", "c", "d")},
			Service{Affinity: 100, Ports: both, Endpoints: at("b", "c")},
			Service{Affinity: 200, Type: "NodePort", Ports: both, Endpoints: at("a", "b", "c", "n")},
			Service{Affinity: 200, Type: "LoadBalancer", Balancer: "VIP", External: true, Ports: both, Endpoints: at("a", "c", "d")},
			Service{Affinity: 200, Type: "LoadBalancer", Balancer: "VIP", ETPLocal: true, Ports: both, Endpoints: at("a", "b", "c")},
			Service{Affinity: 200, Type: "LoadBalancer", Balancer: "VIP", ETPLocal: true, Ports: both, Endpoints: at("c", "d")},
			Service{Affinity: 200, Ports: both},
			Service{Ports: both, Endpoints: at("a", "c")},
			Service{Affinity: 100, ITPLocal: true, Endpoints: at("a", "b", "c")},
		)},
		{Name: "hints", Steps: steps(
			Service{Endpoints: hinted(map[string]string{"a": "zone-a", "b": "zone-b", "c": "zone-b"}, nil)},
			Service{Endpoints: hinted(map[string]string{"a": "zone-c", "b": "zone-b", "c": "zone-b"}, nil)},
			Service{Endpoints: hinted(map[string]string{"a": "zone-a", "b": "zone-b"}, nil)},
			Service{Endpoints: hinted(map[string]string{"a": "zone-b", "b": "zone-b", "c": "zone-a"}, map[string]string{"a": NodeName, "b": otherNode, "c": otherNode})},
			Service{Endpoints: hinted(map[string]string{"a": "zone-b", "b": "zone-b", "c": "zone-a"}, map[string]string{"a": otherNode, "b": otherNode, "c": otherNode})},
			Service{Type: "NodePort", ETPLocal: true, Endpoints: hinted(map[string]string{"a": "zone-b", "b": "zone-a", "c": "zone-b"}, nil)},
			Service{Endpoints: at("a", "b", "c")},
		)},
		{Name: "another proxy's, and back", Steps: steps(
			Service{Type: "NodePort", Endpoints: at("a", "c")},
			Service{Type: "NodePort", Proxy: "another", Endpoints: at("a", "c")},
			Service{Type: "NodePort", Endpoints: at("c")},
		)},
		{Name: "a Service goes, its address comes back", Steps: [][]Service{
			{{Number: 1, Ports: both, Type: "NodePort", Endpoints: at("a")}, {Number: 2, Ports: http, Endpoints: at("c")}},
			{{Number: 2, Ports: http, Endpoints: at("c")}},
			{{Number: 1, Ports: http, Endpoints: at("d")}, {Number: 2, Ports: http, Endpoints: at("b")}},
			{},
		}},
		{Name: "a Service with a useless address beside others", Steps: [][]Service{
			{{Number: 1, Taken: "multicast", Ports: both, Endpoints: at("a")}, {Number: 2, Affinity: 100, Ports: both, Endpoints: at("c")}},
			{{Number: 1, Taken: "multicast", ETPLocal: true, Ports: http, Endpoints: at("c")}, {Number: 2, Affinity: 100, Ports: both, Endpoints: at("a", "d")}},
			{{Number: 1, Taken: "multicast", Ports: http}},
			{{Number: 1, Ports: both, Endpoints: at("a")}, {Number: 2, Ports: both, Endpoints: at("c")}},
		}},
		{Name: "an address moves from one Service to another", Steps: [][]Service{
			{{Number: 1, Taken: "pod", Ports: both, Endpoints: at("a")}, {Number: 2, Ports: both, Endpoints: at("c")}},
			{{Number: 1, Ports: both, Endpoints: at("a")}, {Number: 2, Taken: "pod", Ports: both, Endpoints: at("c")}},
			{{Number: 1, Taken: "pod", Ports: both, Endpoints: at("a", "n")}, {Number: 2, Ports: both, Endpoints: at("c")}},
		}},
		{Name: "pods by interface", options: options{podInterface: "veth"}, Steps: steps(
			Service{Type: "NodePort", Ports: both, Endpoints: at("a", "c")},
			Service{Type: "NodePort", ETPLocal: true, Ports: both, Endpoints: at("a", "c")},
			Service{Type: "NodePort", ETPLocal: true, Affinity: 100, Ports: both, Endpoints: at("b", "d")},
		)},
		{Name: "masquerade all", options: options{masqueradeAll: true}, Steps: steps(
			Service{Type: "NodePort", Ports: both, Endpoints: at("a", "c")},
			Service{Type: "NodePort", ETPLocal: true, Ports: both, Endpoints: at("a", "c")},
		)},
	}
}
