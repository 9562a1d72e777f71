package trace

import (
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Collector puts together what the kernel tells of each packet. It is not safe for
// concurrent use.
type Collector struct {
	open  map[uint32]*Packet
	order []uint32
}

// Packet is all that was told of one packet.
type Packet struct {
	Steps []nft.Traced
	last  time.Time
}

// quiet is after how long without a word of a packet all has been told: the hooks
// are gone through in microseconds.
const quiet = 100 * time.Millisecond

// NewCollector makes a Collector that knows of no packet.
func NewCollector() *Collector { return &Collector{open: map[uint32]*Packet{}} }

// Add takes in what was told at a moment.
func (c *Collector) Add(t nft.Traced, now time.Time) {
	p := c.open[t.ID]
	if p == nil {
		p = &Packet{}
		c.open[t.ID] = p
		c.order = append(c.order, t.ID)
	}
	p.Steps, p.last = append(p.Steps, t), now
}

// Done gives the packets of which no more will be told, in the order in which they
// came; with all, also those of which more may be.
func (c *Collector) Done(now time.Time, all bool) []*Packet {
	var done []*Packet
	rest := c.order[:0]
	for _, id := range c.order {
		if p := c.open[id]; all || now.Sub(p.last) >= quiet {
			done = append(done, p)
			delete(c.open, id)
		} else {
			rest = append(rest, id)
		}
	}
	c.order = rest
	return done
}
