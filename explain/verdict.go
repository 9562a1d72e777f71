package explain

import (
	"fmt"
	"strings"
)

// verdict is what matters most of a Service, in a line.
func (r *Report) verdict() string {
	if r.NotOurs != "" {
		return "NOT OURS: " + r.NotOurs
	}
	in, all, why := map[string]bool{}, map[string]bool{}, []string{}
	for _, p := range r.Ports {
		for _, e := range p.Endpoints {
			name := e.Address
			serves := e.Cluster != nil && e.Cluster.In || e.Local != nil && e.Local.In
			if all[name] = true; serves {
				in[name] = true
			} else if e.Cluster != nil {
				why = append(why, e.Cluster.Reason)
			} else if e.Local != nil {
				why = append(why, e.Local.Reason)
			}
		}
	}
	serving := fmt.Sprintf("%d of %s", len(in), count(len(all), "endpoint"))
	switch k := &r.Kernel; {
	case k.State == Differs:
		return fmt.Sprintf("THE KERNEL DIFFERS: %s", k.Differences[0])
	case k.State == Absent:
		return "THE KERNEL HAS NOTHING OF THIS SERVICE"
	case len(all) == 0:
		return "NO ENDPOINT: its EndpointSlices have none"
	case len(in) == 0:
		return fmt.Sprintf("NO ENDPOINT: %s serve: %s", serving, strings.Join(unique(why), ", "))
	case k.State == Agrees && k.Bypassed:
		return fmt.Sprintf("IN SHADOW: %s in our tables, which the kernel has and packets pass by", serving)
	case k.State == Agrees:
		return fmt.Sprintf("OK: %s, and the kernel agrees", serving)
	case k.State == Nothing:
		return fmt.Sprintf("NOT PROGRAMMED: %s, and the kernel has no table of ours here", serving)
	}
	return fmt.Sprintf("%s; the kernel was not seen", serving)
}

func unique(list []string) []string {
	var once []string
	seen := map[string]bool{}
	for _, text := range list {
		if !seen[text] {
			seen[text] = true
			once = append(once, text)
		}
	}
	return once
}

// Wrong reports whether the kernel does something else than the Service asks for.
func (r *Report) Wrong() bool { return r.Kernel.State == Differs || r.Kernel.State == Absent }
