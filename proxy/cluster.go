package proxy

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// Cluster is all Services, and which of them owns each frontend. Of an address,
// protocol and port that several claim, what the API server allocated comes before what
// a Service's author wrote: first a ClusterIP, then a NodePort, then external addresses.
// Of those alike it goes to the oldest Service, or, at the same age, to the first by
// name. The others get it when that one is gone. The API servers' own addresses are
// default/kubernetes'.
//
// A change costs what the Services in it cost, however many there are. A
// Cluster is not safe for concurrent use.
type Cluster struct {
	services map[Name]Service
	// owners has every claim; rivals only those that several Services make,
	// with all of them but the owner, in order.
	owners  map[claim]claimant
	rivals  map[claim][]claimant
	numbers numbers
}

// claim is what only one Service can have.
type claim struct {
	addr     netip.Addr
	protocol Protocol
	port     uint16
}

// claimant is a Service that claims something.
type claimant struct {
	name Name
	by   title
}

// title is by what a Service claims an address, the strongest first.
type title uint8

const (
	// byClusterIP is an address that the API server allocated.
	byClusterIP title = iota
	// byNodePort is a port that it allocated, for health checks as well.
	byNodePort
	// byAddress is an address that whoever may write the Service can choose.
	byAddress
)

func titleOf(kind FrontendKind) title {
	switch kind {
	case ClusterIP:
		return byClusterIP
	case NodePort:
		return byNodePort
	}
	return byAddress
}

// Conflict is a frontend that a Service does not get.
type Conflict struct {
	Frontend Frontend
	Protocol Protocol
	Port     uint16
	// Owner is the Service that has it.
	Owner Name
	// Allocated reports that the API server allocated it to the Owner, and not to this
	// one.
	Allocated bool
}

func (c Conflict) String() string {
	at := netip.AddrPortFrom(c.Frontend.Addr, c.Port)
	if c.Allocated {
		return fmt.Sprintf("%s %s was allocated to Service %s, so that this one does not get it; write another address into this one", at, c.Protocol, c.Owner)
	}
	return fmt.Sprintf("%s %s belongs to the older Service %s, so that this one does not get it; change one of the two", at, c.Protocol, c.Owner)
}

// NewCluster makes a Cluster without Services.
func NewCluster() *Cluster {
	return &Cluster{services: map[Name]Service{}, owners: map[claim]claimant{}, rivals: map[claim][]claimant{}, numbers: newNumbers()}
}

// Len is the number of Services.
func (c *Cluster) Len() int { return len(c.services) }

// Has reports whether there is a Service of that name.
func (c *Cluster) Has(name Name) bool {
	_, has := c.services[name]
	return has
}

// Names are the names of all Services, in no order.
func (c *Cluster) Names() iter.Seq[Name] { return maps.Keys(c.services) }

// Unread are the Services of which a part could not be understood, in no order and
// with all that they claim.
func (c *Cluster) Unread() iter.Seq[Service] {
	return func(yield func(Service) bool) {
		for _, svc := range c.services {
			if svc.Unread != nil && !yield(svc) {
				return
			}
		}
	}
}

// Set says what a Service is now, and gives its name, if it is another than
// before, and those of all Services that are granted something else for it, in
// order. Of what could not be
// understood of it, what it had stays.
func (c *Cluster) Set(svc Service) []Name {
	old, had := c.services[svc.Name]
	if had && svc.Unread != nil {
		svc = svc.keeping(old)
	}
	svc = c.numbers.number(svc, old)
	if had && old.Equal(svc) {
		return nil
	}
	var passed map[claim]Name
	if had {
		passed = c.withdraw(old)
	}
	affected := []Name{svc.Name}
	c.services[svc.Name] = svc
	for at, by := range claims(svc) {
		this := claimant{svc.Name, by}
		owner, taken := c.owners[at]
		switch {
		case !taken:
			c.owners[at] = this
		case owner.name == svc.Name:
		case c.compare(this, owner) < 0:
			c.owners[at] = this
			c.rivals[at] = c.insert(c.rivals[at], owner)
			if passed[at] == owner.name {
				delete(passed, at) // it had it for no longer than this call
			} else {
				affected = append(affected, owner.name)
			}
		default:
			c.rivals[at] = c.insert(c.rivals[at], this)
		}
	}
	return unique(slices.AppendSeq(affected, maps.Values(passed)))
}

// Delete says that a Service is gone, and gives its name and those of all
// Services that are granted something else for it, in order.
func (c *Cluster) Delete(name Name) []Name {
	old, had := c.services[name]
	if !had {
		return nil
	}
	passed := c.withdraw(old)
	c.numbers.number(Service{Name: name}, old)
	delete(c.services, name)
	return unique(slices.AppendSeq([]Name{name}, maps.Values(passed)))
}

// withdraw takes back all claims of a Service, and gives those that pass to
// another one.
func (c *Cluster) withdraw(svc Service) map[claim]Name {
	passed := map[claim]Name{}
	for at := range claims(svc) {
		rivals := c.rivals[at]
		if c.owners[at].name != svc.Name {
			if i := slices.IndexFunc(rivals, func(r claimant) bool { return r.name == svc.Name }); i >= 0 {
				c.setRivals(at, slices.Delete(rivals, i, i+1))
			}
			continue
		}
		if len(rivals) == 0 {
			delete(c.owners, at)
			continue
		}
		c.owners[at] = rivals[0]
		passed[at] = rivals[0].name
		c.setRivals(at, slices.Delete(rivals, 0, 1))
	}
	return passed
}

func (c *Cluster) setRivals(at claim, rivals []claimant) {
	if len(rivals) == 0 {
		delete(c.rivals, at)
	} else {
		c.rivals[at] = rivals
	}
}

// insert adds a Service to rivals, which are in order.
func (c *Cluster) insert(rivals []claimant, this claimant) []claimant {
	i, found := slices.BinarySearchFunc(rivals, this, c.compare)
	if found {
		return rivals
	}
	return slices.Insert(rivals, i, this)
}

// compare orders those who claim the same: who comes first has it.
func (c *Cluster) compare(a, b claimant) int {
	return cmp.Or(
		cmp.Compare(a.by, b.by),
		c.services[a.name].Created.Compare(c.services[b.name].Created),
		CompareNames(a.name, b.name))
}

// Granted is a Service as it is to be programmed: without the frontends that
// belong to others.
func (c *Cluster) Granted(name Name) (Service, bool) {
	svc, ok := c.services[name]
	if !ok || len(c.rivals) == 0 || len(c.Conflicts(name)) == 0 {
		return svc, ok
	}
	ports := make([]Port, 0, len(svc.Ports))
	for _, port := range svc.Ports {
		port.Frontends = slices.DeleteFunc(slices.Clone(port.Frontends), func(f Frontend) bool {
			return c.owners[claimOf(&port, f)].name != name
		})
		if len(port.Frontends) > 0 {
			ports = append(ports, port)
		}
	}
	svc.Ports = ports
	return svc, true
}

// Conflicts are the frontends that a Service does not get.
func (c *Cluster) Conflicts(name Name) []Conflict {
	if len(c.rivals) == 0 {
		return nil
	}
	var lost []Conflict
	svc := c.services[name]
	for i := range svc.Ports {
		port := &svc.Ports[i]
		for _, f := range port.Frontends {
			if owner := c.owners[claimOf(port, f)]; owner.name != name {
				lost = append(lost, Conflict{f, port.Protocol, port.Port, owner.name, owner.by < titleOf(f.Kind)})
			}
		}
	}
	return lost
}

// All are all Services as they are granted, by name.
func (c *Cluster) All() iter.Seq[Service] {
	return func(yield func(Service) bool) {
		for _, name := range slices.SortedFunc(maps.Keys(c.services), CompareNames) {
			if svc, _ := c.Granted(name); !yield(svc) {
				return
			}
		}
	}
}

// keeping is a Service that could not be understood in full, with what it had before
// of that part.
func (s Service) keeping(old Service) Service {
	if s.Unread.All {
		old.Unread = s.Unread
		return old
	}
	has := map[claim]bool{}
	for at := range claims(s) {
		has[at] = true
	}
	ports := slices.Clone(s.Ports)
	for _, port := range old.Ports {
		kept := slices.DeleteFunc(slices.Clone(port.Frontends), func(f Frontend) bool {
			return has[claimOf(&port, f)] || !s.Unread.keeps(&port, f)
		})
		if len(kept) > 0 {
			port.Frontends = kept
			ports = append(ports, port)
		}
	}
	s.Ports = ports
	if s.Created.IsZero() {
		s.Created = old.Created // or it would be the oldest of all
	}
	return s
}

// claims are what a Service claims, and by what.
func claims(svc Service) iter.Seq2[claim, title] {
	return func(yield func(claim, title) bool) {
		for i := range svc.Ports {
			for _, f := range svc.Ports[i].Frontends {
				if !yield(claimOf(&svc.Ports[i], f), titleOf(f.Kind)) {
					return
				}
			}
		}
		for at := range apiServers(&svc) {
			if !yield(at, byClusterIP) {
				return
			}
		}
		if svc.HealthCheck.Port == 0 {
			return
		}
		for _, addr := range svc.HealthCheckAddrs {
			if !yield(claim{addr, TCP, svc.HealthCheck.Port}, byNodePort) {
				return
			}
		}
	}
}

// apiServer is the Service of the API server. Nodes reach that at its endpoints, too.
var apiServer = Name{Namespace: "default", Name: "kubernetes"}

// apiServers are the API servers' own addresses, if the Service is theirs. Nobody else's
// Service gets those: kubelets and agents would be cut off.
func apiServers(svc *Service) iter.Seq[claim] {
	return func(yield func(claim) bool) {
		if svc.Name != apiServer {
			return
		}
		for i := range svc.Ports {
			port := &svc.Ports[i]
			for _, ep := range port.Endpoints {
				if !yield(claim{ep.Addr(), port.Protocol, ep.Port()}) {
					return
				}
			}
		}
	}
}

func claimOf(port *Port, f Frontend) claim { return claim{f.Addr, port.Protocol, port.Port} }

// CompareNames orders names by namespace, then by name.
func CompareNames(a, b Name) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func unique(names []Name) []Name {
	slices.SortFunc(names, CompareNames)
	return slices.Compact(names)
}
