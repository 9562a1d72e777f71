package connections

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// Reader reads what the elements of a counted set have counted; kernel.Conn is one.
type Reader interface {
	Counts(table nft.ID, set string) ([]nft.Count, error)
}

// Count is the number of new connections to a Service port, or to one of its
// endpoints.
type Count struct {
	// Service is the Service port: namespace/name, and :port if it has a name.
	Service string
	// Endpoint is the zero AddrPort for the Service port itself. Connections of
	// clients that keep their endpoint (session affinity) count for the Service port
	// alone.
	Endpoint    netip.AddrPort
	Connections uint64
}

// Counter adds up counts. It is safe for concurrent use.
type Counter struct {
	reader Reader
	tables []nft.ID

	// asking is held while the kernel is asked; mu never is, so that deletions don't
	// wait for it.
	asking sync.Mutex
	read   time.Time

	mu    sync.Mutex
	reads int
	// later are deletions since the kernel was asked, while it is.
	busy  bool
	later []func()
	// names are the Service ports by frontend.
	names map[place]string
	last  map[place]seen
	total map[target]uint64
}

// place is where an element is, and what it says: one that is replaced is another.
type place struct {
	table     nft.ID
	set       string
	key, data string
}

// seen is what an element had counted in which reading.
type seen struct {
	packets uint64
	reading int
}

type target struct {
	service  string
	endpoint netip.AddrPort
}

// New makes a Counter of these tables.
func New(reader Reader, tables ...nft.ID) *Counter {
	return &Counter{
		reader: reader, tables: tables,
		names: map[place]string{}, last: map[place]seen{}, total: map[target]uint64{},
	}
}

// fresh is how long a reading is good for, and patience how many readings may lack
// an element before it is taken to be gone: the kernel leaves some out while it
// grows a map.
const (
	fresh    = 5 * time.Second
	patience = 3
)

// Counts are the counts by now, in the order of their names. The kernel is asked
// once in five seconds at most.
func (c *Counter) Counts() ([]Count, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	if time.Since(c.read) > fresh {
		if err := c.update(); err != nil {
			return nil, err
		}
		c.read = time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make([]Count, 0, len(c.total))
	for t, n := range c.total {
		counts = append(counts, Count{t.service, t.endpoint, n})
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), a.Endpoint.Compare(b.Endpoint))
	})
	return counts, nil
}

func (c *Counter) update() error {
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
	type reading struct {
		table  nft.ID
		set    string
		counts []nft.Count
	}
	var all []reading
	var failed error
	services, endpoints := maps.Counted()
	for _, table := range c.tables {
		for _, set := range append([]string{services}, endpoints...) {
			counts, err := c.reader.Counts(table, set)
			// No table, no counts: before the first Services are programmed, and
			// while another process has removed it.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = fmt.Errorf("read the counts of connections in %s: %w", table, err)
			}
			all = append(all, reading{table, set, counts})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed == nil {
		c.reads++
		for _, r := range all {
			for i := range r.counts {
				c.add(r.table, r.set, &r.counts[i])
			}
		}
	}
	for _, f := range c.later {
		f()
	}
	c.busy, c.later = false, nil
	if failed == nil {
		c.forget()
	}
	return failed
}

// Deleted takes over what an element had counted that is deleted.
func (c *Counter) Deleted(table nft.ID, set string, count nft.Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	take := func() { delete(c.last, c.add(table, set, &count)) }
	if c.busy {
		c.later = append(c.later, take)
		return
	}
	take()
}

// add adds what an element has counted since it was last looked at.
func (c *Counter) add(table nft.ID, set string, count *nft.Count) place {
	at := place{table, set, count.Key, count.Data + count.Goto}
	before := c.last[at]
	if count.Packets < before.packets {
		before.packets = 0 // another with the same content
	}
	c.last[at] = seen{count.Packets, c.reads}
	services, _ := maps.Counted()
	t := target{service: count.Comment}
	if set == services {
		c.names[place{table: table, key: count.Key}] = count.Comment
	} else {
		t.service = c.names[place{table: table, key: count.Key[:len(count.Key)-slotLen]}]
		t.endpoint = endpointOf(table.Family, count.Data)
	}
	if t.service != "" {
		c.total[t] += count.Packets - before.packets
	}
	return at
}

// slotLen is how much longer an endpoint's key is than its frontend's.
const slotLen = 4

func endpointOf(f nft.Family, data string) netip.AddrPort {
	n := f.AddrLen()
	if len(data) < n+2 {
		return netip.AddrPort{}
	}
	addr, _ := netip.AddrFromSlice([]byte(data[:n]))
	return netip.AddrPortFrom(addr, uint16(data[n])<<8|uint16(data[n+1]))
}

// forget drops what is gone: the counts of Service ports and endpoints that no
// element is left of.
func (c *Counter) forget() {
	services, _ := maps.Counted()
	alive := make(map[target]bool, len(c.total))
	frontends := make(map[place]bool, len(c.names))
	for at, s := range c.last {
		if c.reads-s.reading >= patience {
			delete(c.last, at)
			continue
		}
		key := at.key
		t := target{}
		if at.set != services {
			key = key[:len(key)-slotLen]
			t.endpoint = endpointOf(at.table.Family, at.data)
		}
		frontend := place{table: at.table, key: key}
		frontends[frontend] = true
		t.service = c.names[frontend]
		alive[t] = true
	}
	for t := range c.total {
		if !alive[t] {
			delete(c.total, t)
		}
	}
	for at := range c.names {
		if !frontends[at] {
			delete(c.names, at)
		}
	}
}
