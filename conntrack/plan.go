package conntrack

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// families are the families that have frontends in question, with these.
func (c *Changes) families() map[uint8][]netip.AddrPort {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[uint8][]netip.AddrPort{}
	for at := range c.frontends {
		family := uint8(unix.AF_INET6)
		if at.Addr().Is4() {
			family = unix.AF_INET
		}
		out[family] = append(out[family], at)
	}
	return out
}

// filters are the dumps to ask for so that every flow to a frontend is in one:
// as narrow as they can be without being more than most.
//
// IPv6 flows are not asked for by address: up to 6.18 at least, the kernel then
// leaves out those that have it, and gives the others.
func filters(family uint8, frontends []netip.AddrPort, most int) []filter {
	if family == unix.AF_INET && len(frontends) <= most {
		var exact []filter
		for _, at := range frontends {
			exact = append(exact, filter{family, at.Addr(), at.Port()})
		}
		return exact
	}
	var ports []uint16
	for _, at := range frontends {
		ports = append(ports, at.Port())
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	if len(ports) > most {
		return []filter{{family: family}}
	}
	var byPort []filter
	for _, port := range ports {
		byPort = append(byPort, filter{family: family, port: port})
	}
	return byPort
}

// dumps is how many filtered dumps are worth their while, instead of one of all
// UDP flows, with so many entries in the table. Each dump makes the kernel walk
// through the whole table: 10 ms when it is empty and has the usual 262 144
// buckets, and 20 ms more for 100 000 entries. To read an entry takes 2 µs; that
// half of them are UDP is a guess.
func dumps(entries int) int {
	const walk, step, read = 10_000, 0.2, 1 // in µs; for each entry: step, read
	return 1 + int(float64(entries)*read/(walk+float64(entries)*step))
}
