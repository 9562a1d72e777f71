package proxy

import (
	"hash/fnv"
	"slices"
)

// stickyPort is a Service port with session affinity: clients keep their
// endpoint whichever way they reach it.
type stickyPort struct {
	service  Name
	port     string
	protocol Protocol
}

// IDBits are bits of which a Port's ID has at least one: a layout tells by them, in
// one look, that a number is an ID and no other number of its own.
const IDBits = 0xff << 20

// numbers gives Service ports with session affinity a number of their own. It is
// the same after a restart, unless two Service ports want the same one and come
// in another order: TakeBackIDs sees to those.
type numbers struct {
	of    map[stickyPort]uint32
	taken map[uint32]stickyPort
}

func newNumbers() numbers {
	return numbers{of: map[stickyPort]uint32{}, taken: map[uint32]stickyPort{}}
}

// number gives the ports of a Service their numbers; old is what it was before.
func (n numbers) number(svc Service, old Service) Service {
	had, has := stickyPorts(old), stickyPorts(svc)
	for p := range had {
		if !has[p] {
			delete(n.taken, n.of[p])
			delete(n.of, p)
		}
	}
	if len(has) == 0 {
		return svc
	}
	svc.Ports = slices.Clone(svc.Ports)
	for i := range svc.Ports {
		if p := &svc.Ports[i]; p.Affinity > 0 {
			p.ID = n.take(stickyPort{svc.Name, p.Name, p.Protocol})
		}
	}
	return svc
}

func (n numbers) take(p stickyPort) uint32 {
	if id, ok := n.of[p]; ok {
		return id
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.service.String() + ":" + p.port + "/" + p.protocol.String()))
	id := h.Sum32() &^ 1
	// The highest has a name of its own in nft.
	for n.taken[id] != (stickyPort{}) || id&IDBits == 0 || id == 1<<32-2 {
		if id&IDBits == 0 {
			id |= 1 << 20
			continue
		}
		id += 2
	}
	n.of[p], n.taken[id] = id, p
	return id
}

// TakeBackIDs gives Service ports the numbers that an earlier process gave them, as far as
// held knows them: it gives a port's, or 0. Without that, two that want the same number
// would have it in the order in which they come.
func (c *Cluster) TakeBackIDs(held func(Name, *Port) uint32) {
	n := newNumbers()
	names := slices.SortedFunc(c.Names(), CompareNames)
	c.eachSticky(names, func(p stickyPort, port *Port) {
		id := held(p.service, port)
		if _, has := n.of[p]; id != 0 && !has && n.taken[id] == (stickyPort{}) {
			n.of[p], n.taken[id] = id, p
		}
	})
	c.eachSticky(names, func(p stickyPort, port *Port) { port.ID = n.take(p) })
	c.numbers = n
}

// eachSticky calls f with the ports that have session affinity, in copies of their Services.
func (c *Cluster) eachSticky(names []Name, f func(stickyPort, *Port)) {
	for _, name := range names {
		svc := c.services[name]
		if stickyPorts(svc) == nil {
			continue
		}
		svc.Ports = slices.Clone(svc.Ports)
		for i := range svc.Ports {
			if p := &svc.Ports[i]; p.Affinity > 0 {
				f(stickyPort{name, p.Name, p.Protocol}, p)
			}
		}
		c.services[name] = svc
	}
}

func stickyPorts(svc Service) map[stickyPort]bool {
	var ports map[stickyPort]bool
	for i := range svc.Ports {
		if p := &svc.Ports[i]; p.Affinity > 0 {
			if ports == nil {
				ports = map[stickyPort]bool{}
			}
			ports[stickyPort{svc.Name, p.Name, p.Protocol}] = true
		}
	}
	return ports
}
